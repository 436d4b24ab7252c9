"""The dead letters as commands show them: reads a journal while a worker writes it, or after the worker has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from asset_worker.queue.local.reading import read_journal, shown_instant
from asset_worker.runtime.clock import Clock

_COLUMNS: Final = "id, sink, asset_id, attempts, first_at, last_at, reason"
EVERY: Final = -1
"""The limit that SQLite takes as none."""


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a sink refused for good. Times are RFC 3339, UTC, by the present wall clock; None: not known."""

    id: str
    sink: str
    asset_id: str | None
    """The asset that the event is about; None: a rejected line."""
    attempts: int | None
    """How often it was sent."""
    first_at: str | None
    """When the first attempt failed."""
    last_at: str | None
    """When the last attempt failed."""
    reason: str
    """What happened then."""
    event: Any = msgspec.UNSET
    """The event, where it is asked for: JSON, or a text if it is damaged."""


class Found(msgspec.Struct, frozen=True):
    """The dead letters that were asked for."""

    total: int
    """How many there are, those beyond the limit included."""
    letters: Iterable[DeadLetter]
    """Read one by one, as there may be a million. The latest first."""


def read_dead_letters(
    directory: Path, show: Callable[[Found], None], *, clock: Clock, sink: str | None = None, limit: int = EVERY
) -> None:
    """Pass the dead letters in the journal in `directory` to `show`: those of one sink; None: of all.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """

    def read(connection: sqlite3.Connection, now: float) -> None:
        ahead = clock.now() - now
        [total] = connection.execute(
            "SELECT count(*) FROM dead_letters WHERE ?1 IS NULL OR sink = ?1", (sink,)
        ).fetchone()
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM dead_letters WHERE ?1 IS NULL OR sink = ?1 ORDER BY last_at DESC LIMIT ?2",  # noqa: S608
            (sink, limit),
        )
        show(Found(total, _letters(rows, ahead)))

    read_journal(directory, clock, read)


def read_dead_letter(directory: Path, event_id: str, *, clock: Clock, sink: str | None = None) -> list[DeadLetter]:
    """Return the dead letters of one event, with the event: of one sink; None: of all.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """

    def read(connection: sqlite3.Connection, now: float) -> list[DeadLetter]:
        rows = connection.execute(
            f"SELECT {_COLUMNS}, body FROM dead_letters WHERE id = ?1 AND (?2 IS NULL OR sink = ?2) ORDER BY sink",  # noqa: S608
            (event_id, sink),
        )
        return list(_letters(rows, clock.now() - now))

    return read_journal(directory, clock, read)


def _letters(rows: Iterable[tuple[Any, ...]], ahead: float) -> Iterator[DeadLetter]:
    for event_id, sink, asset_id, attempts, first_at, last_at, reason, *body in rows:
        yield DeadLetter(
            event_id,
            sink,
            asset_id,
            attempts,
            shown_instant(first_at, ahead),
            shown_instant(last_at, ahead),
            reason,
            *map(_decoded, body),
        )


def _decoded(body: bytes) -> Any:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")
    return msgspec.Raw(body)
