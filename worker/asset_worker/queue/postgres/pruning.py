"""Deletes what nobody needs any more. Each worker of a fleet does it, in small transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from asset_worker.queue.absent_sinks import PUT_IT_BACK
from asset_worker.queue.postgres.absences import Absences
from asset_worker.queue.postgres.database import Database, Tables
from asset_worker.queue.postgres.outbox import PostgresOutbox
from asset_worker.queue.postgres.workers import Lives
from asset_worker.runtime.log import get_logger

_log = get_logger()

ROWS: Final = 20_000
"""Rows that are deleted in one transaction at most."""
KEEP_COUNTS_SECONDS: Final = 7 * 86_400
"""As of the local engine: settlements are kept for seven dedupe windows, and at least this long."""


class Write(Protocol):
    """Makes a change in the database, and returns what it returns."""

    def __call__(self, change: Callable[[Tables], Any]) -> Awaitable[Any]:
        """Make it, in another life if this one was retired."""
        ...


class Pruning:
    """Old settlements, events that every sink has, numbers of groups, dead letters, and what absent sinks are owed."""

    def __init__(
        self,
        write: Write,
        database: Database,
        outbox: PostgresOutbox,
        lives: Lives,
        *,
        dedupe_window: float,
        dead_letter_retention: float,
    ) -> None:
        """The durations are in seconds; see `PostgresQueue`."""
        self._write = write
        self._database = database
        self._outbox = outbox
        self._lives = lives
        self._window = dedupe_window
        self._retention = dead_letter_retention

    async def prune(self, now: float) -> None:
        """Delete what is too old by `now`, in steady time."""
        before = now - max(7 * self._window, KEEP_COUNTS_SECONDS)

        def settled(tables: Tables) -> int:
            return tables.pending.prune(tables.connection, before=before, limit=ROWS)

        await self._review_absent_sinks(now)
        while await self._write(settled) == ROWS:
            pass
        await self._write(lambda tables: tables.outbox.delete_unneeded(tables.connection, limit=ROWS))
        await self._write(lambda tables: self._database.forget_groups(tables.connection))
        if count := await self._outbox.prune_dead_letters(before=now - self._retention):
            _log.warning("dead_letters.pruned", count=count, kept_for=self._retention)

    async def _review_absent_sinks(self, now: float) -> None:
        def review(tables: Tables) -> Absences:
            owners = self._lives.orphans(tables.connection, "deliveries")
            return tables.absences.review(tables.connection, owners, self._outbox.sinks, now=now, window=self._window)

        dropped: Counter[str] = Counter()
        while True:
            found: Absences = await self._write(review)
            for sink, count in found.new.items():
                _log.warning("sink.absent", sink=sink, events=count, kept_for=self._window, advice=PUT_IT_BACK)
            if not found.dropped:
                break
            dropped.update(found.dropped)
        for sink, count in dropped.items():
            _log.warning("sink.dropped", sink=sink, events=count)
