"""Faults of the queue and its journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

from asset_worker.domain.assets import AssetId, Outcome
from asset_worker.queue.local import journal as journals
from asset_worker.queue.local.engine import LocalQueue
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.journal_store import JournalStore
from asset_worker.queue.local.migrations import MIGRATIONS
from asset_worker.queue.local.settled_rows import SettledRows
from asset_worker.queue.ports import Lease
from tests.simulation.machine import ProcessClock
from tests.simulation.planted.registry import planted


@planted("position-too-early", "lost:")
def position_too_early() -> Iterator[None]:
    """The position in the queue file is stored in a transaction before that of its submissions."""
    put = LocalQueue.put

    async def put_later(self: LocalQueue, submissions: Any, *, intake: str, position: bytes | None, **rest: Any) -> Any:
        if position is not None:
            await self._commits.write(lambda journal: journal.set_intake(intake, position))
        return await put(self, submissions, intake=intake, position=None, **rest)

    with patch.object(LocalQueue, "put", put_later):
        yield


@planted("settled-in-two", "lost:", "not all was settled")
def settled_in_two() -> Iterator[None]:
    """An asset is settled in one transaction, and its event is put into the outbox in the next."""
    settle = LocalQueue.settle

    async def settle_first(self: LocalQueue, lease: Lease, event: Any, **rest: Any) -> None:
        asset_id = lease.submission.asset_id
        await self._commits.write(
            lambda journal: journal._execute("DELETE FROM pending WHERE asset_id = ?", (asset_id,))
        )
        await settle(self, lease, event, **rest)

    with patch.object(LocalQueue, "settle", settle_first):
        yield


@planted("event-before-settling", "repeats", "the completions of", "settled 2 times", "UNIQUE")
def event_before_settling() -> Iterator[None]:
    """The event is put into the outbox in one transaction, and the asset is settled in the next."""

    async def settle(self: LocalQueue, lease: Lease, event: Any, *, steps: Sequence[Any] = ()) -> None:
        last = await self._commits.write(lambda journal: _add(journal, [*steps, event]))
        await original(self, lease, event)
        self.outbox.add(last)

    def _add(journal: Journal, events: Sequence[Any]) -> int:
        add_events(journal, events)
        return journal.last_position()

    original, add_events = LocalQueue.settle, Journal.add_events

    def add_others(journal: Journal, events: Sequence[Any]) -> None:
        if not any(each.outcome is not None and each.outcome is not Outcome.REJECTED for each in events):
            add_events(journal, events)

    with patch.object(LocalQueue, "settle", settle), patch.object(Journal, "add_events", add_others):
        yield


@planted("failed-acceptance-taken-for-done", "lost:", "submitted_at")
def failed_acceptance_taken_for_done() -> Iterator[None]:
    """Submissions are taken for accepted although their transaction has failed."""

    def transact(self: JournalStore, changes: list[Callable[[Journal], Any]]) -> list[Any]:
        results: list[Any] = []
        try:
            with self._journal.transaction():
                results = [change(self._journal) for change in changes]
        except sqlite3.OperationalError:
            if not results or not all(isinstance(each, tuple) and not each[-1] for each in results):
                raise
        return results

    with patch.object(JournalStore, "transact", transact):
        yield


@planted("number-not-increased", "the completions of", "the events file repeats")
def number_not_increased() -> Iterator[None]:
    """A second completion of an asset gets the number of the first."""
    last = SettledRows.last_completions

    def first_number(self: SettledRows, asset_ids: Sequence[AssetId]) -> dict[AssetId, tuple[int, float]]:
        return {asset_id: (0, at) for asset_id, (_, at) in last(self, asset_ids).items()}

    with patch.object(SettledRows, "last_completions", first_number):
        yield


@planted("dedupe-window-ignored", "times, and may be")
def dedupe_window_ignored() -> Iterator[None]:
    """An asset that was submitted again is settled again, however soon."""
    last = SettledRows.last_completions

    def long_ago(self: SettledRows, asset_ids: Sequence[AssetId]) -> dict[AssetId, tuple[int, float]]:
        return {asset_id: (count, 0.0) for asset_id, (count, _) in last(self, asset_ids).items()}

    with patch.object(SettledRows, "last_completions", long_ago):
        yield


@planted("progress-lost", "repeats", "UNIQUE", "ready only since", "polls")
def progress_lost() -> Iterator[None]:
    """The progress of pending assets is not kept for the next process."""
    with patch.object(Journal, "save_progress", lambda *_: None):
        yield


@planted("deadline-begins-again", "submitted_at")
def deadline_begins_again() -> Iterator[None]:
    """A restart takes what is pending for accepted just now, so that its deadline begins again."""
    kept = LocalQueue._kept

    def as_new(self: LocalQueue, journal: Journal, *, now: float) -> Iterator[Any]:
        for submission, _, completion, progress in kept(self, journal, now=now):
            yield submission, now, completion, progress

    with patch.object(LocalQueue, "_kept", as_new):
        yield


@planted("upgrade-forgets-events", "never got", "the second events file differs")
def upgrade_forgets_events() -> Iterator[None]:
    """The journal of an earlier version is upgraded without the events that it owes to sinks."""
    *earlier, last = MIGRATIONS

    def forget(connection: sqlite3.Connection) -> None:
        last(connection)
        connection.execute("DELETE FROM outbox")
        connection.execute("DELETE FROM undelivered")
        connection.execute("UPDATE sinks SET position = (SELECT seq FROM sqlite_sequence WHERE name = 'outbox')")

    with patch.object(journals, "MIGRATIONS", (*earlier, forget)):
        yield


@planted("outbox-kept", "the outbox keeps")
def outbox_kept() -> Iterator[None]:
    """Events that all sinks have stay in the outbox."""
    with patch.object(Journal, "delete_events", lambda *_: None):
        yield


@planted("wall-clock-deadline", "s after its upload")
def wall_clock_deadline() -> Iterator[None]:
    """Ages are by the wall clock, so that setting it ends waits."""
    with patch.object(ProcessClock, "steady", ProcessClock.now):
        yield
