"""The queue engine of one machine: pending assets in memory, and every change to them in a journal on the disk."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import AssetState, SettledState, combined
from asset_worker.domain.submissions import Submission
from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.queue.commits import Commits
from asset_worker.queue.dead_letters import Selection
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.queue.local.journal_store import JournalStore
from asset_worker.queue.local.outbox import LocalOutbox
from asset_worker.queue.local.request_service import RequestService
from asset_worker.queue.local.settled_rows import Settlement
from asset_worker.queue.pending import NOT_LOOKED_AT, PendingAssets
from asset_worker.queue.ports import Failure, Lease
from asset_worker.queue.room import Room
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.steady_time import Mark, step_between
from asset_worker.runtime.threads import DaemonThread, WorkerThread

T = TypeVar("T")
_log = get_logger()

KEEP_COUNTS_SECONDS = 7 * 86400
"""Settlements are kept for seven dedupe windows, and at least this long. The count of an asset's completions is part of
its next event's ID: if it started again at 1, consumers would drop a new completion as a repeat."""
KEEP_EVENTS_SECONDS = 86400.0
"""Events are kept for a dedupe window, and at least this long: whoever submits an asset again in that time gets no new
event, and may ask for the one before."""
PRUNE_EVERY_SECONDS = 60.0
CHECK_FILES_SECONDS = 1.0
"""The interval at which the place of the files is checked: what is written to files that were moved away is not found
by the next start."""
SERVE_REQUESTS_SECONDS = 0.25
"""The interval at which the worker looks for requests of commands, which wait for the answer."""
PRUNE_ROWS = 20_000
"""Rows deleted in one transaction at most, so that writers don't wait long for it."""

SHUTDOWN_SECONDS = 3.0
"""How long `finish` and `close` may take together: a disk that hangs must not keep the process from ending."""

PROGRESS_EVERY_SECONDS = 1.0
"""The interval at which progress is saved. `status` reads it; a crash loses counts of looks, but no asset."""

MARK_EVERY_SECONDS = 60.0
"""A mark of the clock is stored with each progress, and this often when there is none to save: steady time can't go
back further than to the last mark, even if the wall clock is behind it after the next boot."""


