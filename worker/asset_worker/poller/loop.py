"""The poller's loop: takes what is due, and starts a task that looks at it.

`Poller._take` decides when an asset is looked at; `looks` and `batching` do the looking.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from asset_worker.domain.assets import Asset, AssetId, Observation
from asset_worker.domain.submissions import Options
from asset_worker.poller.actions import Actions
from asset_worker.poller.batching import Check, ListLooker, by_request
from asset_worker.poller.counts import Counts
from asset_worker.poller.deadlines import LEAST_SECONDS, age_limit, given_up_at, too_late
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.looks import Retriever
from asset_worker.poller.observing import Observe, ignore
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Policy
from asset_worker.poller.ports import Api
from asset_worker.queue.ports import Lease, Queue
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.ports import Schedule, SlowAfter, never_known

BACKLOG_SECONDS: Final = 0.5
"""When looks are later than this, each request gets a turn of the event loop to queue at the gate before more is taken.
Otherwise all slots would be filled at once, with what is most due now rather than when a request can go out. The same
is true while no lists are sent: in an outage, all assets would be retrieved at its end that could share a list."""


GIVE_UP_EVERY_SECONDS: Final = 0.25
EXAMINED_AT_ONCE: Final = 2_000
"""While no requests can be sent, so many pending assets are examined in each interval for those past their age limit:
a millisecond of work."""


class Poller:
    """Looks at the pending assets of a queue until each is settled."""

    def __init__(
        self,
        queue: Queue,
        api: Api,
        *,
        schedule: Schedule,
        policy: Policy,
        clock: Clock,
        feedback: Feedback | None = None,
        slow_after: SlowAfter = never_known,
        observe: Observe = ignore,
        uniform: Uniform = random.random,
    ) -> None:
        """`feedback` and `slow_after` are for a schedule that learns; `uniform` decides which lists are audited."""
        self._refusals = refusals = PerAssetRefusals()
        self._queue = queue
        self._api = api
        self._clock = clock
        self._feedback = feedback
        self._policy = policy
        self._started_at = clock.monotonic()
        self._slots = asyncio.Semaphore(policy.looks_at_once)
        self._shown: asyncio.Queue[tuple[list[Lease], Mapping[AssetId, Asset]]] = asyncio.Queue()
        self._actions = Actions(
            queue,
            schedule=schedule,
            policy=policy,
            clock=clock,
            feedback=feedback,
            refusals=refusals,
            slow_after=slow_after,
            observe=observe,
        )
        self._retriever = Retriever(api, self._actions, policy=policy, clock=clock, refusals=refusals)
        self._lists = ListLooker(
            api, self._actions, policy=policy, clock=clock, uniform=uniform, feedback=feedback, refusals=refusals
        )

    @property
    def counts(self) -> Counts:
        """What is counted about looks and completions."""
        return self._actions.counts

    @property
    def looks(self) -> int:
        """Looks made so far, those without an answer included."""
        return sum(self.counts.looks.values())

    @property
    def backlog_factor(self) -> float:
        """By how much the schedule stretches delays because more looks are due than can be made; 1: it doesn't."""
        return 1.0 if self._feedback is None else self._feedback.backlog_factor

    @property
    def lists_in_use(self) -> bool:
        """Whether looks share list requests now."""
        return self._lists.batching_at(self._clock.monotonic()) is not None

    @property
    def completions_from_lists(self) -> int:
        """Assets settled so far from what a list showed, without a retrieve."""
        return self._lists.settled

    @property
    def proven_list_shapes(self) -> int:
        """How many shapes of documents in lists are trusted now (`list_health`)."""
        return self._lists.confirmations.proven_shapes

    @property
    def list_disagreements(self) -> int:
        """Retrieves so far that disagreed with a list that showed the asset done."""
        return self._lists.confirmations.disagreements

    @property
    def key_is_refused(self) -> bool:
        """Whether refusals are the key's, as far as is known: no asset is answered that could show the opposite."""
        return self._refusals.key_is_refused

    def decide(self, lease: Lease, observation: Observation) -> Settle | Defer:
        """Return what follows from a retrieve that shows this and ends now. Nothing is done."""
        return self._actions.decide(lease, observation, is_retrieve=True)

    def shown(self, assets: Sequence[Asset], *, asked_at: float) -> None:
        """Look at the pending ones of these assets as a page of the account shows them: no request is needed for that.

        They are leased when this returns, before anything else can look at them. `asked_at` is when the page was
        requested, in steady time: what was looked at since then is left out. Nothing is done while looks share no
        lists.
        """
        if self._lists.batching_at(self._clock.monotonic()) is None:
            return
        by_id = {asset.id: asset for asset in assets}
        if leases := self._queue.lease(by_id, not_seen_since=asked_at):
            self._shown.put_nowait(
                (leases, {lease.submission.asset_id: by_id[lease.submission.asset_id] for lease in leases})
            )

    async def run(self, stop: Stop) -> None:
        """Look at what is due until the stop, then finish the looks in progress."""
        async with asyncio.TaskGroup() as looks:
            endless = [
                looks.create_task(self._take(looks, stop)),
                looks.create_task(self._take_shown(looks, stop)),
                looks.create_task(self._give_up_overdue()),
            ]
            await stop.wait()
            # Assets that are leased but not yet looked at stay pending, for the next start.
            for task in endless:
                task.cancel()

    async def _take(self, looks: asyncio.TaskGroup, stop: Stop) -> None:
        gathered_at = 0.0
        while True:
            if (gathering := gathered_at - self._clock.monotonic()) > 0:
                await asyncio.sleep(gathering)
            await self._lists.confirmations.wait_for_room()
            await self._slots.acquire()
            # Nothing is taken before a request can go out: only then is it known what is most due.
            await self._api.wait_for_capacity()
            free_at = self._clock.monotonic()
            batching = self._lists.batching_at(free_at)
            if batching is None:
                leases = await self._queue.take(1)
            else:
                leases = await self._queue.take(batching.limit, ahead=batching.ahead)
            taken_at = self._clock.monotonic()
            if self._feedback is not None:
                self._feedback.taken(leases[0], now=taken_at, idle=taken_at - free_at, gathered_at=gathered_at)
            if batching is not None and len(leases) < batching.limit:
                gathered_at = taken_at + batching.gather
            late = leases[0].late
            leases = await self._give_up_if_stalled(leases)
            if not leases:
                self._slots.release()
                continue
            for number, group in enumerate(by_request(leases)):
                if number:  # the first group has the slot acquired above
                    await self._slots.acquire()
                if self._feedback is not None:
                    self._feedback.requested(len(group))
                is_alone = len(group) == 1
                looks.create_task(self._look_at(group[0], stop) if is_alone else self._list(group, looks, stop))
            if late > BACKLOG_SECONDS or batching is None:
                await asyncio.sleep(0)

    async def _take_shown(self, looks: asyncio.TaskGroup, stop: Stop) -> None:
        while True:
            leases, shown = await self._shown.get()
            looks.create_task(self._check_all(self._lists.act_on(leases, shown), looks, stop))

    async def _give_up_overdue(self) -> None:
        """Settle the assets past their age limit that can't be looked at. They may be behind others in the queue."""
        while True:
            await asyncio.sleep(GIVE_UP_EVERY_SECONDS)
            if self._api.stalled_for >= LEAST_SECONDS:
                await self._give_up(self._queue.take_overdue(EXAMINED_AT_ONCE, age_limit=self._given_up_at))

    async def _give_up_if_stalled(self, leases: list[Lease]) -> list[Lease]:
        """While no requests can be sent, settle the assets past their age limit. Return the leases on the others."""
        if self._api.stalled_for < LEAST_SECONDS:
            return leases
        overdue = [lease for lease in leases if lease.age >= self._given_up_at(lease.submission.options)]
        await self._give_up(overdue)
        return [lease for lease in leases if lease not in overdue] if overdue else leases

    async def _give_up(self, leases: list[Lease]) -> None:
        observation = too_late(self._api.latest_failure)
        async with asyncio.TaskGroup() as settling:
            for lease in leases:
                settling.create_task(self._actions.act(lease, observation, "none"))

    def _given_up_at(self, options: Options | None) -> float:
        return given_up_at(
            age_limit(options, self._policy.expectations),
            running_for=self._clock.monotonic() - self._started_at,
            last_look=self._policy.last_look,
        )

    async def _look_at(self, lease: Lease, stop: Stop) -> None:
        """Retrieve one asset. The caller has acquired the slot, which is released here."""
        try:
            await self._retriever.look_at(lease, stop)
        finally:
            self._slots.release()

    async def _list(self, leases: list[Lease], looks: asyncio.TaskGroup, stop: Stop) -> None:
        """List several assets, and start the checks that are needed. The slot is released here, as in `_look_at`."""
        try:
            await self._check_all(self._lists.look_at(leases, stop), looks, stop)
        finally:
            self._slots.release()

    async def _check_all(self, checks: AsyncIterator[Check], looks: asyncio.TaskGroup, stop: Stop) -> None:
        async for check in checks:
            looks.create_task(self._check(check, stop))

    async def _check(self, check: Check, stop: Stop) -> None:
        """Retrieve an asset after a list, in a slot of its own, unless it is settled from the list after all."""
        if check.is_held:
            released = await self._lists.wait_for_release(check)
            if released is None:
                return
            check = released
        async with self._slots:
            observation = await self._retriever.look_at(check.lease, stop)
        self._lists.compare(check, observation)
