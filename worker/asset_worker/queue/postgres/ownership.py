"""Which assets this worker owns: those that it accepts or claims, as long as its life lasts.

What it writes about them is fenced by its *life*: once the others have retired it, it changes nothing, forgets what it
owned, and begins another life. It claims what nobody owns up to a fair share, frees what retired lives have left, and
gives back what it owns beyond its share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import psycopg

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.domain.quota_share import LearnedRate, SharedLimits
from asset_worker.queue.commits import Commits
from asset_worker.queue.pending import NOT_LOOKED_AT, PendingAssets
from asset_worker.queue.ports import Failure, FleetState, Lease
from asset_worker.queue.postgres import shares
from asset_worker.queue.postgres.connection import is_transient
from asset_worker.queue.postgres.database import Database, RetiredError, Tables
from asset_worker.queue.postgres.membership import RENEWALS, Membership
from asset_worker.queue.postgres.outbox import PostgresOutbox
from asset_worker.queue.postgres.pending_rows import PendingRow
from asset_worker.queue.room import Room
from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.threads import WorkerThread

T = TypeVar("T")
_log = get_logger()

LEAST_PORTION: Final = 1e-3
"""A worker that has no portion yet sends hardly a request, and is not cut off."""
CLAIM_EVERY_SECONDS: Final = 0.25
"""The interval at which assets are claimed that nobody owns."""
CLAIMED_AT_ONCE: Final = 5_000
"""Assets that are claimed in one transaction at most."""
COUNTED_AT_MOST: Final = 50_000
"""Assets that nobody owns are counted up to this number: the count reads an index."""
NO_ANSWER: Final = "the database has not answered"
RELEASED_AT_ONCE: Final = 2_000
"""Assets that are given back in one transaction at most."""


class _Unlimited:
    """Limits that nobody shares."""

    def share(self, portion: float, learned: LearnedRate | None, *, until: float) -> LearnedRate | None:  # noqa: ARG002
        """Do nothing."""
        return learned


class OwnedAssets(PendingAssets):
    """The pending assets that this worker owns."""

    outbox: PostgresOutbox

    def __init__(
        self,
        database: Database,
        thread: WorkerThread,
        membership: Membership,
        clock: Clock,
        *,
        max_pending: int,
        first_looks: Callable[[int], list[float]],
        former_life: int | None,
        on_life: Callable[[int], None],
    ) -> None:
        """Begin a life. Blocking: call it in the thread. For the arguments, see `PostgresQueue`."""
        super().__init__(clock, Room(max_pending, clock))
        self._database = database
        self._commits = Commits(database, thread, clock)
        self._thread = thread
        self._membership = membership
        self._max_pending = max_pending
        self._first_looks = first_looks
        self._on_life = on_life
        self._unsaved: dict[AssetId, Progress] = {}
        """Progress that shows something new."""
        self._uncounted: dict[AssetId, Progress] = {}
        """Progress that does not."""
        self._limits: SharedLimits = _Unlimited()
        self._known_rate: LearnedRate | None = None
        self._past_lives: list[int] = []
        """The lives of this process that were retired."""
        self._beginning = asyncio.Lock()
        self._is_retired = asyncio.Event()
        """Set when the present life is over."""
        self._surplus_since: float | None = None
        """Since when it has owned more than its share, in steady time; None: it does not."""
        self._unowned = 0
        self._unowned_since: float | None = None
        """Since when assets have been waiting to be claimed, in steady time; None: there are none."""
        database.life = self._life = membership.begin(former_life)
        on_life(self._life)

    @property
    def fleet(self) -> FleetState:
        """The fleet, as this worker sees it."""
        membership, now = self._membership, self._clock.steady()
        lapse = None
        if not membership.is_valid:
            lapse = Failure(membership.error or NO_ANSWER, since=wall_time(self._clock, membership.valid_until))
        return FleetState(
            workers=int(lapse is None) + sum(each.alive_for > 0 for each in membership.others),
            portion=membership.portion,
            unowned=self._unowned,
            unowned_age=0.0 if self._unowned_since is None else now - self._unowned_since,
            leases_lost=membership.leases_lost,
            lapse=lapse,
        )

    def share_limits(self, limits: SharedLimits) -> None:
        """Let these limits follow this worker's portion of the fleet's quota from the next renewal on."""
        self._limits = limits

    def _may_lease(self) -> bool:
        return self._membership.is_valid

    def _holds(self, lease: Lease) -> bool:
        """Return whether a lease is one of the present life."""
        return lease.life == self._life

    async def _write_as(self, lease: Lease, change: Callable[[Tables], bool], *, events: int) -> bool:
        """Make a change for an asset. Return False if it is another worker's: it is then forgotten here.

        With it, so many events are put into the outbox.
        """

        def applied(made: object) -> None:
            if made and self._holds(lease):
                self.outbox.add(events)

        try:
            is_made = await self._commits.write(change, applied)
        except RetiredError:
            await self._begin_anew(lease.life)
            return False
        if not is_made and self._holds(lease):
            self._forget_moved(lease.submission.asset_id)
        return is_made and self._holds(lease)

    async def _write(self, change: Callable[[Tables], T], applied: Callable[[T], None] | None = None) -> T:
        """Make a change that is not about what this life owns; in another life, if this one was retired.

        For `applied`, see `Commits.write`.
        """
        while True:
            life = self._life
            try:
                return await self._commits.write(change, applied)
            except RetiredError:
                await self._begin_anew(life)

    async def _begin_anew(self, retired: int) -> None:
        """Begin another life, if that has not happened yet."""
        async with self._beginning:
            if self._life != retired:
                return
            self._past_lives.append(retired)
            self._life = 0  # from now on, no lease of the former life ends anything
            self._forget_all()
            self._database.life = self._life = await self._membership.begin_anew()
            self._is_retired.set()
            self._is_retired = asyncio.Event()
            await self._thread.run(self._on_life, self._life)
            _log.error("fleet.retired", life=retired, new_life=self._life)

    def _forget_all(self) -> None:
        for asset_id in list(self._pending):
            self._forget(asset_id)
        self._unsaved, self._uncounted = {}, {}
        self.outbox.reset()

    def _forget_moved(self, asset_id: AssetId) -> None:
        _log.info("fleet.asset_moved", asset_id=asset_id)
        self._forget_progress(asset_id)
        self._forget(asset_id)

    def _forget_progress(self, asset_id: AssetId) -> None:
        self._unsaved.pop(asset_id, None)
        self._uncounted.pop(asset_id, None)

    async def renew(self) -> None:
        """Extend the lease, and use the portion of the quota that goes with it.

        Raises:
            psycopg.Error: the database can't be asked.
        """
        life = self._life
        is_alive = await self._membership.renew(owned=self.pending_count(), known=self._known_rate)
        if not is_alive:
            self._database.interrupt()  # what it writes for the former life changes nothing, and it may hang
            await self._begin_anew(life)
        membership = self._membership
        portion = max(membership.portion, LEAST_PORTION)
        self._known_rate = self._limits.share(portion, membership.learned, until=membership.valid_until)
        self._pushed.set()  # whoever waits to lease may do so again

    async def restore_balance(self) -> None:
        """Retire the dead, take over what they have left, and give back what is more than a fair share.

        Raises:
            psycopg.Error: the database can't be asked.
        """
        for retired, name in await self._membership.retire_dead():
            _log.warning("fleet.worker_died", name=name, life=retired)
        await self._take_over()
        await self._give_back_surplus()

    async def _balance_again_and_again(self) -> None:
        while True:
            try:
                await self.restore_balance()
            except psycopg.Error as error:  # the renewals report it
                if not is_transient(error):
                    raise
            await asyncio.sleep(self._membership.lease / RENEWALS)

    async def _take_over(self) -> None:
        """Free the assets of retired lives, and adopt what they owed to their sinks."""
        lives = self._membership.lives

        def orphans(tables: Tables) -> tuple[list[int], list[int]]:
            return lives.orphans(tables.connection, "pending"), lives.orphans(tables.connection, "deliveries")

        owners, senders = await self._commits.read(orphans)

        def free(tables: Tables) -> int:
            return lives.free(tables.connection, owners)

        if owners:
            while await self._write(free):
                pass
        if senders:
            while await self.outbox.adopt_from(senders, limit=CLAIMED_AT_ONCE):
                pass

    async def _claim_again_and_again(self) -> None:
        while True:
            if self._may_lease():
                await self.claim()
            await asyncio.sleep(CLAIM_EVERY_SECONDS)

    async def claim(self) -> None:
        """Claim assets that nobody owns, up to a fair share."""
        while True:
            self._unowned, others = await self._commits.read(_unowned_and_owned_by_others)
            now = self._clock.steady()
            if not self._unowned:
                self._unowned_since = None
                return
            self._unowned_since = self._unowned_since if self._unowned_since is not None else now
            wanted = shares.to_claim(
                self.pending_count(),
                others,
                self._unowned,
                room=self._max_pending - self.pending_count(),
                is_urgent=now - self._unowned_since >= self._membership.lease,
            )
            if not wanted:
                return
            limit = min(wanted, CLAIMED_AT_ONCE)
            claimed = await self._write(partial(_claim, limit=limit))
            self._adopt(claimed)
            if len(claimed) < CLAIMED_AT_ONCE:
                return

    def _adopt(self, rows: Sequence[PendingRow]) -> None:
        """Make claimed assets pending here: those that were never looked at at once, the others spread out."""
        now = self._clock.steady()
        kept = [
            (row.submission, min(row.accepted_at, now), row.completion, (row.progress or NOT_LOOKED_AT).not_after(now))
            for row in rows
            if row.submission.asset_id not in self._pending
        ]
        seen = [each for each in kept if each[3].polls]
        self._restore([each for each in kept if not each[3].polls], lambda count: [0.0] * count)
        self._restore(seen, self._first_looks)

    async def _give_back_surplus(self) -> None:
        others = [each.owned for each in self._membership.others if each.alive_for > 0]
        left = shares.surplus(self.pending_count(), others)
        now = self._clock.steady()
        if not left:
            self._surplus_since = None
            return
        self._surplus_since = self._surplus_since if self._surplus_since is not None else now
        if now - self._surplus_since < self._membership.lease:  # what the others said may be a renewal old
            return
        self._surplus_since = None
        while left > 0:
            free = (asset_id for asset_id, pending in reversed(self._pending.items()) if pending.due is not None)
            chosen = list(islice(free, min(left, RELEASED_AT_ONCE)))
            if not chosen:
                return
            await self._release(chosen)
            left -= len(chosen)

    async def _release(self, asset_ids: Sequence[AssetId]) -> None:
        """Let others claim assets that are not leased."""
        kept = self._uncounted | self._unsaved
        unsaved = {each: kept[each] for each in asset_ids if each in kept}
        for asset_id in asset_ids:
            self._forget_progress(asset_id)
            self._forget(asset_id)

        def change(tables: Tables) -> None:
            tables.pending.save_progress(tables.connection, unsaved, life=tables.life)
            tables.pending.release(tables.connection, asset_ids, life=tables.life)

        await self._write(change)

    async def _save_progress(self, *, with_counts: bool) -> None:
        """Save progress. What another worker owns by now is forgotten here, unless it is leased."""
        unsaved, self._unsaved = self._unsaved, {}
        if with_counts:
            unsaved, self._uncounted = self._uncounted | unsaved, {}
        if not unsaved:
            return
        life = self._life
        try:
            saved = await self._commits.write(
                lambda tables: tables.pending.save_progress(tables.connection, unsaved, life=tables.life)
            )
        except RetiredError:
            return
        for asset_id in unsaved.keys() - saved if life == self._life else ():
            pending = self._pending.get(asset_id)
            if pending is not None and pending.due is not None:
                self._forget_moved(asset_id)


def _unowned_and_owned_by_others(tables: Tables) -> tuple[int, list[int]]:
    unowned = tables.pending.count_unowned(tables.connection, COUNTED_AT_MOST)
    return unowned, tables.pending.owned_by_others(tables.connection, tables.life) if unowned else []


def _claim(tables: Tables, limit: int) -> list[PendingRow]:
    return tables.pending.claim(tables.connection, life=tables.life, limit=limit)
