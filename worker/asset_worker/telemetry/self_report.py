"""What the worker reports about itself to those who look from outside: made of values, and kept up to date."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.domain.events import timestamp
from asset_worker.domain.worker_report import ProblemReport, SinkReport, WorkerReport
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import WorkerThread
from asset_worker.telemetry.problems import problems_of, shown_problem
from asset_worker.telemetry.sources import Sources

LOOK_SECONDS: Final = 1.0
"""The report is written at most so often."""
LONGEST_SECONDS: Final = 10.0
"""And at least so often, also when nothing has changed: who reads it sees that the worker does not hang."""
LAST_WRITE_SECONDS: Final = 1.0
"""How long the end of the worker waits for a file system that hangs. Without the last report, it seems to have died."""
_CGROUP: Final = Path("/proc/self/cgroup")
_UNIT_SUFFIX: Final = ".service"


def report_on(sources: Sources, *, of: WorkerReport, clock: Clock) -> WorkerReport:
    """Return the report of a worker that runs. `of` says what does not change: the process, its version and start."""
    dead_letters = sources.queue.dead_letters_by_sink()
    return msgspec.structs.replace(
        of,
        state="running",
        updated_at=timestamp(clock.now()),
        reading=clock.mark().reading,
        pending=sources.queue.pending_count(),
        problems=[ProblemReport(**shown_problem(problem)) for problem in problems_of(sources)],
        sinks={each.sink: SinkReport(each.backlog, dead_letters.get(each.sink, 0)) for each in sources.deliveries},
        intakes={each.name: each.progress for each in sources.inputs},
        quotas=list(sources.gate.quotas),
    )


def stopped(report: WorkerReport, *, reason: str, clock: Clock) -> WorkerReport:
    """Return the last report of a worker that stops in order."""
    now = timestamp(clock.now())
    return msgspec.structs.replace(
        report, state="stopped", updated_at=now, stopped_at=now, stop_reason=reason, reading=clock.mark().reading
    )


def changes(report: WorkerReport) -> WorkerReport:
    """Return what is worth a new report when it changes: everything but the time, and what follows from it."""
    problems = [msgspec.structs.replace(each, since=None, next_try=None) for each in report.problems]
    quotas = [msgspec.structs.replace(each, resets_in=0.0) for each in report.quotas]
    return msgspec.structs.replace(report, updated_at=None, reading=None, problems=problems, quotas=quotas)


async def keep_report(
    read: Callable[[], WorkerReport],
    write: Callable[[WorkerReport], bool],
    thread: WorkerThread,
    *,
    clock: Clock,
    stop: Stop,
) -> None:
    """Write the report when it has changed, until cancelled; after the stop, a last one.

    A report that can't be written is left out: the next one follows in a second.

    Args:
        read: returns the present report.
        write: replaces what was written before, and returns whether that worked. It is called in the thread.
        thread: writes, since a disk may hang.
        clock: the clock.
        stop: is set when the worker stops in order.
    """
    written, written_at = None, 0.0
    try:
        while True:
            report, now = read(), clock.monotonic()
            if changes(report) != written or now - written_at >= LONGEST_SECONDS:
                written = changes(report) if await thread.run(write, report) else None
                written_at = now
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        if stop.is_set():
            try:
                async with asyncio.timeout(LAST_WRITE_SECONDS):
                    await thread.run(write, stopped(read(), reason=stop.reason or "", clock=clock))
            except TimeoutError:
                pass
        thread.close()


def describe_process(*, version: str, clock: Clock) -> WorkerReport:
    """Return what does not change about this process."""
    return WorkerReport(
        "running",
        os.getpid(),
        version=version,
        host=socket.gethostname(),
        unit=unit_of_this_process(),
        started_at=timestamp(clock.now()),
    )


def unit_of_this_process() -> str | None:
    """Return the systemd unit that this process runs in; None: none."""
    return unit_in(_text_of(_CGROUP))


def unit_in(cgroups: str) -> str | None:
    """Return the systemd unit that the lines of `/proc/PID/cgroup` name; None: none.

    systemd names the control group of a service after its unit (systemd.resource-control(5)).
    """
    for line in cgroups.splitlines():
        name = line.rpartition("/")[2]
        if name.endswith(_UNIT_SUFFIX) and name != _UNIT_SUFFIX:
            return name
    return None


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
