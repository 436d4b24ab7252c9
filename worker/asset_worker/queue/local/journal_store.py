"""The journal as the store of group commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from asset_worker.queue.local.journal import Journal, is_transient
from asset_worker.runtime.log import get_logger

T = TypeVar("T")
_log = get_logger()


class JournalStore:
    """A `Store` (`queue.commits`) of journals: changes and queries are called with the journal."""

    what: Final = "the journal"
    answers: Final = "the disk"
    patience: Final = None

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def transact(self, changes: Sequence[Callable[[Journal], Any]]) -> list[Any]:
        """Make these changes in one transaction. One that fails is undone, so the next attempt makes them once."""
        with self._journal.transaction():
            return [change(self._journal) for change in changes]

    def read(self, query: Callable[[Journal], T]) -> T:
        """Return what `query` returns."""
        return query(self._journal)

    def interrupt(self) -> None:
        """Do nothing: no call to a disk can be interrupted."""

    def is_transient(self, error: Exception) -> bool:
        """Return whether an error is SQLite's, and the same may succeed later."""
        return isinstance(error, sqlite3.Error) and is_transient(error)

    def log_failure(self, error: str, *, retry_in: float | None) -> None:
        """Log that the journal can't be written now."""
        _log.error("journal.failed", path=str(self._journal.path), error=error, retry_in=retry_in)

    def log_recovery(self) -> None:
        """Log that the journal can be written again."""
        _log.info("journal.recovered", path=str(self._journal.path))

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
