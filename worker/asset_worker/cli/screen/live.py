"""Runs a service with its progress on the terminal of standard error: as a live display, or as lines."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

from asset_worker.cli.screen.frames import frame, last_frame
from asset_worker.cli.screen.plain import progress_line, what_matters
from asset_worker.cli.screen.scene import Scene
from asset_worker.cli.screen.spans import Line, styled, width_of, without_styles
from asset_worker.cli.screen.view import Shown, View
from asset_worker.runtime.footer import Row
from asset_worker.runtime.stderr import forget_rows, is_stderr_behind, show_below, styled_stderr
from asset_worker.runtime.terminals import is_in_foreground, size_of

REFRESH_SECONDS: Final = 0.25
LINE_SECONDS: Final = 2.0
"""The shortest interval between two lines of progress."""
QUIET_SECONDS: Final = 30.0
"""A line is repeated after this time even if nothing has changed, to show that the work goes on."""
STDERR: Final = 2


class Runnable(Shown, Protocol):
    """The service, as it is run."""

    async def run(self) -> int:
        """Run it, and return its exit code."""
        ...


async def run_with_live_display(service: Runnable, view: View, *, colours: bool) -> int:
    """Run the service with a live display below all else on the terminal. Return its exit code."""
    scene = _scenes(view)
    shown: Sequence[Row] = ()

    def show(rows: Sequence[Row]) -> None:
        nonlocal shown
        if rows != shown:
            shown = rows
            show_below(rows)

    def refresh() -> None:
        size = size_of(STDERR)
        now = scene() if is_in_foreground(STDERR) else None
        lines = [] if now is None else frame(now, columns=size.columns, rows=size.lines - 1)
        show([Row(_text(line, colours=colours).encode(), width_of(line)) for line in lines])

    with _forgetting_at_continue():
        try:
            async with _every(REFRESH_SECONDS, refresh):
                code = await service.run()
        finally:
            show(())
    if (end := scene()) is not None and end.total:
        for line in last_frame(end, columns=size_of(STDERR).columns):
            styled_stderr().write(f"{_text(line, colours=colours)}\n")
    return code


async def run_with_progress_lines(service: Runnable, view: View) -> int:
    """Run the service with lines of progress. Return its exit code."""
    scene = _scenes(view)
    last: tuple[str, ...] = ()
    last_at = -math.inf

    def write_line(*, again_after: float, changed_after: float) -> None:
        nonlocal last, last_at
        now = scene()
        if now is None or not (now.total or now.is_idle):
            return
        matters = what_matters(now)
        interval = changed_after if matters != last else math.inf if now.is_idle else again_after
        if now.elapsed - last_at >= interval:
            sys.stderr.write(f"{progress_line(now)}\n")
            last, last_at = matters, now.elapsed

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


@contextmanager
def _forgetting_at_continue() -> Iterator[None]:
    """While the context lasts, leave the rows behind when the process goes on after a stop (Ctrl-Z, `fg`).

    The interpreter calls such a handler before any other code of this thread, so before the rows are drawn again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCONT, lambda _number, _frame: forget_rows())
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before)


def wall_clock() -> tuple[float, float]:
    """Return the seconds since the epoch, UTC, and by how many seconds people's clocks here are ahead of UTC."""
    return time.time(), time.localtime().tm_gmtoff


def _scenes(view: View) -> Callable[[], Scene | None]:
    clock = asyncio.get_running_loop().time
    started = clock()

    def scene() -> Scene | None:
        now, utc_offset = wall_clock()
        return view.scene(elapsed=clock() - started, now=now, utc_offset=utc_offset)

    return scene


def _text(line: Line, *, colours: bool) -> str:
    return styled(line) if colours else without_styles(line)
