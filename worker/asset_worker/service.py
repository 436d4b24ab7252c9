"""One run of the worker: starts the parts, waits for the end, and stops them in order.

`Service.run` and `Service._run_parts`, read from top to bottom, show how the program runs. `wiring` decides what the
parts are.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack

import structlog

from asset_worker import __version__
from asset_worker.domain.assets import AssetId
from asset_worker.domain.run_plan import RunEnd, RunPlan, exit_code
from asset_worker.domain.submissions import Batch, Submission
from asset_worker.policies import reader_patience, shutdown_grace
from asset_worker.poller.observing import Observe, ignore
from asset_worker.reloading import Reloading
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.ending import die_of_signal, exit_at_once, exit_code_of
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.signals import reloading_on_signals, stopping_on_signals
from asset_worker.runtime.stop import Stop
from asset_worker.settings.tree import Settings
from asset_worker.telemetry.heartbeat import log_heartbeat, watch_lag
from asset_worker.telemetry.snapshot import Snapshot, take_snapshot
from asset_worker.telemetry.waiting import WaitingAsset
from asset_worker.wiring import build, make_key, make_tokens, serve_admin, sources_of

_log = structlog.get_logger()

DONE = "done"
"""The reason of the stop when the plan is done."""
UNDELIVERABLE = "the sinks fail, so the rest of the input is left to the next run"
"""The reason of the stop when a `--once` can't read on."""
GC_THRESHOLD = 5_000
"""The garbage collector runs after this many new objects. At Python's default of 700 it would run every thirty looks,
which leave no garbage for it to find."""
DELIVERY_CHECK_SECONDS = 0.25
REFUSAL_CHECK_SECONDS = 0.1


