"""Pending assets and leases in memory: which asset is due, and how long it has been pending.

Both engines are built on this layer. It knows nothing about journals and events: an engine adds what it has accepted,
and removes what it has settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.counts import Acceptance, Acceptances, WaitCounts
from asset_worker.queue.heap import DueHeap
from asset_worker.queue.ports import FleetState, Lease
from asset_worker.queue.room import Room
from asset_worker.runtime.clock import Clock

NOT_LOOKED_AT = Progress()
SUPERSEDED_ENTRIES = 1_000
"""When the heap holds so many more entries than twice the pending assets, it is rebuilt: an asset that is leased before
it is due leaves an entry behind."""

RECENT_SECONDS = 2.0
"""A count of what is due is kept so long for those who ask. It visits a thousand assets at places of the memory that
nothing else has used lately: among a million, it takes as long as all else in a scrape. An engine with maintenance
counts every second, so that nobody who asks waits for it."""


class Pending(msgspec.Struct, gc=False):
    """One pending asset."""

    submission: Submission
    acceptance: Acceptance
    completion: int
    progress: Progress = NOT_LOOKED_AT
    due: float | None = None
    """When it is due, in monotonic seconds; None: it is leased. Another due time of it in the heap no longer counts."""

    @property
    def accepted_at(self) -> float:
        """When it was accepted, in steady time."""
        return self.acceptance.at


class PendingAssets:
    """The pending assets of one process.

    A pending asset is either in the heap of due times or leased. Due times are monotonic seconds, as they are waited
    for; all ages are by steady time, so setting the wall clock makes no asset older or younger.
    """

    def __init__(self, clock: Clock, room: Room) -> None:
        self._clock = clock
        self._room = room
        self._pending: dict[AssetId, Pending] = {}
        """In the order of acceptance."""
        self._acceptances = Acceptances()
        self._wait_counts = WaitCounts()
        self._due = 0
        self._due_at: float | None = None
        """When `_due` was counted, in monotonic seconds."""
        self._being_accepted: set[AssetId] = set()
        self._heap = DueHeap(self._is_due_at)
        self._life = 0
        """See `Lease.life`."""
        self._examined = 0
        """How many of the pending assets `take_overdue` has examined since it last began with the first."""
        self._pushed = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def room(self) -> int:
        """Wait until there is room. Return how many submissions and events of rejected lines may be put."""
        return await self._room.wait()

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        """Return whether there is room for all of these assets that are not pending yet."""
        new = {each for each in asset_ids if each not in self._pending and each not in self._being_accepted}
        return not new or len(new) + len(self._being_accepted) <= self._room.left()

    @property
    def waiting_for_sinks_since(self) -> float | None:
        """Since when the intakes have waited for the sinks, in seconds since the epoch, UTC; None: they don't."""
        return self._room.waiting_for_sinks_since

    async def take(self, limit: int, *, ahead: float = 0.0) -> list[Lease]:
        """Wait until an asset is due. Return leases on at most `limit` assets, in the order of their due times."""
        while True:
            now = self._clock.monotonic()
            next_due = self._heap.next_due
            may_lease = self._may_lease()
            if next_due is not None and next_due <= now and may_lease:
                steady = self._clock.steady()
                due_now = self._heap.pop_due(now + ahead, limit)
                return [self._lease(asset_id, steady, late=now - due) for due, asset_id in due_now]
            self._pushed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if next_due is None or not may_lease else next_due - now):
                    await self._pushed.wait()

    def take_overdue(self, limit: int, *, age_limit: Callable[[Options | None], float]) -> list[Lease]:
        """Examine the next `limit` pending assets. Return leases on those that are due and past their age limit."""
        if not self._may_lease():
            return []
        if self._examined >= len(self._pending):
            self._examined = 0
        examined = list(islice(self._pending.items(), self._examined, self._examined + limit))
        self._examined += len(examined)
        now, steady, usual = self._clock.monotonic(), self._clock.steady(), age_limit(None)
        return [
            self._lease(asset_id, steady, late=now - pending.due)
            for asset_id, pending in examined
            if pending.due is not None
            and pending.due <= now
            and steady - pending.accepted_at
            >= (usual if (options := pending.submission.options) is None else age_limit(options))
        ]

    def lease(self, asset_ids: Iterable[AssetId], *, not_seen_since: float) -> list[Lease]:
        """Return leases on those of the assets that are pending, not leased, and were not looked at since then.

        They need not be due. `not_seen_since` is in steady time.
        """
        now, steady = self._clock.monotonic(), self._clock.steady()
        leases: list[Lease] = []
        for asset_id in asset_ids if self._may_lease() else ():
            pending = self._pending.get(asset_id)
            if pending is None or pending.due is None:
                continue
            if pending.progress.waiting_at is None or pending.progress.waiting_at < not_seen_since:
                leases.append(self._lease(asset_id, steady, late=now - pending.due))
        if len(self._heap) > 2 * len(self._pending) + SUPERSEDED_ENTRIES:
            self._heap = DueHeap(self._is_due_at)
            self._heap.push_all([(each.due, key) for key, each in self._pending.items() if each.due is not None])
        return leases

    @property
    def fleet(self) -> FleetState | None:
        """The fleet that shares the queue; None: nobody shares it."""
        return None

    def _may_lease(self) -> bool:
        """Return whether assets may be looked at now. When that changes, `_pushed` must be set."""
        return True

    def accepted_at(self, asset_id: AssetId) -> float | None:
        """Return when a pending asset was accepted, in steady time; None: it is not pending."""
        pending = self._pending.get(asset_id)
        return None if pending is None else pending.accepted_at

    def amend(self, submission: Submission, *, due_in: float, completion: int | None = None) -> None:
        """Replace the submission of a pending asset, which is then due in `due_in` seconds at the latest.

        A lease that is held keeps the submission that it was made with. `completion` replaces the number of the
        completion that the wait leads to; None: it stays. No engine keeps the change for the next start.
        """
        pending = self._pending[submission.asset_id]
        pending.submission = submission
        pending.completion = pending.completion if completion is None else completion
        due = self._clock.monotonic() + due_in
        if pending.due is not None and due < pending.due:
            pending.due = due
            self._heap.push(submission.asset_id, due)
            self._pushed.set()

    async def idle(self) -> None:
        """Wait until nothing is pending."""
        await self._is_idle.wait()

    def pending_count(self) -> int:
        """Return how many assets are pending, leased ones included."""
        return len(self._pending)

    def due_count(self, limit: int = 1000) -> int:
        """Return how many assets are due and not leased, counted up to `limit`."""
        return self._heap.count_due(self._clock.monotonic(), limit)

    def recent_due_count(self) -> int:
        """Return `due_count` as it was within the last `RECENT_SECONDS`."""
        if self._due_at is None or not 0 <= self._clock.monotonic() - self._due_at < RECENT_SECONDS:
            self._count_due()
        return self._due

    def _count_due(self) -> None:
        self._due, self._due_at = self.due_count(), self._clock.monotonic()

    def oldest_age(self) -> float:
        """Return how long, in seconds, the asset accepted first has been pending; 0: nothing is pending."""
        oldest_at = self._acceptances.oldest_at
        return 0.0 if oldest_at is None else self._clock.steady() - oldest_at

    def waiting_on(self) -> Mapping[str, int]:
        """Return the number of pending assets by what they wait for; `first look`: not looked at yet."""
        return self._wait_counts.read()

    def oldest(self, limit: int) -> dict[AssetId, PendingState]:
        """Return the pending assets that were accepted first, at most `limit`, in the order of acceptance."""
        states = ((asset_id, self.pending_state(asset_id)) for asset_id in islice(self._pending, limit))
        return {asset_id: state for asset_id, state in states if state is not None}

    def pending_state(self, asset_id: AssetId) -> PendingState | None:
        """Return what is known of an asset that is pending; None: it is not."""
        pending = self._pending.get(asset_id)
        if pending is None:
            return None
        due_in = None if pending.due is None else max(0.0, pending.due - self._clock.monotonic())
        return PendingState(
            pending.accepted_at, pending.completion, pending.progress, due_in, pending.submission.options
        )

    @contextmanager
    def _accepting(self, submissions: Sequence[Submission]) -> Iterator[list[Submission]]:
        """Provide the first submission of each asset that is neither pending nor being accepted.

        Within the context, these assets are being accepted: a concurrent `put` treats them as repeats, and the queue is
        not idle.
        """
        new: dict[AssetId, Submission] = {}
        for submission in submissions:
            asset_id = submission.asset_id
            if asset_id not in self._pending and asset_id not in self._being_accepted:
                new.setdefault(asset_id, submission)
        self._being_accepted |= new.keys()
        self._note_idle()
        try:
            yield list(new.values())
        finally:
            self._being_accepted -= new.keys()
            self._note_idle()

    def _asked_for(self, submissions: Sequence[Submission]) -> dict[AssetId, Submission]:
        """Return the first submission of each pending asset that was only found in the account until now."""
        asked: dict[AssetId, Submission] = {}
        for submission in submissions:
            pending = self._pending.get(submission.asset_id)
            if pending is not None and pending.submission.is_found and not submission.is_found:
                asked.setdefault(submission.asset_id, submission)
        return asked

    def _replace(self, submissions: Iterable[Submission]) -> None:
        """Let these submissions take the place of those of the same assets, if they are still pending."""
        for submission in submissions:
            if (pending := self._pending.get(submission.asset_id)) is not None:
                pending.submission = submission

    def _add(self, accepted: Sequence[tuple[Submission, int]], *, accepted_at: float) -> None:
        """Make submissions pending and due at once. Each comes with the number of the completion that it leads to."""
        if not accepted:
            return
        mono = self._clock.monotonic()
        acceptance = self._acceptances.add(accepted_at, len(accepted))
        self._wait_counts.add(NOT_LOOKED_AT.waiting_on, len(accepted))
        for submission, completion in accepted:
            self._pending[submission.asset_id] = Pending(submission, acceptance, completion, due=mono)
        self._room.set_pending(len(self._pending))
        self._heap.push_all([(mono, submission.asset_id) for submission, _ in accepted])
        self._pushed.set()

    def _restore(
        self,
        kept: Iterable[tuple[Submission, float, int, Progress]],
        first_looks: Callable[[int], list[float]],
    ) -> None:
        """Make assets pending that were kept: by an earlier run, or by another worker.

        Args:
            kept: for each, the submission, its acceptance in steady time, the completion and the progress.
            first_looks: returns the delays, in seconds, of that many first looks.
        """
        found: dict[AssetId, Pending] = {}
        together: dict[float, Acceptance] = {}
        for submission, instant, completion, progress in kept:
            acceptance = together.get(instant)
            if acceptance is None:
                acceptance = together[instant] = Acceptance(instant, 0)
            acceptance.pending += 1
            self._wait_counts.add(progress.waiting_on)
            found[submission.asset_id] = Pending(submission, acceptance, completion, progress)
        self._acceptances.restore(together.values())
        restored = {each: found[each] for each in sorted(found, key=lambda each: found[each].accepted_at)}
        self._pending |= restored
        self._room.set_pending(len(self._pending))
        delays = first_looks(len(restored)) if restored else []
        mono = self._clock.monotonic()
        for pending, delay in zip(restored.values(), delays, strict=True):
            pending.due = mono + delay
        self._heap.push_all([(mono + delay, asset_id) for asset_id, delay in zip(restored, delays, strict=True)])
        self._pushed.set()
        self._note_idle()

    def _postpone(self, lease: Lease, delay: float, progress: Progress) -> None:
        """End a lease: the asset is due again in `delay` seconds."""
        asset_id = lease.submission.asset_id
        pending = self._pending[asset_id]
        self._wait_counts.change(pending.progress.waiting_on, progress.waiting_on)
        pending.progress = progress
        pending.due = self._clock.monotonic() + delay
        self._heap.push(asset_id, pending.due)
        self._pushed.set()

    def _remove(self, lease: Lease) -> None:
        """End a lease: the asset is no longer pending."""
        self._forget(lease.submission.asset_id)

    def _forget(self, asset_id: AssetId) -> None:
        """Make an asset pending no longer. If it is leased, the lease must not be ended any more."""
        pending = self._pending.pop(asset_id)
        self._acceptances.remove_one(pending.acceptance)
        self._wait_counts.add(pending.progress.waiting_on, -1)
        self._room.set_pending(len(self._pending))
        self._note_idle()

    def _is_due_at(self, asset_id: AssetId, due: float) -> bool:
        """Return whether an entry of the heap counts. It doesn't if the asset has been leased otherwise since."""
        pending = self._pending.get(asset_id)
        return pending is not None and pending.due == due

    def _lease(self, asset_id: AssetId, now: float, *, late: float) -> Lease:
        """Return the lease of an asset. `now` is in steady time."""
        pending = self._pending[asset_id]
        pending.due = None
        progress = pending.progress
        return Lease(
            pending.submission,
            pending.accepted_at,
            now - pending.accepted_at,
            None if progress.ready_at is None else now - progress.ready_at,
            None if progress.missing_at is None else now - progress.missing_at,
            pending.completion,
            progress,
            late,
            now,
            self._life,
        )

    def _note_idle(self) -> None:
        if self._pending or self._being_accepted:
            self._is_idle.clear()
        else:
            self._is_idle.set()
