"""Does what follows from a look: defers or settles the asset, logs it, and reports it to a schedule that learns."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Final

import msgspec

from asset_worker.api.errors import TransientError
from asset_worker.api.retry import retry_after_of
from asset_worker.domain.assets import Observation, Unanswered
from asset_worker.poller.changes import Changes
from asset_worker.poller.counts import Counts, Kind
from asset_worker.poller.deadlines import age_limit
from asset_worker.poller.decide import Defer, Settle, decide
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.observing import Observe, ignore
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Policy
from asset_worker.queue.ports import Lease, Queue
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.schedule.ports import Schedule, SlowAfter, never_known

_log = get_logger()

KEY_REFUSED_DELAY_SECONDS: Final = 1.0
"""When a refused key prevented a look at an asset, the asset is due again after this time."""


LEAST_DELAY_SECONDS: Final = 0.25


class Actions:
    """What the poller does with the leases that it has taken."""

    def __init__(
        self,
        queue: Queue,
        *,
        schedule: Schedule,
        policy: Policy,
        clock: Clock,
        feedback: Feedback | None,
        refusals: PerAssetRefusals,
        slow_after: SlowAfter = never_known,
        observe: Observe = ignore,
    ) -> None:
        """`feedback` and `slow_after` are for a schedule that learns. `refusals` forgets each asset that is settled."""
        self._observe = observe
        self._slow_after = slow_after
        self._queue = queue
        self._schedule = schedule
        self._expectations = policy.expectations
        self._source = policy.source
        self._redact = policy.redact
        self._transitions = policy.transitions
        self._traced = policy.traced
        self._clock = clock
        self._feedback = feedback
        self._refusals = refusals
        self._changes = Changes()
        self.counts = Counts()
        """What is counted about looks and completions."""

    def act(self, lease: Lease, observation: Observation, kind: Kind = "retrieve") -> Coroutine[None, None, None]:
        """Decide what follows from a retrieve, or from a look without an answer, and do it, which ends the lease."""
        return self.carry_out(lease, observation, self.decide(lease, observation, is_retrieve=True), kind)

    def decide(self, lease: Lease, observation: Observation, *, is_retrieve: bool) -> Settle | Defer:
        """Return what follows from a look that ends now; nothing is done yet. `is_retrieve`: it was made by no list."""
        now = self._clock.steady()
        traced = self._traced(lease.submission, lease.completion)
        if traced is not lease.submission:
            lease = msgspec.structs.replace(lease, submission=traced)
        return decide(
            lease,
            observation,
            held=now - lease.taken_at,
            is_retrieve=is_retrieve,
            expectations=self._expectations,
            schedule=self._schedule,
            now=now,
            wall_offset=self._clock.now() - now,
            source=self._source,
            redact=self._redact,
            transitions=self._transitions,
            slow_after=self._slow_after,
        )

    async def carry_out(self, lease: Lease, observation: Observation, step: Settle | Defer, kind: Kind) -> None:
        """Defer or settle as `step` says, which ends the lease. `step` comes from `decide`."""
        self.counts.look(kind)
        self._observe(lease, observation, step)
        self._changes.log(lease.submission.asset_id, lease.progress.last_seen, step.progress.last_seen)
        held = self._held(lease)
        if self._feedback is not None:
            self._feedback.looked(lease, observation, held=held)
        self.counts.shown(lease, observation, held=held)
        match step:
            case Defer():
                await self._defer(lease, step)
            case Settle():
                await self._settle(lease, step, elapsed=lease.age + held)
                self.counts.settled(lease, step.verdict.outcome, observation, kind, elapsed=lease.age + held)

    async def _defer(self, lease: Lease, step: Defer) -> None:
        await self._queue.defer(lease, step.delay, step.progress, step.steps)
        if step.slow_after is not None:
            _log.info(
                "asset.overdue",
                asset_id=lease.submission.asset_id,
                waiting_on=list(step.look.waiting_on),
                age=round(step.look.age, 3),
                p99=round(step.slow_after, 3),
            )

    async def _settle(self, lease: Lease, step: Settle, *, elapsed: float) -> None:
        await self._queue.settle(lease, step.event, steps=step.steps)
        self._refusals.forget(lease.submission.asset_id)
        _log.info(
            "asset.completed",
            asset_id=lease.submission.asset_id,
            outcome=step.verdict.outcome.value,
            reason=step.verdict.reason,
            elapsed=round(elapsed, 3),
            polls=step.progress.polls,
        )

    async def act_on_failure(self, leases: Sequence[Lease], error: TransientError) -> None:
        """Act on a list that failed, for each of the assets that it was asked for."""
        observation = Unanswered(str(error), retry_after_of(error))
        for lease in leases:
            await self.act(lease, observation, "list")

    async def put_back(self, leases: Sequence[Lease], delay: float) -> None:
        """Defer assets that were not looked at by `delay` seconds, but hardly beyond their age limits."""
        for lease in leases:
            left = age_limit(lease.submission.options, self._expectations) - lease.age - self._held(lease)
            await self._queue.defer(lease, max(min(delay, left), LEAST_DELAY_SECONDS), lease.progress)

    def count_look(self, lease: Lease) -> Lease:
        """Count a look by a list that has no consequence yet. Return the lease with it counted in its progress."""
        self.counts.look("list")
        progress = msgspec.structs.replace(lease.progress, polls=lease.progress.polls + 1)
        return msgspec.structs.replace(lease, progress=progress)

    def _held(self, lease: Lease) -> float:
        """Return the seconds since the lease was taken."""
        return self._clock.steady() - lease.taken_at