class LocalQueue(PendingAssets):
    """A `QueueEngine` for one process: what it has accepted and settled is on the disk."""

    def __init__(
        self,
        journal: Journal,
        thread: WorkerThread,
        clock: Clock,
        *,
        sinks: Sequence[str],
        independent: Collection[str] = (),
        dedupe_window: float,
        dead_letter_retention: float,
        max_pending: int,
        first_looks: Callable[[int], list[float]],
        keeps_events: bool = False,
        check_directory: Callable[[], None] = lambda: None,
    ) -> None:
        """Restore what the journal holds.

        Args:
            journal: the journal; from now on, only `thread` uses it.
            thread: runs all calls to the journal.
            clock: the clock; its steady time is resumed from the journal.
            sinks: the names of the sinks that read the outbox.
            independent: those of them that take or refuse each event by itself.
            dedupe_window: seconds after its completion in which an asset is not accepted again.
            dead_letter_retention: seconds for which a dead letter is kept after its last attempt.
            max_pending: the number of pending assets, and of undelivered events, for which there is room.
            first_looks: returns the delays, in seconds, of that many first looks.
            keeps_events: whether to keep the event of each asset's last completion, for `find`.
            check_directory: raises an error if the journal's directory is no longer this process's.
        """
        room = Room(max_pending, clock)
        super().__init__(clock, room)
        self._commits = Commits(JournalStore(journal), thread, clock)
        self.commits = self._commits.made
        self._dedupe_window = dedupe_window
        self._dead_letter_retention = dead_letter_retention
        self._keeps_events = keeps_events
        self._unsaved: dict[AssetId, Progress] = {}
        self._ends_by: float | None = None
        clock.resume(journal.clock_mark())
        self._mark: Mark | None = None
        """The mark that was stored last by this process."""
        self._has_future_rows = False
        self._check_directory = check_directory
        kept = (journal.first_position(), journal.last_position())
        self.outbox = LocalOutbox(
            self._commits,
            room,
            sinks=sinks,
            known=journal.sinks(),
            kept=kept,
            records=journal.undelivered.count_by_sink(),
            dead_letters=journal.dead_letters.count_by_sink(Selection()),
            now=clock.steady(),
            window=dedupe_window,
        )
        self._requests = RequestService(journal.path.parent, self._commits, self.outbox, clock, receivers=independent)
        self.intakes: Mapping[str, bytes] = journal.intakes()
        self._restore(self._kept(journal, now=clock.steady()), first_looks)

    def _kept(self, journal: Journal, *, now: float) -> Iterator[tuple[Submission, float, int, Progress]]:
        """Yield what is pending in the journal, with `now` in place of instants in the future.

        These are in damaged rows, or in those that an earlier version wrote by a wall clock that was wrong.
        """
        for row in journal.pending():
            progress = row.progress or NOT_LOOKED_AT
            if (possible := progress.not_after(now)) is not progress:
                progress = self._unsaved[row.submission.asset_id] = possible
            self._has_future_rows |= row.accepted_at > now
            yield row.submission, min(row.accepted_at, now), row.completion, progress

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        """Accept submissions, events and the intake's position in one transaction, durable when this returns."""
        asked = self._asked_for(submissions)
        with self._accepting(submissions) as new:

            def change(journal: Journal) -> tuple[list[tuple[Submission, int]], list[Submission], float, int]:
                # Read at each attempt: while the disk is full, nothing is accepted, and no deadline has begun.
                now = self._clock.steady()
                accepted = journal.accept(
                    new, at=now, window_start=now - self._dedupe_window if accepts_settled else -math.inf
                )
                replaced = journal.replace_submissions(list(asked.values()))
                if events:
                    journal.add_events(events)
                if position is not None:
                    journal.set_intake(intake, position)
                return accepted, replaced, now, journal.last_position() if events else 0

            accepted, replaced, accepted_at, last = await self._commits.write(change)
            self._add(accepted, accepted_at=accepted_at)
        self._replace(replaced)
        self.outbox.add(last)
        return [*(submission for submission, _ in accepted), *replaced]

    async def defer(self, lease: Lease, delay: float, progress: Progress, events: Sequence[Event] = ()) -> None:
        """End a lease: the asset is due again in `delay` seconds.

        Maintenance saves the progress; if there are events, it is saved with them, in one transaction.
        """
        asset_id = lease.submission.asset_id
        if not events:
            self._postpone(lease, delay, progress)
            self._unsaved[asset_id] = progress
            return

        def change(journal: Journal) -> int:
            journal.save_progress({asset_id: progress})
            journal.add_events(events)
            return journal.last_position()

        # An older progress must not be saved after this one: the steps would be reported again.
        self._unsaved.pop(asset_id, None)
        last = await self._commits.write(change)
        self._postpone(lease, delay, progress)
        self.outbox.add(last)

    async def settle(self, lease: Lease, event: Event, *, steps: Sequence[Event] = ()) -> None:
        """End a lease: settle the asset and put its events into the outbox in one transaction; durable on return."""
        assert event.outcome is not None
        asset_id = lease.submission.asset_id
        settlement = Settlement(asset_id, lease.completion, event.outcome, lease.accepted_at, self._clock.steady())

        def change(journal: Journal) -> int:
            journal.settle(settlement, event.body if self._keeps_events else None)
            journal.add_events([*steps, event])
            return journal.last_position()

        last = await self._commits.write(change)
        self._unsaved.pop(asset_id, None)
        self._remove(lease)
        self.outbox.add(last)

    async def find(self, asset_id: AssetId) -> AssetState:
        """Return what is known of an asset. While the journal can't be read, it is tried again.

        Raises:
            sqlite3.Error: the journal is damaged.
            QueueUnavailableError: it can't be read at the end of the process.
        """
        pending = self.pending_state(asset_id)  # before the read: a wait that ends meanwhile is in one of the two

        def read(journal: Journal) -> SettledState | None:
            found = journal.settled.find(asset_id)
            if found is None:
                return None
            event = journal.settled.events.find(asset_id, completion=found.completion)
            return SettledState(found.completion, found.outcome, found.accepted_at, found.completed_at, event)

        return combined(pending, await self._commits.read(read))

    @property
    def failure(self) -> Failure | None:
        """Why the journal can't be written now, and since when; None: it can."""
        return self._commits.failure

    def outbox_depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        return self.outbox.depth()

    def dead_letters_by_sink(self) -> Mapping[str, int]:
        """Return how many dead letters each sink has."""
        return self.outbox.dead_letters

    async def begin(self, *, ends_by_itself: bool) -> None:
        """Begin a run. If it ends by itself, its outcomes are counted, on top of those of an interrupted run."""
        now = self._clock.steady()

        def change(journal: Journal) -> None:
            journal.begin_run(ends_by_itself=ends_by_itself)
            journal.end_future(now, among_pending=self._has_future_rows)

        await self._commits.write(change)
        await self._save_progress()
        await self.outbox.begin(now)

    async def run_maintenance(self) -> None:
        """Save progress, carry out requests, delete what is old, and check the files' place, until cancelled.

        Raises:
            JournalError: the journal's file is no longer at its path.
            StateDirectoryError: the directory is no longer at its path, or another process has taken it.
        """
        # The files are watched while a write waits for the disk, too: it may wait for a disk that was replaced.
        tasks = [
            asyncio.create_task(work) for work in (self._watch_files(), self._save_and_prune(), self._serve_requests())
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _watch_files(self) -> None:
        while True:
            with suppress(OSError):  # a transient failure of the disk doesn't mean that the files are gone
                await self._commits.read(self._check_files)
            await asyncio.sleep(CHECK_FILES_SECONDS)

    def _check_files(self, journal: Journal) -> None:
        self._check_directory()
        journal.check_path()

    async def _serve_requests(self) -> None:
        loop = asyncio.get_running_loop()
        clean_at = loop.time()
        while True:
            await self._requests.serve()
            if loop.time() >= clean_at:
                await self._requests.clean()
                clean_at = loop.time() + PRUNE_EVERY_SECONDS
            await asyncio.sleep(SERVE_REQUESTS_SECONDS)

    async def _save_and_prune(self) -> None:
        loop = asyncio.get_running_loop()
        prune_at = loop.time()
        while True:
            await self._save_progress()
            await self.outbox.look_for_oldest()
            self._count_due()
            if loop.time() >= prune_at:
                await self._prune()
                await self._prune_dead_letters()
                await self.outbox.drop_expired(self._clock.steady())
                prune_at = loop.time() + PRUNE_EVERY_SECONDS
            await asyncio.sleep(PROGRESS_EVERY_SECONDS)

    async def finish(self) -> Mapping[str, int] | None:
        """Return the count of each outcome, interrupted runs included. None: the journal can't be written."""

        def change(journal: Journal) -> dict[str, int]:
            counts = journal.tally()
            if not self.pending_count() and not self.outbox_depth():
                journal.end_run()
            return counts

        return await self._within_shutdown_time(self._commits.write(change))

    async def close(self) -> None:
        """Save progress if that is possible quickly, then close the journal and its thread."""
        await self._within_shutdown_time(self._save_progress())
        await self._within_shutdown_time(self._commits.close())

    async def _save_progress(self) -> None:
        """Save the progress that is not saved yet, and a mark of the clock with it; without progress, if it is time."""
        unsaved, self._unsaved = self._unsaved, {}
        before, mark = self._mark, self._clock.mark()
        step = 0.0 if before is None else step_between(before, mark)
        if step:
            _log.info("clock.stepped", seconds=round(step, 3))
        if not unsaved and not step and before is not None and mark.steady - before.steady < MARK_EVERY_SECONDS:
            return

        def change(journal: Journal) -> None:
            journal.save_progress(unsaved)
            journal.set_clock_mark(mark)

        await self._commits.write(change)
        self._mark = mark

    async def _prune(self) -> None:
        now = self._clock.steady()
        before = now - max(7 * self._dedupe_window, KEEP_COUNTS_SECONDS)
        while await self._commits.write(lambda journal: journal.prune(before=before, limit=PRUNE_ROWS)) == PRUNE_ROWS:
            pass
        # Those that were kept before the endpoint was switched off are not needed any more.
        kept_for = max(self._dedupe_window, KEEP_EVENTS_SECONDS) if self._keeps_events else 0.0

        def prune_events(journal: Journal) -> int:
            return journal.settled.events.prune(before=now - kept_for, limit=PRUNE_ROWS)

        while await self._commits.write(prune_events) == PRUNE_ROWS:
            pass

    async def _prune_dead_letters(self) -> None:
        before = self._clock.steady() - self._dead_letter_retention
        if count := await self.outbox.prune_dead_letters(before=before):
            _log.warning("dead_letters.pruned", count=count, kept_for=self._dead_letter_retention)

    async def _within_shutdown_time(self, work: Awaitable[T]) -> T | None:
        """Return what `work` returns; None: the disk is full, failing or hanging. The thread is then abandoned."""
        self._commits.stop_retrying()
        now = asyncio.get_running_loop().time()
        self._ends_by = self._ends_by or now + SHUTDOWN_SECONDS
        try:
            async with asyncio.timeout_at(self._ends_by):
                return await work
        except (QueueUnavailableError, sqlite3.Error, TimeoutError):
            return None


@asynccontextmanager
async def open_local_queue(
    directory: Path,
    clock: Clock,
    *,
    sinks: Sequence[str],
    independent: Collection[str] = (),
    dedupe_window: float,
    dead_letter_retention: float,
    max_pending: int,
    first_looks: Callable[[int], list[float]],
    keeps_events: bool = False,
    check_directory: Callable[[], None] = lambda: None,
) -> AsyncIterator[LocalQueue]:
    """Open the queue whose journal is in `directory`, which the caller has locked (`StateDirectory`).

    The other arguments are those of `LocalQueue`.

    Raises:
        JournalError: the journal there can't be used as it is.
    """
    thread = DaemonThread("journal")
    journal = await thread.run(Journal, directory / FILE_NAME)
    clock.monotonic()  # its first call looks for the running event loop, which the thread below has not
    # A million pending assets take many seconds: meanwhile the event loop handles signals, and says that it lives.
    queue = await thread.run(
        LocalQueue,
        journal,
        thread,
        clock,
        sinks=sinks,
        independent=independent,
        dedupe_window=dedupe_window,
        dead_letter_retention=dead_letter_retention,
        max_pending=max_pending,
        first_looks=first_looks,
        keeps_events=keeps_events,
        check_directory=check_directory,
    )
    try:
        yield queue
    finally:
        await queue.close()
