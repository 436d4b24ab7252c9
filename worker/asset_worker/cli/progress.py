"""Shows progress on a terminal: how many assets are pending, what they wait for, and their outcomes.

A live display is for terminals that nothing else writes to. If events may go to the same terminal, progress is shown as
plain lines: the sink writes from a thread of its own, and a live display would overwrite its events.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asset_worker.runtime.stderr import is_stderr_behind, styled_stderr
from asset_worker.runtime.text import visible
from asset_worker.service import Service
from asset_worker.telemetry.snapshot import Snapshot

REFRESH_SECONDS = 0.25
LINE_SECONDS = 2.0
"""The shortest interval between two lines of progress."""
QUIET_SECONDS = 30.0
"""A line is repeated after this time even if nothing has changed, to show that the work goes on."""
COUNTING_LIMIT = 20_000
"""Progress shows what assets wait for up to this many pending assets, as counting visits each of them."""

COLOURS = {
    "ready": "green",
    "degraded": "yellow",
    "failed": "red",
    "not_found": "red",
    "timed_out": "magenta",
    "rejected": "red",
}


async def run_with_live_display(service: Service, *, title: str) -> int:
    """Run the service with a live display on stderr. Return its exit code."""
    console = Console(file=styled_stderr())
    elapsed = _stopwatch()
    with Live(console=console, auto_refresh=False, transient=False, redirect_stdout=False) as live:

        def refresh() -> None:
            if (now := _snapshot(service)) is not None:
                live.update(_display(title, now, _waiting_on(service, now), elapsed()), refresh=True)

        async with _every(REFRESH_SECONDS, refresh):
            code = await service.run()
        refresh()  # also to a terminal that is behind: this is what stays on it
        return code


async def run_with_progress_lines(service: Service, *, title: str) -> int:
    """Run the service with lines of progress on stderr. Return its exit code."""
    elapsed = _stopwatch()
    last, last_at = "", -math.inf

    def write_line(*, again_after: float, changed_after: float) -> None:
        nonlocal last, last_at
        now = _snapshot(service)
        if now is None or not (now.pending or now.completions):
            return
        line = visible("; ".join(_parts(now, _waiting_on(service, now))))
        if elapsed() - last_at >= (again_after if line == last else changed_after):
            sys.stderr.write(f"{title}: {line}; {now.requests} requests; {elapsed():.0f} s\n")
            last, last_at = line, elapsed()

    async with _every(REFRESH_SECONDS, lambda: write_line(again_after=QUIET_SECONDS, changed_after=LINE_SECONDS)):
        code = await service.run()
    write_line(again_after=math.inf, changed_after=0.0)
    return code


@asynccontextmanager
async def _every(seconds: float, call: Callable[[], None]) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            if not is_stderr_behind():  # a terminal that is stopped shows the newest state when it goes on
                call()

    repeating = asyncio.create_task(repeat(), name="progress")
    try:
        yield
    finally:
        repeating.cancel()
        await asyncio.wait([repeating])


def _stopwatch() -> Callable[[], float]:
    clock = asyncio.get_running_loop().time
    started = clock()
    return lambda: clock() - started


def _snapshot(service: Service) -> Snapshot | None:
    """Return the state of the service; None: it is not built yet."""
    return service.snapshot() if service.is_built else None


def _waiting_on(service: Service, now: Snapshot) -> Mapping[str, int]:
    return service.waiting_on() if now.pending <= COUNTING_LIMIT else {}


def _parts(now: Snapshot, waiting: Mapping[str, int]) -> Iterator[str]:
    done = sum(now.completions.values())
    yield f"{done}/{done + now.pending} done"
    if waiting:
        yield "waiting for " + ", ".join(f"{what} {count}" for what, count in sorted(waiting.items()))
    if done:
        yield "finished " + ", ".join(f"{name} {count}" for name, count in sorted(now.completions.items()))
    if now.problems:
        yield f"problem: {'; '.join(now.problems)}"


def _display(title: str, now: Snapshot, waiting: Mapping[str, int], elapsed: float) -> Group:
    done = sum(now.completions.values())
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(title, style="bold"),
        ProgressBar(total=max(1, done + now.pending), completed=done, width=30),
        f"{done}/{done + now.pending} done",
        f"{done / elapsed:.1f}/s" if elapsed else "",
        f"{now.requests} requests",
        f"{int(elapsed)} s",
    )
    rows = [head]
    if waiting:
        rows.append(Table.grid(padding=(0, 2)))
        rows[-1].add_row("waiting for", *(f"{what} {count}" for what, count in sorted(waiting.items())))
    if done:
        rows.append(Table.grid(padding=(0, 2)))
        outcomes = (Text(f"{name} {count}", style=COLOURS[name]) for name, count in sorted(now.completions.items()))
        rows[-1].add_row("finished", *outcomes)
    if now.problems:
        rows.append(Table.grid())
        rows[-1].add_row(Text(visible(f"problem: {'; '.join(now.problems)}"), style="bold red"))
    return Group(*rows)
