"""Building the parts from the settings, running them together, ending them in order.

The only place that knows every part. Read `Service.run` from top to bottom: that is how the program runs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import msgspec
import structlog

from asset_worker import __version__
from asset_worker.api.breaker import Reason
from asset_worker.api.client import LIST_LIMIT, AssetsApi
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import AssetId, Expectations, Outcome
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.domain.submissions import Batch, Submission
from asset_worker.intake.file.intake import FileIntake
from asset_worker.intake.ingest import Ingest
from asset_worker.intake.stdin import StdinIntake
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching, Policy
from asset_worker.queue.local.engine import open_local_queue
from asset_worker.queue.local.lock import StateDirectory
from asset_worker.queue.local.schedule_store import FILE_NAME, load_or_start, save_periodically
from asset_worker.queue.memory import open_memory_queue
from asset_worker.queue.ports import QueueEngine
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import Schedule
from asset_worker.schedule.waits import exponential, fixed, from_tenacity, spread
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import LAST_TRIES_SECONDS, Delivery
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import Outbox, Sink
from asset_worker.sinks.stdout import StdoutSink
from asset_worker.telemetry.heartbeat import log_heartbeat, watch_lag
from asset_worker.telemetry.snapshot import Snapshot, Sources, take_snapshot

_log = structlog.get_logger()

LOOKS_TO_A_REQUEST = 2
"""Looks under way for each request that may be in flight: those that wait to try again send none."""
FIRST_LOOKS_SECONDS = 0.01
"""After a restart, first looks are laid this far apart, all within `poll.max`."""
LEAST_AHEAD_SECONDS = 0.1
AHEAD_SHARE = 0.05
"""Of `poll.max`: assets due within so much ride along in a list that goes out anyway. A little early costs nothing,
and two thousand that are each due every `poll.max` fill their lists with it."""
GATHER_SHARE = 1 / 3
"""Of the time ahead: new assets that come within so much share a list, where a request has just gone out."""
GATHER_SHARE_OF_INITIAL = 1 / 4
MOST_GATHER_SECONDS = 0.5
"""However long the longest delay is, the shortest one is not to be felt longer."""


DONE = "done"
"""Why the run stops, where it is not for a signal."""
YOUNG_OBJECTS = 5_000
"""Python's default, 700, has the collector run for each thirty looks, which leave nothing that it could find."""


