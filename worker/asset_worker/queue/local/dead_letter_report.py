"""The dead letters as commands show them: reads a journal while a worker writes it, or after the worker has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asset_worker.queue.dead_letters import DeadLetter, Found, letters_of
from asset_worker.queue.local.reading import read_journal, shown_instant
from asset_worker.runtime.clock import Clock

_COLUMNS: Final = "id, sink, asset_id, attempts, first_at, last_at, reason"
EVERY: Final = -1
"""The limit that SQLite takes as none."""


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
        show(Found(total, letters_of(rows, lambda instant: shown_instant(instant, ahead))))

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
        return list(letters_of(rows, lambda instant: shown_instant(instant, clock.now() - now)))

    return read_journal(directory, clock, read)
