"""Who waits for which asset: several callers share the looks at one asset, and nobody looks at what none waits for.

To the poller this is a queue: that of the engine, in which an asset is pending while somebody waits for it. The first
caller's request is submitted. Another one's joins it: the submission then ends as soon as any of them may end
(`shared_submission`), and each look that could end it is judged for each of them (`poller.decide`). Those who are done
get their event; for the others the wait goes on. When the last one leaves, the asset is dropped, or, with a state
directory, kept without being looked at, for whoever waits for it next.

Everything here runs on the event loop of the engine.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from asset_worker.domain.assets import AssetId, Observation, Unanswered
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Batch, Options, Submission
from asset_worker.embedding.terms import ORIGIN, Request, Terms, request_of, shared_submission
from asset_worker.poller.decide import Defer, Settle
from asset_worker.queue.ports import Lease, Queue
from asset_worker.runtime.clock import Clock

LEAST_DELAY_SECONDS: Final = 0.25
"""The shortest delay to which a deadline shortens that of a look which made no request."""


class Wait:
    """One caller's wait for one asset."""

    __slots__ = ("_on_end", "_timer", "asset_id", "is_over", "request", "terms")

    def __init__(self, asset_id: AssetId, terms: Terms, on_end: Callable[[Wait, Event | Exception], None]) -> None:
        """`on_end` is called once, with the completion event, or with what kept the wait from its end."""
        self.asset_id = asset_id
        self.terms = terms
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None
        self.request: Request
        """Set when the wait begins."""
        self.is_over = False
        """Whether it has ended, or the caller has left."""

    def call_after(self, seconds: float, call: Callable[[Wait], None]) -> None:
        """Call a function with this wait in so many seconds, unless it is over by then."""
        if not self.is_over:
            self._timer = asyncio.get_running_loop().call_later(seconds, call, self)

    def end(self, how: Event | Exception) -> None:
        """Report to the caller how the wait ended, if it is not over."""
        if not self.is_over:
            self.leave()
            self._on_end(self, how)

    def leave(self) -> None:
        """Note that it is over: the caller gets no more reports."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()


class _HandedOver(msgspec.Struct, frozen=True):
    """An event that callers have been handed, and may not have got yet."""

    event: Event
    callers: set[Wait]
    """Those who may still acknowledge it. If all leave instead, nobody has it."""


class PendingQueue(Queue, Protocol):
    """A queue engine, as `Waits` uses it."""

    def accepted_at(self, asset_id: AssetId) -> float | None:
        """Return when a pending asset was accepted, in steady time; None: it is not pending."""
        ...

    def amend(self, submission: Submission, *, due_in: float, completion: int | None = None) -> None:
        """Replace the submission of a pending asset, which is then due in `due_in` seconds at the latest."""
        ...

    def oldest(self, limit: int) -> Mapping[AssetId, PendingState]:
        """Return the pending assets that were accepted first, at most `limit`."""
        ...

    def pending_count(self) -> int:
        """Return how many assets are pending."""
        ...


class Waits:
    """The waits of all callers of one engine; a `Queue` for its poller."""

    def __init__(
        self,
        queue: PendingQueue,
        *,
        clock: Clock,
        accept: Callable[[Batch], Awaitable[object]],
        decide: Callable[[Lease, Observation], Settle | Defer],
        refusal: Callable[[], Exception | None],
        drop: Callable[[Lease], None] | None,
    ) -> None:
        """Take over what the queue kept from an earlier process: nobody waits for it yet.

        Args:
            queue: the queue of the engine.
            clock: the clock of the engine.
            accept: puts a batch into the queue.
            decide: returns what follows from a look that ends now.
            refusal: returns an error if the key is refused; None: it is not.
            drop: ends the lease of an asset that nobody waits for; None: such an asset is kept, in the state directory.
        """
        self._queue = queue
        self._clock = clock
        self._accept_batch = accept
        self._decide = decide
        self._refusal = refusal
        self._drop = drop
        self._groups: dict[AssetId, list[Wait]] = {}
        self._observed: dict[AssetId, Observation] = {}
        """What the look has shown that is about to end a shared wait."""
        self._kept: dict[AssetId, Lease] = {}
        """Assets that are pending, and that nobody waits for: a lease keeps the poller from looking at them."""
        self._handed_over: dict[AssetId, _HandedOver] = {}
        """Those of them whose event was handed to callers, of whom none has acknowledged it yet."""
        for lease in queue.lease(queue.oldest(queue.pending_count()), not_seen_since=math.inf):
            self._kept[lease.submission.asset_id] = lease

    @property
    def kept(self) -> tuple[AssetId, ...]:
        """The assets that are kept, and that nobody waits for."""
        # Any thread may ask; a list of a dictionary is made at once.
        return tuple(each for each in list(self._kept) if each not in self._handed_over)

    # What callers do.

    async def begin(self, waits: Sequence[Wait]) -> None:
        """Begin waits. When this returns, they are as durable as the engine makes them.

        Raises:
            Exception: the engine can't be used any more.
        """
        new: dict[AssetId, Submission] = {}
        now = self._clock.steady()
        for wait in waits:
            if wait.is_over:  # it was cancelled meanwhile
                continue
            asset_id = wait.asset_id
            group = self._groups.setdefault(asset_id, [])
            group.append(wait)
            lease = self._kept.pop(asset_id, None)
            kept = None if lease is None else (lease.submission, lease.accepted_at)
            wait.request = request_of(asset_id, wait.terms, now=now, kept=kept)
            if lease is not None:
                self._handed_over.pop(asset_id, None)
                await self._queue.defer(lease, 0.0, lease.progress)
            if self._queue.accepted_at(asset_id) is None and len(group) == 1:
                new[asset_id] = wait.request.submission
            else:
                self._renew(asset_id)
        await self._accept(new)

    def cancel(self, wait: Wait) -> None:
        """End a wait because its caller has left. An event that was on its way to the caller is kept."""
        wait.leave()
        handed_over = self._handed_over.get(wait.asset_id)
        if handed_over is not None and wait in handed_over.callers:
            handed_over.callers.discard(wait)
            if not handed_over.callers:
                del self._handed_over[wait.asset_id]
        group = self._groups.get(wait.asset_id, [])
        if wait in group:
            group.remove(wait)
            if not group:
                self._release(wait.asset_id)

    async def acknowledge(self, wait: Wait) -> None:
        """Settle an asset whose event has reached a caller. Without a state directory, that was done before."""
        asset_id = wait.asset_id
        handed_over = self._handed_over.pop(asset_id, None)
        if handed_over is None:
            return
        await self._queue.settle(self._kept.pop(asset_id), handed_over.event)
        if group := self._groups.get(asset_id):  # somebody waits for it again
            await self._accept({asset_id: group[0].request.submission})

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """End all waits with an error, a new one for each."""
        for group in list(self._groups.values()):
            for wait in list(group):
                wait.end(make_error())
                self.cancel(wait)

    def expire(self, wait: Wait, why: str) -> None:
        """End a wait whose time has run out, and which no look has ended. `why` is for people."""
        if wait.is_over:
            return
        request, now = wait.request, self._clock.steady()
        age = max(now, request.ends_at) - request.accepted_at + 1.0  # beyond doubt, whatever was rounded
        lease = Lease(request.submission, request.accepted_at, age, None, None, 1, Progress(), taken_at=now)
        step = self._decide(lease, Unanswered(why))
        assert isinstance(step, Settle)
        wait.end(step.event)
        self.cancel(wait)

    # What the poller does.

    def observe(self, lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        """Remember what a look has shown, if that may end a wait that several share."""
        if isinstance(step, Settle) and not self._is_alone(lease):
            self._observed[lease.submission.asset_id] = observation

    async def settle(self, lease: Lease, event: Event, *, steps: Sequence[Event] = ()) -> None:
        """End the waits that this look ends. If all have ended, end the lease with the event; if not, defer it."""
        asset_id = lease.submission.asset_id
        observation = self._observed.pop(asset_id, None)
        group = self._groups.get(asset_id, [])
        left: list[Defer] = []
        if self._is_alone(lease):
            ended = [(group[0], event)]
        else:
            ended = []
            for wait in group:
                step = self._step_for(wait, lease, observation or Unanswered("the caller came later"))
                if isinstance(step, Settle):
                    ended.append((wait, step.event))
                else:
                    left.append(step)
        for wait, its_event in ended:
            group.remove(wait)
            wait.end(its_event)
        if left:
            soonest = min(left, key=_delay)
            await self._queue.defer(lease, soonest.delay, soonest.progress)
            self._renew(asset_id, completion=lease.completion + bool(ended))
            return
        self._groups.pop(asset_id, None)
        if not ended:
            self._leave(lease)
        elif self._drop is not None:
            await self._queue.settle(lease, event, steps=steps)
        else:
            self._kept[asset_id] = lease
            self._handed_over[asset_id] = _HandedOver(event, {wait for wait, _ in ended})

    async def defer(self, lease: Lease, delay: float, progress: Progress, events: Sequence[Event] = ()) -> None:
        """End a lease: the asset is due again in `delay` seconds, or when the time of a caller runs out."""
        asset_id = lease.submission.asset_id
        if asset_id in self._groups and (error := self._refusal()) is not None:
            self.fail(lambda: type(error)(*error.args))
        group = self._groups.get(asset_id)
        if not group:
            self._leave(msgspec.structs.replace(lease, progress=progress))
            return
        left = min(wait.request.ends_at for wait in group) - self._clock.steady()
        await self._queue.defer(lease, min(delay, max(left, LEAST_DELAY_SECONDS)), progress, events)

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        """Accept submissions; see `Queue.put`."""
        return await self._queue.put(
            submissions, events=events, intake=intake, position=position, accepts_settled=accepts_settled
        )

    async def take(self, limit: int, *, ahead: float = 0.0) -> list[Lease]:
        """Wait until an asset is due; see `Queue.take`."""
        return await self._queue.take(limit, ahead=ahead)

    def take_overdue(self, limit: int, *, age_limit: Callable[[Options | None], float]) -> list[Lease]:
        """Return leases on assets past their age limit; see `Queue.take_overdue`."""
        return self._queue.take_overdue(limit, age_limit=age_limit)

    def lease(self, asset_ids: Iterable[AssetId], *, not_seen_since: float) -> list[Lease]:
        """Return leases on pending assets; see `Queue.lease`."""
        return self._queue.lease(asset_ids, not_seen_since=not_seen_since)

    async def room(self) -> int:
        """Wait until there is room; see `Queue.room`."""
        return await self._queue.room()

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        """Return whether there is room; see `Queue.has_room_for`."""
        return self._queue.has_room_for(asset_ids)

    # Inside.

    async def _accept(self, new: Mapping[AssetId, Submission]) -> None:
        """Submit assets that are not pending. Callers who came or left meanwhile are taken into account afterwards."""
        if not new:
            return
        await self._accept_batch(Batch(list(new.values()), [], ORIGIN, None))
        for asset_id, submission in new.items():
            group = self._groups.get(asset_id)
            if not group:
                self._release(asset_id)
            elif len(group) > 1 or group[0].request.submission is not submission:
                self._renew(asset_id)

    def _renew(self, asset_id: AssetId, *, completion: int | None = None) -> None:
        """Let the submission of a pending asset say what all those ask for together who wait for it now."""
        accepted_at = self._queue.accepted_at(asset_id)
        if accepted_at is None:
            return  # it is being accepted
        requests = [wait.request for wait in self._groups[asset_id]]
        left = min(each.ends_at for each in requests) - self._clock.steady()
        submission = shared_submission(requests, accepted_at=accepted_at)
        self._queue.amend(submission, due_in=max(left, 0.0), completion=completion)

    def _release(self, asset_id: AssetId) -> None:
        """Nobody waits for this asset any more. A look at it that is in progress is left to its end."""
        self._groups.pop(asset_id, None)
        for lease in self._queue.lease([asset_id], not_seen_since=math.inf):
            self._leave(lease)

    def _leave(self, lease: Lease) -> None:
        """End or keep the lease of an asset that nobody waits for."""
        if self._drop is None:
            self._kept[lease.submission.asset_id] = lease
        else:
            self._drop(lease)

    def _is_alone(self, lease: Lease) -> bool:
        """Return whether one caller waits for the asset, for whom the look was made."""
        group = self._groups.get(lease.submission.asset_id, [])
        return len(group) == 1 and group[0].request.submission == lease.submission

    def _step_for(self, wait: Wait, lease: Lease, observation: Observation) -> Settle | Defer:
        """Return what follows from a look for one of those who wait."""
        request = wait.request
        own = msgspec.structs.replace(
            lease,
            submission=request.submission,
            accepted_at=request.accepted_at,
            age=lease.taken_at - request.accepted_at,
        )
        return self._decide(own, observation)


def _delay(step: Defer) -> float:
    return step.delay
