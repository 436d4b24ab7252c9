"""The pending assets in the journal's database, as values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from asset_worker.domain.assets import AssetId, asset_id
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.local.schema import as_literal

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
