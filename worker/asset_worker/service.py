"""One run of the worker as a process: signals, admin endpoints, log of start and end, exit code.

`wiring` decides what the parts are, and `worker` runs them and stops them in order.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from asset_worker import __version__
from asset_worker.credentials import make_key, make_tokens
from asset_worker.domain.run_plan import RunEnd, RunPlan, exit_code
from asset_worker.domain.worker_report import WorkerReport
from asset_worker.policies import reader_patience, shutdown_grace
from asset_worker.poller.observing import Observe, both, ignore
from asset_worker.poller.recent import Recent
from asset_worker.queue.local import worker_status
from asset_worker.reloading import Reloading
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.ending import die_of_signal, exit_at_once, exit_code_of
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.signals import reloading_on_signals, stopping_on_signals
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.systemd_notify import Notifier
from asset_worker.runtime.threads import DaemonThread
from asset_worker.serving import serve_admin
from asset_worker.settings.tree import Settings
from asset_worker.sinks.lines import ToLines, lines_of
from asset_worker.telemetry.announcing import Announcer, View, announcing, status_line
from asset_worker.telemetry.heartbeat import log_heartbeat
from asset_worker.telemetry.loop_lag import LoopLag
from asset_worker.telemetry.problems import problems_of
from asset_worker.telemetry.self_report import describe_process, keep_report, report_on
from asset_worker.telemetry.snapshot import Snapshot, take_snapshot
from asset_worker.telemetry.waiting import WaitingAsset
from asset_worker.wiring import build, sources_of
from asset_worker.worker import DONE, UNDELIVERABLE, Worker

if TYPE_CHECKING:
    from asset_worker.overview import Overview

_log = get_logger()

GC_THRESHOLD = 5_000
"""The garbage collector runs after this many new objects. At Python's default of 700 it would run every thirty looks,
which leave no garbage for it to find."""
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
        lines_on_stdout: ToLines = lines_of,
        notifier: Notifier | None = None,
    ) -> None:
        """Read the key and the tokens. Nothing starts yet.

        Args:
            settings: the settings.
            plan: what this run does.
            secrets: what is redacted from now on.
            reloading: what SIGHUP does; None: it ends the process.
            observe: is called after each look.
            lines_on_stdout: how the sink `-` shows events.
            notifier: reports to the service manager; None: there is none.

        Raises:
            BadKeyError: there is no usable key.
            TokenNotThereError, TokenFileError: the file of tokens can't be used.
        """
        self._settings = settings
        self._plan = plan
        self._secrets = secrets
        self._reloading = reloading
        self._notifier = notifier
        self._announcer: Announcer | None = None
        self._clock = SystemClock()
        self._is_served = settings.admin.port is not None
        self._recent = Recent(self._clock)
        self._observe = both(observe, self._recent.observe) if self._is_served else observe
        self._lines_on_stdout = lines_on_stdout
        self._key = make_key(settings.api, secrets)
        self._tokens = make_tokens(settings.admin, secrets, self._clock)
        self._stop = Stop()
        self._lag = LoopLag()
        self._forced_stop = Stop()
        """Set by a signal or a refused key: the run ends although its plan is not done."""
        self._refused_too_long = False
        self.is_built = False
        """Whether `snapshot` and `waiting` may be called."""

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
            grace = shutdown_grace(self._settings, self._plan)
            starting = asyncio.create_task(self._end_while_starting(grace, end), name="starting")
            stack.callback(starting.cancel)
            if self._notifier is not None:
                self._announcer = await stack.enter_async_context(
                    announcing(self._notifier, self._view, stop=self._stop, grace=grace)
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
                    lines_on_stdout=self._lines_on_stdout,
                )
            )
            self._sources = sources_of(parts, self._lag)
            overview = self._make_overview() if self._is_served else None
            self._worker = Worker(
                parts,
                self._plan,
                clock=self._clock,
                stop=self._stop,
                forced_stop=self._forced_stop,
                grace=grace,
                reader_patience=reader_patience(self._settings, self._plan),
                max_pending=self._settings.queue.max_pending,
            )
            await stack.enter_async_context(
                serve_admin(
                    self._settings.admin,
                    parts,
                    self._tokens,
                    read=self.snapshot,
                    overview=overview,
                    secrets=self._secrets,
                    clock=self._clock,
                    stop=self._stop,
                )
            )
            await stack.enter_async_context(parts.traces)
            self.is_built = True
            starting.cancel()
            self._log_start()
            # The parts live as long as the process: the garbage collector need not check them again and again.
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            await self._stop.race(parts.queue.begin(ends_by_itself=self._plan.ends_by_itself))
            await self._worker.run(self._background(overview))
            tally = await parts.queue.finish()
        code = exit_code(self._plan, self._end(tally))
        self._log_end(code)
        return code

    async def _end_while_starting(self, grace: float, end: Callable[[int], object]) -> None:
        """End the process if the start goes on for longer than the grace after a stop.

        The disk may hang, and a journal of a million assets takes time to be upgraded or read. Nothing is lost by it.
        """
        await self._stop.wait()
        await asyncio.sleep(grace)
        code = (exit_code_of(self._stop.reason) or 0) if self._plan.is_one_off else 0
        _log.warning("worker.stopped", exit_code=code, detail="the start took longer than the grace of the stop")
        end(code)

    def _background(self, overview: Overview | None) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs beside the parts, by the names of its tasks."""
        parts, stop = self._parts, self._stop
        background = {
            "heartbeat": log_heartbeat(self.snapshot),
            "lag": self._lag.watch(),
            "queue": parts.queue.run_maintenance(),
            "key": self._key.watch(stop, parts.gate.key_changed),
            "gate": parts.gate.watch(stop),
            "refusals": self._watch_refusals(),
        }
        if overview is not None:
            background["history"] = overview.keep_history()
        if self._reloading is not None:
            with_files = [*parts.deliveries, *filter(None, [self._tokens])]
            background["reload"] = self._reloading.run(
                self._key,
                key_changed=parts.gate.key_changed,
                reload_tls=parts.session.reload_tls,
                reload_others=[each.reload for each in with_files],
                announced=nullcontext if self._announcer is None else self._announcer.reloading,
            )
        if parts.keep_schedule is not None:
            background["schedule"] = parts.keep_schedule()
        if self._plan.keeps_state:
            background["report"] = self._keep_report()
        return background

    def _view(self) -> View:
        """Return the worker as its service manager is shown it."""
        is_stopping = self._stop.is_set()
        if not self.is_built:
            return View("stopping" if is_stopping else "starting", is_following=False, is_stopping=is_stopping)
        queue, is_following = self._parts.queue, all(each.is_following for each in self._parts.intakes)
        line = status_line(
            pending=queue.pending_count(),
            oldest=queue.oldest_age(),
            problems=problems_of(self._sources),
            now=self._clock.now(),
            redact=self._secrets.redact_text,
        )
        prefix = "stopping: " if is_stopping else "" if is_following else "starting: "
        return View(prefix + line, is_following=is_following, is_stopping=is_stopping)

    def _make_overview(self) -> Overview:
        """Return what the status page is made from. Most runs have none, and need not load it."""
        from asset_worker.overview import Overview  # noqa: PLC0415

        return Overview(
            self._parts,
            self._sources,
            self._recent,
            snapshot=self.snapshot,
            waiting=self.waiting,
            is_stopping=self._stop.is_set,
            state_dir=str(self._settings.state.directory.absolute()) if self._plan.keeps_state else None,
            clock=self._clock,
        )

    def _keep_report(self) -> Coroutine[Any, Any, None]:
        """Return what keeps the worker's report on itself in the state directory, until cancelled."""
        path, clock = self._settings.state.directory / worker_status.FILE_NAME, self._clock
        process = describe_process(version=__version__, clock=clock)

        def read() -> WorkerReport:
            report = report_on(self._sources, of=process, clock=clock)
            return msgspec.convert(self._secrets.redact(msgspec.to_builtins(report)), WorkerReport)

        return keep_report(
            read,
            lambda report: worker_status.save(path, report),
            DaemonThread("report"),
            clock=clock,
            stop=self._stop,
        )

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

    @property
    def is_stopping(self) -> bool:
        """Whether the run is about to end."""
        return self._stop.is_set()

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal asked the run to end."""
        return exit_code_of(self._forced_stop.reason) is not None

    def snapshot(self) -> Snapshot:
        """Return the state of the worker now."""
        return take_snapshot(self._sources)

    def waiting(self, limit: int) -> list[WaitingAsset]:
        """Return the assets that have been pending longest, at most `limit`."""
        parts, now = self._parts, self._clock.steady()
        return [
            WaitingAsset(
                asset_id, now - state.accepted_at, state.due_in, state.progress, parts.time_left(asset_id, state, now)
            )
            for asset_id, state in parts.queue.oldest(limit).items()
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
            was_reading=self._worker.was_reading,
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
