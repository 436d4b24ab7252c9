"""The queue engine of a fleet: several workers share the assets in PostgreSQL, each of which one of them owns.

A worker keeps what it owns in memory, as the local engine does: a look costs no statement. It owns what its intakes
read, and claims what producers have submitted and what others have left (`ownership`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import psycopg

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.inbox import Asked, TakenError
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import AssetState, PendingState, SettledState, combined
from asset_worker.domain.submissions import Submission
from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.queue.pending import NOT_LOOKED_AT
from asset_worker.queue.ports import Failure, Lease
from asset_worker.queue.postgres import learning
from asset_worker.queue.postgres.changes import THE_FLEET, Accepted, Accepting, Settling
from asset_worker.queue.postgres.connection import is_transient
from asset_worker.queue.postgres.database import Database, RetiredError, Tables
from asset_worker.queue.postgres.membership import Membership
from asset_worker.queue.postgres.outbox import PostgresOutbox
from asset_worker.queue.postgres.ownership import CLAIMED_AT_ONCE, OwnedAssets
from asset_worker.queue.postgres.pending_rows import Ending
from asset_worker.queue.postgres.pruning import Pruning
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.threads import WorkerThread
from asset_worker.schedule.learned import LearnedState

T = TypeVar("T")
_log = get_logger()

RENEWALS_AT_START: Final = 2
"""The first asks for a portion of the quota, and with the second that is used."""
TAKE_TASKS_EVERY_SECONDS: Final = 1.0
PROGRESS_EVERY_SECONDS: Final = 1.0
"""The interval at which progress is saved that shows something new."""
COUNTS_EVERY_SECONDS: Final = 60.0
"""The interval at which other progress is saved: numbers of looks, which a worker that takes over may lack."""
PRUNE_EVERY_SECONDS: Final = 60.0
SHUTDOWN_SECONDS: Final = 3.0
"""How long `finish` and `close` may take together."""


class PostgresQueue(OwnedAssets):
    """A `QueueEngine` whose pending assets, settlements and events are in PostgreSQL."""

    def __init__(
        self,
        database: Database,
        thread: WorkerThread,
        membership: Membership,
        clock: Clock,
        *,
        sinks: Sequence[str],
        dedupe_window: float,
        dead_letter_retention: float,
        max_pending: int,
        first_looks: Callable[[int], list[float]],
        keeps_events: bool = False,
        former_life: int | None = None,
        on_life: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Begin a life. Blocking: call it in the thread.

        Args:
            database: the store; from now on, only `thread` uses it.
            thread: runs all calls to the database.
            membership: this worker's place in the fleet.
            clock: the clock; its steady time follows the database's.
            sinks: the names of the sinks that read the outbox.
            dedupe_window: seconds after its completion in which an asset is not accepted again.
            dead_letter_retention: seconds for which a dead letter is kept after its last attempt.
            max_pending: the number of pending assets, and of undelivered events, for which this worker has room.
            first_looks: returns the delays, in seconds, of that many first looks.
            keeps_events: whether to keep the event of each asset's last completion, for `find`.
            former_life: the life of this worker before its restart; None: it is not known.
            on_life: called in the thread with the id of each life that begins.
        """
        super().__init__(
            database,
            thread,
            membership,
            clock,
            max_pending=max_pending,
            first_looks=first_looks,
            former_life=former_life,
            on_life=on_life,
        )
        self.commits = self._commits.made
        self._dedupe_window = dedupe_window
        self._keeps_events = keeps_events
        self._ends_by: float | None = None
        checkpoints, dead_letters = database.read(
            lambda tables: (
                tables.pending.checkpoints(tables.connection, membership.name),
                tables.outbox.count_dead_letters(tables.connection),
            )
        )
        self.intakes: Mapping[str, bytes] = {
            name: position for name, position in checkpoints.items() if not name.startswith("sink:")
        }
        self.outbox = PostgresOutbox(
            self._commits,
            self._room,
            name=membership.name,
            sinks=sinks,
            checkpoints=checkpoints,
            dead_letters=dead_letters,
        )
        self._pruning = Pruning(
            self._write,
            database,
            self.outbox,
            membership.lives,
            dedupe_window=dedupe_window,
            dead_letter_retention=dead_letter_retention,
        )

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        """Accept submissions, which this worker then owns, events and the intake's position, in one transaction.

        Of the inbox, the position names the rows of the batch (`domain.inbox`), which are deleted. What another worker
        has found in the account, and somebody asks for here, is this worker's from now on, with the new submission.

        Raises:
            TakenError: another worker has taken a row of the inbox since it was read, or the task of the intake.
                Nothing was accepted.
        """
        with self._accepting(submissions) as new:
            change = Accepting(
                new,
                list(self._asked_for(submissions).values()),
                list(events),
                self.outbox.sinks,
                read_time=self._clock.steady,
                window=self._dedupe_window if accepts_settled else math.inf,
                name=self._membership.name,
                intake=intake,
                position=position,
            )

            def applied(done: Accepted | None) -> None:
                if done is not None and done.life == self._life:  # or else it is claimed from the life that was retired
                    self._add(done.new, accepted_at=done.at)
                    self._replace(done.replaced)
                    self._adopt(done.taken)
                    self.outbox.add(len(events))

            if (done := await self._write(change, applied)) is None:
                raise TakenError
        return [*(submission for submission, _ in done.new), *done.replaced, *(row.submission for row in done.taken)]

    async def read_inbox(self, limit: int) -> list[Asked]:
        """Return the first `limit` rows of the inbox that are this worker's to accept, the first first.

        The workers share the rows by their numbers, so that they don't read the same ones. Those of a worker that has
        no room wait until it has, or is gone.
        """
        if not self._may_lease():
            return []
        alive = sorted([self._life, *(each.id for each in self._membership.others if each.alive_for > 0)])
        place = alive.index(self._life)
        return await self._commits.read(
            lambda tables: tables.pending.read_inbox(tables.connection, limit, count=len(alive), places=[place])
        )

    async def take_turn(self, task: str) -> Mapping[str, bytes]:
        """Wait until this worker has a task that one worker of the fleet has at a time.

        Return the positions of the intakes that belong to no worker.
        """

        def take(tables: Tables) -> bool:
            return tables.pending.take_task(tables.connection, task, life=tables.life)

        while not await self._write(take):  # noqa: ASYNC110 - what it waits for happens elsewhere
            await asyncio.sleep(TAKE_TASKS_EVERY_SECONDS)
        return await self._commits.read(lambda tables: tables.pending.checkpoints(tables.connection, THE_FLEET))

    async def turn_is_over(self) -> None:
        """Wait until this worker has no task any more: the others have retired it."""
        await self._is_retired.wait()

    async def defer(self, lease: Lease, delay: float, progress: Progress, events: Sequence[Event] = ()) -> None:
        """End a lease: the asset is due again in `delay` seconds.

        Maintenance saves the progress; if there are events, it is saved with them, in one transaction.
        """
        if not self._holds(lease):
            return
        asset_id = lease.submission.asset_id
        if not events:
            self._postpone(lease, delay, progress)
            kept = self._unsaved if progress.shows_more_than(lease.progress) else self._uncounted
            kept[asset_id] = progress
            return

        def change(tables: Tables) -> bool:
            connection, life, rows = tables.connection, tables.life, tables.pending
            if not rows.save_progress(connection, {asset_id: progress}, life=life):
                return False
            rows.add_events(connection, [(asset_id, event) for event in events], life=life, sinks=self.outbox.sinks)
            return True

        self._forget_progress(asset_id)
        if await self._write_as(lease, change, events=len(events)):
            self._postpone(lease, delay, progress)

    async def settle(self, lease: Lease, event: Event, *, steps: Sequence[Event] = ()) -> None:
        """End a lease: settle the asset and put its events into the outbox, if it is still this worker's."""
        assert event.outcome is not None
        if not self._holds(lease):
            return
        asset_id = lease.submission.asset_id
        ending = Ending(
            asset_id,
            lease.completion,
            event.outcome,
            lease.accepted_at,
            self._clock.steady(),
            (*steps, event),
            event.body.decode() if self._keeps_events else None,
        )
        if await self._write_as(lease, Settling(ending, self.outbox.sinks), events=1 + len(steps)):
            self._forget_progress(asset_id)
            self._remove(lease)

    async def find(self, asset_id: AssetId) -> AssetState:
        """Return what is known of an asset: that it is pending, here or elsewhere, how its last wait ended, or both.

        Raises:
            QueueUnavailableError: the database can't be read at the end of the process.
        """
        pending = self.pending_state(asset_id)  # before the read: a wait that ends meanwhile is in one of the two

        def elsewhere(tables: Tables) -> PendingState | None:
            row = tables.pending.find(tables.connection, asset_id) if pending is None else None
            if row is None:
                return pending
            return PendingState(
                row.accepted_at, row.completion, row.progress or NOT_LOOKED_AT, None, row.submission.options
            )

        def read(tables: Tables) -> tuple[PendingState | None, SettledState | None]:
            found = tables.pending.find_settled(tables.connection, asset_id)
            return elsewhere(tables), None if found is None else SettledState(*found)

        return combined(*await self._commits.read(read))

    async def exchange_learned(self, own: LearnedState) -> tuple[list[bytes], list[bytes]]:
        """Keep what this worker has learned; see `learning.SharesLearned`."""

        def exchange(tables: Tables) -> tuple[list[bytes], list[bytes]]:
            # What the past lives of this process have left is in `own`.
            left = tables.learned.take_left(tables.connection, without=tuple(self._past_lives))
            tables.learned.keep(tables.connection, tables.life, learning.merged(own, left))
            return tables.learned.others(tables.connection, tables.life), left

        return await self._write(exchange)

    @property
    def failure(self) -> Failure | None:
        """Why the database can't be written now, and since when; None: it can."""
        return self._commits.failure

    def outbox_depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        return self.outbox.depth()

    def dead_letters_by_sink(self) -> Mapping[str, int]:
        """Return how many dead letters each sink has."""
        return self.outbox.dead_letters

    async def begin(self, *, ends_by_itself: bool) -> None:
        """Begin a run, which does not end by itself: take over what was left, and claim a fair share at once."""
        assert not ends_by_itself, "a run that ends by itself needs the local engine"
        try:
            for _ in range(RENEWALS_AT_START):
                await self.renew()
            await self.restore_balance()
        except psycopg.Error as error:
            if not is_transient(error):
                raise
        await self.claim()

    async def run_maintenance(self) -> None:
        """Extend the lease, claim and give back assets, save progress and delete what is old, until cancelled."""
        works = (
            self._membership.run(self.renew),
            self._balance_again_and_again(),
            self._claim_again_and_again(),
            self._save_and_prune(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _save_and_prune(self) -> None:
        loop = asyncio.get_running_loop()
        prune_at, count_at = loop.time(), loop.time() + COUNTS_EVERY_SECONDS
        while True:
            is_time = loop.time() >= count_at
            await self._save_progress(with_counts=is_time)
            count_at = loop.time() + COUNTS_EVERY_SECONDS if is_time else count_at
            await self.outbox.look_for_oldest()
            await self.outbox.look_for_resumed()
            self._count_due()
            if loop.time() >= prune_at:
                await self._pruning.prune(self._clock.steady())
                prune_at = loop.time() + PRUNE_EVERY_SECONDS
            await asyncio.sleep(PROGRESS_EVERY_SECONDS)

    async def finish(self) -> Mapping[str, int] | None:
        """Save the progress, and let others claim what this worker owns. None: the database can't be written."""

        async def hand_over() -> dict[str, int]:
            await self._save_progress(with_counts=True)
            with suppress(RetiredError):
                while await self._commits.write(
                    lambda tables: tables.pending.release_all(tables.connection, tables.life, limit=CLAIMED_AT_ONCE)
                ):
                    pass
            await self._membership.end()
            return {}

        return await self._within_shutdown_time(hand_over())

    async def close(self) -> None:
        """Close the connections and their threads."""
        await self._within_shutdown_time(self._commits.close())
        await self._within_shutdown_time(self._membership.close())

    async def _within_shutdown_time(self, work: Awaitable[T]) -> T | None:
        """Return what `work` returns; None: the database is away or hangs. The threads are then abandoned."""
        self._commits.stop_retrying()
        now = asyncio.get_running_loop().time()
        self._ends_by = self._ends_by or now + SHUTDOWN_SECONDS
        try:
            async with asyncio.timeout_at(self._ends_by):
                return await work
        except (QueueUnavailableError, psycopg.Error, TimeoutError):
            return None