class Service:
    """One run of the worker."""

    def __init__(
        self,
        settings: Settings,
        plan: RunPlan,
        *,
        secrets: Secrets,
        reloading: Reloading | None = None,
        observe: Observe = ignore,
    ) -> None:
        """Read the key and the tokens. Nothing starts yet.

        Args:
            settings: the settings.
            plan: what this run does.
            secrets: what is redacted from now on.
            reloading: what SIGHUP does; None: it ends the process.
            observe: is called after each look.

        Raises:
            BadKeyError: there is no usable key.
            TokenNotThereError, TokenFileError: the file of tokens can't be used.
        """
        self._settings = settings
        self._plan = plan
        self._secrets = secrets
        self._reloading = reloading
        self._observe = observe
        self._clock = SystemClock()
        self._key = make_key(settings.api, secrets)
        self._tokens = make_tokens(settings.admin, secrets, self._clock)
        self._grace = shutdown_grace(settings, plan)
        self._reader_patience = reader_patience(settings, plan)
        self._stop = Stop()
        self._forced_stop = Stop()
        """Set by a signal or a refused key: the run ends although its plan is not done."""
        self._refused_too_long = False
        self._was_reading = False
        """Whether there was input left to read when the stop came."""
        self.is_built = False
        """Whether `snapshot` and `waiting_on` may be called."""

    async def run(self) -> int:
        """Run until the plan is done or a signal comes; return the exit code.

        128 + the number of a signal: the process should die of that signal (`die_of_signal`), which ended a one-off.

        Raises:
            NoStateDirectoryError: there is no state directory.
            StateDirectoryError: the state directory is in use, or can't be used.
            JournalError: the journal in it can't be used.
            BadProxyError: the environment names a proxy that can't be used.
            AdminAddressError: the admin endpoints can't be served at their address.
        """
        async with AsyncExitStack() as stack:
            # Entered first and left last: signals are also handled while the parts are built and closed.
            end = die_of_signal if self._plan.is_one_off else exit_at_once
            stack.enter_context(
                stopping_on_signals(self._stop, self._forced_stop, before_end=self._abandon_inputs, end=end)
            )
            if self._reloading is not None:
                stack.enter_context(reloading_on_signals(self._reloading.request, _log_ignored_signal))
            self._parts = parts = await stack.enter_async_context(
                build(
                    self._settings,
                    self._plan,
                    key=self._key,
                    secrets=self._secrets,
                    clock=self._clock,
                    stop=self._stop,
                    observe=self._observe,
                )
            )
            self._sources = sources_of(parts)
            await stack.enter_async_context(
                serve_admin(
                    self._settings.admin,
                    parts,
                    self._tokens,
                    read=self.snapshot,
                    secrets=self._secrets,
                    clock=self._clock,
                    stop=self._stop,
                )
            )
            self.is_built = True
            self._log_start()
            # The parts live as long as the process: the garbage collector need not check them again and again.
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            await self._stop.race(parts.queue.begin(ends_by_itself=self._plan.ends_by_itself))
            await self._run_parts()
            tally = await parts.queue.finish()
        code = exit_code(self._plan, self._end(tally))
        self._log_end(code)
        return code

    async def _run_parts(self) -> None:
        parts, stop, drain = self._parts, self._stop, Stop()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(log_heartbeat(self.snapshot), name="heartbeat"),
                group.create_task(watch_lag(), name="lag"),
                group.create_task(parts.queue.run_maintenance(), name="queue"),
                group.create_task(self._key.watch(stop, parts.gate.key_changed), name="key"),
                group.create_task(parts.gate.watch(stop), name="gate"),
                group.create_task(self._watch_refusals(), name="refusals"),
            ]
            if self._reloading is not None:
                with_files = [*parts.deliveries, *filter(None, [self._tokens])]
                reload = self._reloading.run(
                    self._key,
                    key_changed=parts.gate.key_changed,
                    reload_tls=parts.session.reload_tls,
                    reload_others=[each.reload for each in with_files],
                )
                background.append(group.create_task(reload, name="reload"))
            if parts.keep_schedule is not None:
                background.append(group.create_task(parts.keep_schedule(), name="schedule"))
            deliveries = [group.create_task(each.run(drain), name=each.sink) for each in parts.deliveries]
            intakes = [group.create_task(each.run(stop), name=each.name) for each in parts.intakes]
            poller = group.create_task(parts.poller.run(stop), name="poller")
            if self._plan.asset_ids:
                await parts.ingest.accept(_batch(self._plan.asset_ids))

            reason = await stop.race(self._until_done(intakes))
            self._was_reading = not all(task.done() for task in intakes)
            stop.set(reason or DONE)
            _log.info("worker.stopping", reason=stop.reason, pending=parts.queue.pending_count())
            grace_ends = self._clock.monotonic() + self._grace
            await self._wait_or_cancel([*intakes, poller], until=grace_ends)
            drain.set("stopping")
            await self._forced_stop.race(self._until_delivered(deliveries))
            await self._wait_or_cancel(deliveries, until=grace_ends)
            for task in background:
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
        has_no_room = queue.outbox_depth() > self._settings.queue.max_pending and not queue.pending_count()
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

    async def _watch_refusals(self) -> None:
        """Stop the run when the key has been refused for longer than the plan allows."""
        limit = self._plan.key_refused_limit
        while limit is not None and not self._stop.is_set():
            parts = self._parts
            # Perhaps only the assets that are left are refused, and the key works for others.
            refused_for = parts.gate.key_refused_for
            if refused_for is not None and refused_for >= limit and parts.poller.key_is_refused:
                self._refused_too_long = True
                self._stop.set("the key is refused")
                self._forced_stop.set("the key is refused")
            await self._stop.sleep(REFUSAL_CHECK_SECONDS)

    def _abandon_inputs(self) -> None:
        """Log what was read and can't be read again, because the process ends at once."""
        for each in self._parts.intakes if self.is_built else ():
            each.abandon()

    def snapshot(self) -> Snapshot:
        """Return the state of the worker now."""
        return take_snapshot(self._sources)

    def waiting_on(self) -> dict[str, int]:
        """Return the number of pending assets by what they wait for. It visits every pending asset."""
        return self._parts.queue.waiting_on()

    def waiting(self, limit: int) -> list[WaitingAsset]:
        """Return the assets that have been pending longest, at most `limit`."""
        now = self._clock.steady()
        return [
            WaitingAsset(asset_id, now - state.accepted_at, state.due_in, state.progress)
            for asset_id, state in self._parts.queue.oldest(limit).items()
        ]

    def _end(self, tally: Mapping[str, int] | None) -> RunEnd:
        queue = self._parts.queue
        return RunEnd(
            is_refused=self._refused_too_long,
            has_lost_input=any(each.has_lost_input for each in self._parts.intakes),
            has_left=bool(queue.pending_count() or queue.outbox_depth() or self._stop.reason == UNDELIVERABLE),
            outcomes=None if tally is None else tally.keys(),
            signalled=exit_code_of(self._forced_stop.reason),
            is_done=self._stop.reason == DONE,
            was_reading=self._was_reading,
        )

    def _log_start(self) -> None:
        settings = self._settings
        _log.info(
            "worker.started",
            version=__version__,
            base_url=settings.api.base_url,
            queue_file=settings.queue.file and str(settings.queue.file),
            stdin=settings.queue.stdin,
            account=settings.account.follow,
            http=self._parts.http is not None,
            sinks=[each.sink for each in self._parts.deliveries],
            state_dir=str(settings.state.dir) if self._plan.keeps_state else None,
            strategy=settings.poll.strategy,
            pending=self._parts.queue.pending_count(),
        )

    def _log_end(self, code: int) -> None:
        now = self.snapshot()
        _log.info(
            "worker.stopped",
            exit_code=int(code),
            pending=now.pending,
            completions=now.completions,
            outbox_depth=now.outbox_depth,
        )


def _log_ignored_signal(name: str) -> None:
    _log.warning("worker.signal_ignored", signal=name, detail="SIGHUP reloads, SIGTERM stops")


def _batch(asset_ids: Iterable[AssetId]) -> Batch:
    submissions = [Submission(asset_id, "command", number) for number, asset_id in enumerate(asset_ids, start=1)]
    return Batch(submissions, [], "command", None)
