"""The worker: runs the parts until their work is done, and stops them in order.

`Worker.run`, read from top to bottom, shows how the program runs. Nothing here knows of a process: no signals, no exit
code. `service` makes a process of it, `embedding` a part of another program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from asset_worker.domain.assets import AssetId
from asset_worker.domain.run_plan import RunPlan
from asset_worker.domain.submissions import Batch, Submission
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop
from asset_worker.wiring import Parts

_log = get_logger()

DONE = "done"
"""The reason of the stop when the plan is done."""
UNDELIVERABLE = "the sinks fail, so the rest of the input is left to the next run"
"""The reason of the stop when a `--once` can't read on."""
DELIVERY_CHECK_SECONDS = 0.25


class Worker:
    """The parts of one run, running."""

    def __init__(
        self,
        parts: Parts,
        plan: RunPlan,
        *,
        clock: Clock,
        stop: Stop,
        forced_stop: Stop,
        grace: float,
        reader_patience: float,
        max_pending: int,
    ) -> None:
        """Nothing starts yet.

        Args:
            parts: the parts, built.
            plan: what this run does, and when it is done.
            clock: the clock of the parts.
            stop: ends the run when it is set; `run` sets it when the plan is done.
            forced_stop: is set with it when the run ends although its plan is not done.
            grace: seconds that work in progress may take after the stop.
            reader_patience: seconds that a run that is done waits for a reader that takes no events.
            max_pending: the engine's limit of undelivered events, past which inputs wait.
        """
        self._parts = parts
        self._plan = plan
        self._clock = clock
        self._stop = stop
        self._forced_stop = forced_stop
        self._grace = grace
        self._reader_patience = reader_patience
        self._max_pending = max_pending
        self.was_reading = False
        """Whether there was input left to read when the stop came."""

    async def run(self, background: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Run until the plan is done, or the stop; then finish what is in progress, within the grace period.

        `background` is run beside the parts, and cancelled at the end; its keys name the tasks.

        Raises:
            ExceptionGroup: the errors of the parts that failed. All others were cancelled.
        """
        parts, stop, drain = self._parts, self._stop, Stop()
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(work, name=name) for name, work in background.items()]
            deliveries = [group.create_task(each.run(drain), name=each.sink) for each in parts.deliveries]
            intakes = [group.create_task(each.run(stop), name=each.name) for each in parts.intakes]
            poller = group.create_task(parts.poller.run(stop), name="poller")
            if self._plan.asset_ids:
                await parts.ingest.accept(_batch(self._plan.asset_ids))

            reason = await stop.race(self._until_done(intakes))
            self.was_reading = not all(task.done() for task in intakes)
            stop.set(reason or DONE)
            _log.info("worker.stopping", reason=stop.reason, pending=parts.queue.pending_count())
            grace_ends = self._clock.monotonic() + self._grace
            await self._wait_or_cancel([*intakes, poller], until=grace_ends)
            drain.set("stopping")
            await self._forced_stop.race(self._until_delivered(deliveries))
            await self._wait_or_cancel(deliveries, until=grace_ends)
            for task in beside:
                task.cancel()

    async def _until_done(self, intakes: list[asyncio.Task[None]]) -> str:
        """Wait until the plan is done, or can't be done; for a service, until the stop. Return the reason to stop."""
        if not self._plan.ends_by_itself:
            await self._stop.wait()
        while not all(task.done() for task in intakes):
            if self._plan.once and self._is_stuck():
                return UNDELIVERABLE
            await asyncio.wait(intakes, timeout=DELIVERY_CHECK_SECONDS)
        await self._parts.queue.idle()
        return DONE

    def _is_stuck(self) -> bool:
        """Return whether nothing is left to do but to read on, for which there is no room because of sinks that fail.

        They are given up after the grace period, as at the end of a run.
        """
        queue, failing = self._parts.queue, (each.failing_for for each in self._parts.deliveries)
        has_no_room = queue.outbox_depth() > self._max_pending and not queue.pending_count()
        return has_no_room and any(seconds is not None and seconds >= self._grace for seconds in failing)

    async def _until_delivered(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait until every sink has all events, or all sinks that don't are given up.

        That is when they have been failing for the grace period, or have taken nothing for as long as a reader may.
        """
        delivered, progress_at = 0, self._clock.monotonic()
        while not all(task.done() for task in tasks):
            behind = [each for each, task in zip(self._parts.deliveries, tasks, strict=True) if not task.done()]
            if all(each.failing_for is not None and each.failing_for >= self._grace for each in behind):
                return
            now, before = self._clock.monotonic(), delivered
            if (delivered := sum(each.delivered for each in self._parts.deliveries)) > before:
                progress_at = now
            elif now - progress_at >= self._reader_patience:
                return
            await asyncio.wait(tasks, timeout=DELIVERY_CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    async def _wait_or_cancel(self, tasks: list[asyncio.Task[None]], *, until: float) -> None:
        """Wait for the tasks until `until` (monotonic seconds), and cancel those that are not done by then."""
        _, late = await asyncio.wait(tasks, timeout=max(0.0, until - self._clock.monotonic()))
        for task in late:
            task.cancel()


def _batch(asset_ids: Iterable[AssetId]) -> Batch:
    submissions = [Submission(asset_id, "command", number) for number, asset_id in enumerate(asset_ids, start=1)]
    return Batch(submissions, [], "command", None)
