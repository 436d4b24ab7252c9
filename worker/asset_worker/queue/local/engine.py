"""The queue on one machine: a heap in memory, a journal on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.queue.heap import NOT_LOOKED_AT, DueHeap, Pending
from asset_worker.queue.local.commits import Commits
from asset_worker.queue.local.journal import FILE_NAME, Journal, Settlement
from asset_worker.queue.local.outbox import LocalOutbox
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.threads import DaemonThread, InlineThread, WorkerThread

T = TypeVar("T")

KEEP_COUNTS_SECONDS = 7 * 86400
"""A settlement is kept for seven dedupe windows, and for this long at least: the count of an asset's completions is
part of its next event's ID, and a count that started again would make a new completion look like a repeat."""
PRUNE_EVERY_SECONDS = 60.0
PRUNE_ROWS = 20_000

LAST_SECONDS = 3.0
"""What the end may take beyond the stop's grace: a disk that hangs must not keep the process from ending."""

PROGRESS_EVERY_SECONDS = 1.0
"""How long progress may wait for company: `status` reads it, and losing it costs a count of looks, not an asset."""


class LocalQueue:
    """The `Queue` of one process, and the outbox beside it."""

    def __init__(
        self,
        journal: Journal,
        thread: WorkerThread,
        clock: Clock,
        *,
        sinks: Sequence[str],
        dedupe_window: float,
        max_pending: int,
        first_looks: Callable[[int], list[float]],
    ) -> None:
        """Take up what the journal holds; `first_looks` lays that many first looks, as delays in seconds."""
        self._commits = Commits(journal, thread)
        self._clock = clock
        self._dedupe_window = dedupe_window
        self._max_pending = max_pending
        self._pending: dict[AssetId, Pending] = {}
        self._arriving: set[AssetId] = set()
        self._heap = DueHeap()
        self._earlier = asyncio.Event()
        self._less = asyncio.Event()
        self._idle = asyncio.Event()
        self._unsaved: dict[AssetId, Progress] = {}
        self._ends_by: float | None = None
        kept = (journal.first_position(), journal.last_position())
        self.outbox = LocalOutbox(self._commits, sinks=sinks, known=journal.sinks(), kept=kept)
        self.intakes = journal.intakes()
        """How far each intake had come before this start."""
        self._restore(journal, first_looks)
        self._note_idle()

    def _restore(self, journal: Journal, first_looks: Callable[[int], list[float]]) -> None:
        now, mono = self._clock.now(), self._clock.monotonic()

        def monotonic(instant: float) -> float:
            return mono - max(0.0, now - instant)

        found: dict[AssetId, Pending] = {}
        together: dict[float, tuple[float, float]] = {}
        for pending in journal.pending():
            progress = pending.progress or NOT_LOOKED_AT
            instant = pending.accepted_at
            # One object for all that were accepted together spares memory.
            accepted_at, accepted_mono = together.setdefault(instant, (instant, monotonic(instant)))
            found[pending.submission.asset_id] = Pending(
                pending.submission,
                accepted_at,
                accepted_mono,
                pending.completion,
                progress,
                None if progress.ready_at is None else monotonic(progress.ready_at),
                None if progress.missing_at is None else monotonic(progress.missing_at),
            )
        # In the order of acceptance, of which `oldest_age` makes use.
        self._pending = {each: found[each] for each in sorted(found, key=lambda each: found[each].accepted_at)}
        delays = first_looks(len(self._pending)) if self._pending else []
        self._heap.push_all([(mono + delay, asset_id) for asset_id, delay in zip(self._pending, delays, strict=True)])

    async def room(self) -> int:
        while len(self._pending) >= self._max_pending:
            self._less.clear()
            await self._less.wait()
        return self._max_pending - len(self._pending)

    async def put(
        self, submissions: Sequence[Submission], *, events: Sequence[Event], intake: str, position: bytes | None
    ) -> list[Submission]:
        fresh: dict[AssetId, Submission] = {}
        for submission in submissions:
            asset_id = submission.asset_id
            if asset_id not in self._pending and asset_id not in self._arriving:
                fresh.setdefault(asset_id, submission)
        now = self._clock.now()

        def change(journal: Journal) -> tuple[list[tuple[Submission, int]], int]:
            accepted = journal.accept(list(fresh.values()), at=now, window_start=now - self._dedupe_window)
            if events:
                journal.add_events(events)
            if position is not None:
                journal.set_intake(intake, position)
            return accepted, journal.last_position() if events else 0

        self._arriving |= fresh.keys()
        self._note_idle()
        try:
            accepted, last = await self._commits.write(change)
        finally:
            self._arriving -= fresh.keys()
        self.outbox.added(last)
        mono = self._clock.monotonic()
        for submission, completion in accepted:
            self._pending[submission.asset_id] = Pending(submission, now, mono, completion)
        self._note_idle()
        self._heap.push_all([(mono, submission.asset_id) for submission, _ in accepted])
        self._earlier.set()
        return [submission for submission, _ in accepted]

    async def take(self, limit: int, *, ahead: float = 0.0) -> list[Lease]:
        while True:
            now = self._clock.monotonic()
            next_due = self._heap.next_due
            if next_due is not None and next_due <= now:
                return [self._lease(asset_id, now, due) for due, asset_id in self._heap.pop_due(now + ahead, limit)]
            self._earlier.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if next_due is None else next_due - now):
                    await self._earlier.wait()

    def _lease(self, asset_id: AssetId, now: float, due: float) -> Lease:
        pending = self._pending[asset_id]
        return Lease(
            pending.submission,
            pending.accepted_at,
            now - pending.accepted_mono,
            None if pending.ready_mono is None else now - pending.ready_mono,
            None if pending.missing_mono is None else now - pending.missing_mono,
            pending.completion,
            pending.progress,
            now - due,
            now,
        )

    async def defer(self, lease: Lease, delay: float, progress: Progress) -> None:
        asset_id = lease.submission.asset_id
        pending = self._pending[asset_id]
        now = self._clock.monotonic()
        if progress.ready_at is not None and pending.ready_mono is None:
            pending.ready_mono = now
        if progress.missing_at is None:
            pending.missing_mono = None
        elif pending.missing_mono is None:
            pending.missing_mono = now
        self._unsaved[asset_id] = progress
        pending.progress = progress
        self._heap.push(asset_id, now + delay)
        self._earlier.set()

    async def settle(self, lease: Lease, event: Event) -> None:
        asset_id = lease.submission.asset_id
        settlement = Settlement(asset_id, lease.completion, event.outcome, lease.accepted_at, self._clock.now())

        def change(journal: Journal) -> int:
            journal.settle(settlement)
            journal.add_events([event])
            return journal.last_position()

        last = await self._commits.write(change)
        del self._pending[asset_id]
        self._unsaved.pop(asset_id, None)
        self._less.set()
        self._note_idle()
        self.outbox.added(last)

    def _note_idle(self) -> None:
        if self._pending or self._arriving:
            self._idle.clear()
        else:
            self._idle.set()

    async def idle(self) -> None:
        """Return when nothing is pending."""
        await self._idle.wait()

    def pending_count(self) -> int:
        return len(self._pending)

    def due_count(self, limit: int = 1000) -> int:
        """How many are due and not leased, `limit` at most."""
        return self._heap.count_due(self._clock.monotonic(), limit)

    def oldest_age(self) -> float:
        """Seconds since the acceptance of the asset that has been pending longest; 0 when none is."""
        # A dict keeps the order of insertion, which is that of acceptance.
        for pending in self._pending.values():
            return self._clock.monotonic() - pending.accepted_mono
        return 0.0

    def waiting_on(self) -> dict[str, int]:
        """How many wait for what: for people who watch; it walks all that is pending."""
        counts: dict[str, int] = {}
        for pending in self._pending.values():
            for what in pending.progress.waiting_on or ("first look",):
                counts[what] = counts.get(what, 0) + 1
        return counts

    async def begin_run(self, *, ends_by_itself: bool) -> None:
        """From now on outcomes are tallied for an plan that ends by itself; one that was interrupted goes on."""
        await self._commits.write(lambda journal: journal.begin_run(ends_by_itself=ends_by_itself))

    async def end_run(self) -> dict[str, int] | None:
        """The outcomes of the plan, over all the runs that it took; it ends with the run that leaves nothing to do.

        The last that is asked of a queue. None: the journal can't be written, and that is not waited for.
        """

        def change(journal: Journal) -> dict[str, int]:
            counts = journal.tally()
            if not self._pending and not self.outbox.depth():
                journal.end_run()
            return counts

        return await self._at_the_end(self._commits.write(change))

    async def run_maintenance(self) -> None:
        """Save progress and prune, for ever.

        Raises:
            JournalError: the journal's file is no longer in its place.
        """
        loop = asyncio.get_running_loop()
        prune_at = loop.time()
        while True:
            await self._save_progress()
            if loop.time() >= prune_at:
                with suppress(OSError):  # a disk that fails in passing says nothing of the file
                    await self._commits.read(Journal.check_place)
                await self._prune()
                prune_at = loop.time() + PRUNE_EVERY_SECONDS
            await asyncio.sleep(PROGRESS_EVERY_SECONDS)

    async def _save_progress(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            await self._commits.write(lambda journal: journal.save_progress(unsaved))

    async def _prune(self) -> None:
        before = self._clock.now() - max(7 * self._dedupe_window, KEEP_COUNTS_SECONDS)
        while await self._commits.write(lambda journal: journal.prune(before=before, limit=PRUNE_ROWS)) == PRUNE_ROWS:
            pass

    @property
    def failing(self) -> bool:
        """Whether the journal can't be written just now."""
        return self._commits.failing

    async def close(self) -> None:
        """Save how far the waits have come, if that is possible at once, and let go of the journal."""
        await self._at_the_end(self._save_progress())
        await self._at_the_end(self._commits.close())

    async def _at_the_end(self, work: Awaitable[T]) -> T | None:
        """What `work` returns; None: the disk is full, fails or hangs, and its thread is left to itself."""
        self._commits.give_up()
        now = asyncio.get_running_loop().time()
        self._ends_by = self._ends_by or now + LAST_SECONDS
        try:
            async with asyncio.timeout_at(self._ends_by):
                return await work
        except (sqlite3.Error, TimeoutError):
            return None


@asynccontextmanager
async def open_queue(
    directory: Path | None,
    clock: Clock,
    *,
    sinks: Sequence[str],
    dedupe_window: float,
    max_pending: int,
    first_looks: Callable[[int], list[float]],
) -> AsyncIterator[LocalQueue]:
    """The queue kept in `directory`, which the caller holds; None: kept in memory, for one run.

    Raises:
        JournalError: the journal there can't be used as it is.
    """
    thread: WorkerThread = InlineThread() if directory is None else DaemonThread("journal")
    journal = await thread.run(Journal, directory / FILE_NAME if directory else None)
    queue = LocalQueue(
        journal,
        thread,
        clock,
        sinks=sinks,
        dedupe_window=dedupe_window,
        max_pending=max_pending,
        first_looks=first_looks,
    )
    try:
        yield queue
    finally:
        await queue.close()
