"""The pending assets in the journal's database, as values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from asset_worker.domain.assets import AssetId, asset_id
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.local.schema import as_literal

_encode = msgspec.json.Encoder().encode
_decode_options = msgspec.json.Decoder(Options).decode
_decode_progress = msgspec.json.Decoder(Progress).decode


class PendingRow(msgspec.Struct):
    """A pending asset as the journal stores it."""

    submission: Submission
    accepted_at: float
    """In steady time."""
    completion: int
    """The number of the completion that its wait leads to, from 1."""
    progress: Progress | None
    """None: no progress was saved."""


def read_pending(connection: sqlite3.Connection) -> Iterator[PendingRow]:
    """Yield all pending assets, one by one, as there may be a million. They are unsorted: sorting takes disk space.

    Raises:
        sqlite3.DatabaseError: a row is not that of an asset, or SQLite can't read it.
        msgspec.DecodeError: a row can't be decoded.
    """
    # Many assets have the same origin. They share one object, which saves memory.
    origins: dict[str, str] = {}
    for text, origin, line, options, accepted_at, completion, progress in connection.execute(
        "SELECT asset_id, origin, line, options, accepted_at, completion, progress FROM pending"
    ):
        submission = Submission(
            _checked_id(text), origins.setdefault(origin, origin), line, options and _decode_options(options)
        )
        yield PendingRow(submission, accepted_at, completion, progress and _progress_from(progress))


def add_pending(connection: sqlite3.Connection, accepted: Sequence[tuple[Submission, int]], *, at: float) -> None:
    """Make assets pending that are accepted at `at`, in steady time. Each comes with the number of its completion."""
    # Sorted by key, so that neighbours share pages, which saves a third of the time for a million rows.
    connection.executemany(
        "INSERT INTO pending (asset_id, origin, line, options, accepted_at, completion) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (each.asset_id, each.origin, each.line, _options_row(each), at, completion)
            for each, completion in sorted(accepted, key=_asset_id)
        ),
    )


def replace_submissions(connection: sqlite3.Connection, submissions: Sequence[Submission]) -> list[Submission]:
    """Let submissions take the place of those of the same pending assets. Return those that are still pending."""
    return [
        each
        for each in submissions
        if connection.execute(
            "UPDATE pending SET origin = ?, line = ?, options = ? WHERE asset_id = ?",
            (each.origin, each.line, _options_row(each), each.asset_id),
        ).rowcount
    ]


def _options_row(submission: Submission) -> bytes | None:
    return None if submission.options is None else _encode(submission.options)


def _asset_id(accepted: tuple[Submission, int]) -> str:
    return accepted[0].asset_id


def _checked_id(text: str) -> AssetId:
    try:
        return asset_id(text)
    except ValueError:  # it would become part of a URL
        raise sqlite3.DatabaseError(f"{as_literal(text)} is pending in it, which is not an asset ID") from None


def _progress_from(row: bytes) -> Progress:
    progress = _decode_progress(row)
    if progress.last_seen is None:
        return progress
    return msgspec.structs.replace(progress, last_seen=progress.last_seen.shared())