class Service:
    """One run of the worker."""

    def __init__(self, settings: Settings, plan: RunPlan, *, secrets: Secrets) -> None:
        """Nothing starts yet.

        Raises:
            BadKeyError: there is no key that can be sent.
        """
        self._settings = settings
        self._plan = plan
        self._clock = SystemClock()
        self._secrets = secrets
        self._key = ApiKey(value=settings.api.key_value, file=settings.api.key_file, on_read=secrets.add)
        self._source = f"{settings.api.base_url}/assets"
        self._stop = Stop()
        self._hurry = Stop()
        """Set by a signal: the run ends before its plan is done."""
        self._refused_too_long = False
        self.is_built = False
        """There is something to take a snapshot of."""
        # Where nothing is kept, somebody waits at a terminal, and a reader that has gone does not come back.
        self._grace = settings.shutdown.grace if plan.keeps_state else LAST_TRIES_SECONDS

    async def run(self) -> Exit:
        """Run until the plan is done or a signal comes.

        Raises:
            StateDirectoryError: the state directory is in use, or can't be used.
            JournalError: what is in it can't be used.
            BadProxyError: the environment names a proxy that can't be used.
            AdminAddressError: the admin address can't be bound.
        """
        settings, stop = self._settings, self._stop
        async with AsyncExitStack() as stack:
            stack.enter_context(self._signals())  # first in, last out: a start and an end take signals, too
            self._sinks = [_sink(target) for target in settings.events.sinks]
            self._queue = await self._open_queue(stack)
            self._gate = Gate(
                clock=self._clock,
                requests_per_second=settings.limits.requests_per_second,
                concurrency=settings.limits.concurrency,
                share=settings.limits.share,
            )
            self._retries = Retries(stop)
            session = await stack.enter_async_context(
                open_session(settings.api.base_url, total_timeout=settings.api.timeout)
            )
            api = AssetsApi(
                session, settings.api.base_url, self._key, self._gate, self._retries, redact=self._secrets.redact
            )
            self._schedule = self._make_schedule()
            self._poller = Poller(
                self._queue,
                api,
                schedule=self._schedule,
                policy=Policy(
                    expectations=self._expectations(),
                    source=self._source,
                    redact=self._secrets.redact,
                    looks_at_once=settings.limits.concurrency * LOOKS_TO_A_REQUEST,
                    batching=self._batching(),
                    strict_deadlines=not self._plan.keeps_state,
                ),
                clock=self._clock,
                feedback=self._feedback(),
            )
            self._acceptance = Ingest(self._queue, self._clock, source=self._source, secrets=self._secrets)
            self._intakes = list(self._open_intakes())
            self._deliveries = [Delivery(sink, self._queue.outbox, self._clock) for sink in self._sinks]
            self._sources = Sources(
                queue=self._queue,
                poller=self._poller,
                gate=self._gate,
                retries=self._retries,
                lines=self._acceptance,
                inputs=self._intakes,
                deliveries=self._deliveries,
            )
            if settings.admin.port is not None:
                from asset_worker.telemetry.admin import serving  # noqa: PLC0415 - most runs don't serve

                await stack.enter_async_context(
                    serving(self.snapshot, host=settings.admin.host, port=settings.admin.port)
                )
            self.is_built = True
            self._log_start()
            # What was built so far lives as long as the process: the garbage collector needn't walk it again and again,
            # nor begin at each handful of looks that are under way together.
            gc.freeze()
            gc.set_threshold(YOUNG_OBJECTS)
            await stop.race(self._queue.begin(ends_by_itself=self._plan.ends_by_itself))
            await self._run_parts()
            tally = await self._queue.finish()
        code = self._exit_code(tally)
        _log.info(
            "worker.stopped",
            exit_code=int(code),
            pending=self._queue.pending_count(),
            completions=self.snapshot().completions,
            outbox_depth=self._queue.outbox_depth(),
        )
        return code

    async def _run_parts(self) -> None:
        settings, stop, drain = self._settings, self._stop, Stop()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(log_heartbeat(self.snapshot), name="heartbeat"),
                group.create_task(watch_lag(), name="lag"),
                group.create_task(self._queue.run_maintenance(), name="queue"),
                group.create_task(self._key.watch(stop, self._gate.key_changed), name="key"),
                group.create_task(self._gate.watch(stop), name="gate"),
                group.create_task(self._watch_refusals(), name="refusals"),
            ]
            if isinstance(self._schedule, AdaptiveSchedule) and self._plan.keeps_state:
                path, thread = settings.state.dir / FILE_NAME, DaemonThread("schedule")
                background.append(group.create_task(save_periodically(self._schedule, path, thread), name="schedule"))
            deliveries = [
                group.create_task(delivery.run(drain), name=sink.name)
                for sink, delivery in zip(self._sinks, self._deliveries, strict=True)
            ]
            intakes = [group.create_task(intake.run(stop), name=intake.name) for intake in self._intakes]
            poller = group.create_task(self._poller.run(stop), name="poller")
            if self._plan.asset_ids:
                await self._acceptance.accept(_batch(self._plan.asset_ids))

            await stop.race(self._until_done(intakes))
            stop.set(DONE)
            _log.info("worker.stopping", reason=stop.reason, pending=self._queue.pending_count())
            grace_ends = self._clock.monotonic() + self._grace
            await self._end([*intakes, poller], by=grace_ends)
            drain.set("stopping")
            await self._hurry.race(self._until_delivered(deliveries))
            await self._end(deliveries, by=grace_ends)
            for task in background:
                task.cancel()

    async def _until_done(self, intakes: list[asyncio.Task[None]]) -> None:
        """Return when the plan is done: never, for a service."""
        if not self._plan.ends_by_itself:
            await self._stop.wait()
        if intakes:
            await asyncio.wait(intakes)
        await self._queue.idle()

    async def _until_delivered(self, deliveries: list[asyncio.Task[None]]) -> None:
        """Return when the outbox is empty, or no sink that is behind has worked for as long as the grace."""
        while not all(task.done() for task in deliveries):
            behind = [delivery for delivery, task in zip(self._deliveries, deliveries, strict=True) if not task.done()]
            now = self._clock.now()
            if all(
                delivery.failing_since is not None and now - delivery.failing_since >= self._grace
                for delivery in behind
            ):
                return
            await asyncio.wait(deliveries, timeout=0.25, return_when=asyncio.FIRST_COMPLETED)

    async def _end(self, tasks: list[asyncio.Task[None]], *, by: float) -> None:
        """Wait for the tasks until `by`, and cancel those that are not done then."""
        _, late = await asyncio.wait(tasks, timeout=max(0.0, by - self._clock.monotonic()))
        for task in late:
            task.cancel()

    async def _watch_refusals(self) -> None:
        limit = self._plan.key_refused_limit
        while limit is not None and not self._stop.is_set():
            if self._gate.reason is Reason.KEY_REFUSED and self._gate.open_for >= limit:
                self._refused_too_long = True
                self._stop.set("the key is refused")
                self._hurry.set("the key is refused")
            await self._stop.sleep(0.1)

    async def _open_queue(self, stack: AsyncExitStack) -> QueueEngine[Outbox]:
        settings = self._settings
        sinks, window = [sink.name for sink in self._sinks], settings.queue.dedupe_window
        max_pending = settings.queue.max_pending
        if not self._plan.keeps_state:
            return await stack.enter_async_context(
                open_memory_queue(self._clock, sinks=sinks, dedupe_window=window, max_pending=max_pending)
            )

        def first_looks(count: int) -> list[float]:
            span = min(settings.poll.max, count * FIRST_LOOKS_SECONDS) if count > 1 else 0.0
            return spread(count, span=span, uniform=random.random)

        return await stack.enter_async_context(
            open_local_queue(
                stack.enter_context(StateDirectory(settings.state.dir)).path,
                self._clock,
                sinks=sinks,
                dedupe_window=window,
                max_pending=max_pending,
                first_looks=first_looks,
            )
        )

    def _make_schedule(self) -> Schedule:
        poll, uniform = self._settings.poll, random.random
        match poll.strategy:
            case "fixed":
                return from_tenacity(fixed(interval=poll.initial, uniform=uniform))
            case "exponential":
                return from_tenacity(
                    exponential(initial=poll.initial, multiplier=poll.multiplier, maximum=poll.max, uniform=uniform)
                )
            case "adaptive":
                return AdaptiveSchedule(
                    load_or_start(self._settings.state.dir / FILE_NAME) if self._plan.keeps_state else None,
                    initial=poll.initial,
                    multiplier=poll.multiplier,
                    maximum=poll.max,
                    looks=poll.looks,
                    uniform=uniform,
                )

    def _feedback(self) -> Feedback | None:
        if not isinstance(self._schedule, AdaptiveSchedule):
            return None
        return Feedback(self._schedule, breaker_is_open=lambda: self._gate.reason is not None)

    def _batching(self) -> Batching | None:
        poll = self._settings.poll
        if poll.batch == "off":
            return None
        ahead = max(LEAST_AHEAD_SECONDS, AHEAD_SHARE * poll.max)
        gather = min(ahead * GATHER_SHARE, poll.initial * GATHER_SHARE_OF_INITIAL, MOST_GATHER_SECONDS)
        return Batching(LIST_LIMIT, ahead=ahead, gather=gather)

    def _expectations(self) -> Expectations:
        expectations = self._settings.expectations()
        if self._plan.keeps_state:
            return expectations
        return msgspec.structs.replace(expectations, unanswered_factor=1.0)

    def _open_intakes(self) -> Iterator[FileIntake | StdinIntake]:
        queue = self._settings.queue
        if queue.file is not None:
            yield FileIntake(
                queue.file,
                self._acceptance,
                DaemonThread("queue-file"),
                self._clock,
                self._queue.intakes,
                once=self._plan.once,
            )
        if queue.stdin:
            yield StdinIntake(0, self._acceptance, DaemonThread("stdin"))

    def snapshot(self) -> Snapshot:
        """The worker as it is now."""
        return take_snapshot(self._sources)

    def waiting_on(self) -> dict[str, int]:
        """How many wait for what; it walks all that is pending."""
        return self._queue.waiting_on()

    def _exit_code(self, tally: Mapping[str, int] | None) -> Exit:
        """By the outcomes of the whole plan: a run that was killed had a part of them."""
        if self._refused_too_long:
            return Exit.KEY_REFUSED
        left = self._queue.pending_count() or self._queue.outbox_depth()
        # A --once that a signal ended has not read its inputs to their end.
        is_interrupted = self._plan.once and self._stop.reason != DONE
        all_ready = not left and not is_interrupted and tally is not None and tally.keys() <= {Outcome.READY}
        return Exit.DONE if all_ready or not self._plan.ends_by_itself else Exit.NOT_READY

    def _log_start(self) -> None:
        settings = self._settings
        _log.info(
            "worker.started",
            version=__version__,
            base_url=settings.api.base_url,
            queue_file=settings.queue.file and str(settings.queue.file),
            stdin=settings.queue.stdin,
            sinks=[sink.name for sink in self._sinks],
            state_dir=str(settings.state.dir) if self._plan.keeps_state else None,
            strategy=settings.poll.strategy,
            pending=self._queue.pending_count(),
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the run in order; a second one ends the process at once."""
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if self._hurry.is_set():
                os._exit(128 + number)
            self._hurry.set(number.name)
            self._stop.set(number.name)

        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _sink(target: str) -> Sink:
    if target == "-":
        return StdoutSink(DaemonThread("stdout"))
    return FileSink(Path(target).expanduser(), DaemonThread("events-file"))


def _batch(asset_ids: Iterable[AssetId]) -> Batch:
    submissions = [Submission(asset_id, "command", number) for number, asset_id in enumerate(asset_ids, start=1)]
    return Batch(submissions, [], "command", None)
