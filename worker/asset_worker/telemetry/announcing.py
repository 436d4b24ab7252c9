"""Reports the worker to systemd: that it is ready, reloads or stops, that its event loop lives, and a line for people.

What is reported next is decided by a pure function; a task on the event loop sends it. So a loop that hangs sends
nothing, and the watchdog restarts the process. A disk that hangs blocks a thread and not the loop: the line says what
is wrong, and the work goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec

from asset_worker.domain.events import timestamp
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.systemd_notify import Notifier, microseconds
from asset_worker.runtime.text import clip, visible
from asset_worker.telemetry.problems import Problem

_log = get_logger()

STATUS_SECONDS: Final = 1.0
"""The line for people is sent at most so often."""
STATUS_LENGTH: Final = 500
"""The longest line: it is one line of `systemctl status`."""
START_LOOK_SECONDS: Final = 0.05
"""So often it is checked whether the worker is ready."""
EXTEND_EVERY_SECONDS: Final = 5.0
EXTENSION_SECONDS: Final = 60.0
"""A start goes on for as long as its event loop lives: it may resume a million pending assets, or upgrade a journal.
A start that hangs is not prolonged, and ends when systemd's TimeoutStartSec and this are over."""
STOP_MARGIN_SECONDS: Final = 5.0
"""What a stop may take besides its grace: closing the journal, sockets and the log."""


class View(msgspec.Struct, frozen=True):
    """The worker, as its service manager is shown it."""

    status: str
    """One line for people."""
    is_following: bool
    """The journal is open, and all inputs are followed."""
    is_stopping: bool


class Announced(msgspec.Struct, frozen=True):
    """What the service manager knows by now. Instants are monotonic seconds."""

    is_ready: bool = False
    is_reloading: bool = False
    is_stopping: bool = False
    status: str | None = None
    status_at: float = 0.0
    alive_at: float | None = None
    """When `WATCHDOG=1` was sent last."""
    extended_at: float = 0.0
    """When more time for the start was asked for last, or the start began."""


def next_report(
    known: Announced, view: View, now: float, *, reloads_at: float | None, watchdog: float | None, grace: float
) -> tuple[Announced, Sequence[str]]:
    """Return what to send now, and what the service manager knows after that; nothing to send: there is nothing new.

    Args:
        known: what it knows.
        view: the worker now.
        now: monotonic seconds.
        reloads_at: when the reload that is in progress began, in seconds of CLOCK_MONOTONIC; None: there is none.
        watchdog: seconds without a sign of life after which the process is restarted; None: it is not.
        grace: seconds that a stop takes at most.
    """
    changes: dict[str, bool | float | str] = {}
    lines: list[str] = []
    if view.is_following and not known.is_ready:
        # Also before the end of a run that was quick: without it, the unit would count as failed.
        changes, lines = {"is_ready": True}, ["READY=1"]
    elif view.is_stopping:
        if not known.is_stopping:
            time_left = microseconds(grace + STOP_MARGIN_SECONDS)
            changes, lines = {"is_stopping": True}, ["STOPPING=1", f"EXTEND_TIMEOUT_USEC={time_left}"]
    elif not known.is_ready:
        if now - known.extended_at >= EXTEND_EVERY_SECONDS:
            changes, lines = {"extended_at": now}, [f"EXTEND_TIMEOUT_USEC={microseconds(EXTENSION_SECONDS)}"]
    elif reloads_at is not None and not known.is_reloading:
        changes, lines = {"is_reloading": True}, ["RELOADING=1", f"MONOTONIC_USEC={microseconds(reloads_at)}"]
    elif reloads_at is None and known.is_reloading:
        changes, lines = {"is_reloading": False}, ["READY=1"]
    if view.status != known.status and (lines or known.status is None or now - known.status_at >= STATUS_SECONDS):
        changes |= {"status": view.status, "status_at": now}
        lines.append(f"STATUS={view.status}")
    if watchdog is not None and (known.alive_at is None or now - known.alive_at >= watchdog / 2):
        changes["alive_at"] = now
        lines.append("WATCHDOG=1")
    return msgspec.structs.replace(known, **changes), lines


def status_line(
    *, pending: int, oldest: float, problems: Sequence[Problem], now: float, redact: Callable[[str], str] = str
) -> str:
    """Return the line for people: what is pending, for how long (seconds) the oldest, and what is wrong.

    `now` is in seconds since the epoch, UTC; `redact` removes secrets. The line has no control characters: a newline
    would begin an assignment.
    """
    line = f"{pending:,} pending"
    if pending:
        line += f", oldest {_age(oldest)}"
    if problems:
        first, *more = problems
        line += f"; problem: {first.text}"
        if first.since is not None:
            line += f" (since {_instant(first.since, now)})"
        if more:
            line += f", and {len(more)} more"
    return clip(visible(redact(line)), STATUS_LENGTH)


def _age(seconds: float) -> str:
    """Return an age in its largest unit: a smaller one would change the line every second."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def _instant(instant: float, now: float) -> str:
    """Return an instant as `02:14:05 UTC`, with its date unless that is today's."""
    date, _, clock = timestamp(instant).partition("T")
    today = timestamp(now).partition("T")[0]
    return f"{'' if date == today else f'{date} '}{clock[:8]} UTC"


class Announcer:
    """Sends what `next_report` returns, each time that something may have changed."""

    def __init__(self, notifier: Notifier, look: Callable[[], View], *, stop: Stop, grace: float) -> None:
        """Send nothing yet. `look` returns the worker now, `stop` ends it within `grace` seconds."""
        self._notifier = notifier
        self._look = look
        self._stop = stop
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._known = Announced(extended_at=self._loop.time())
        self._reloads_at: float | None = None
        self._is_failing = False

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report a reload while the context lasts, and its end however it ends: systemd waits for that."""
        self._reloads_at = time.clock_gettime(time.CLOCK_MONOTONIC)
        self._report()
        try:
            yield
        finally:
            self._reloads_at = None
            self._report()

    async def run(self) -> None:
        """Report what changes and that the loop is alive, until cancelled."""
        while True:
            self._report()
            if self._stop.is_set():
                await asyncio.sleep(self._pause())
            else:
                await self._stop.sleep(self._pause())

    def _report(self) -> None:
        """Send all that is new. What can't be sent is tried again at the next time."""
        while True:
            known, lines = next_report(
                self._known,
                self._look(),
                self._loop.time(),
                reloads_at=self._reloads_at,
                watchdog=self._notifier.watchdog,
                grace=self._grace,
            )
            if not lines:
                return
            try:
                self._notifier.send(*lines)
            except OSError as error:
                if not self._is_failing:
                    _log.warning("worker.notify_failed", error=str(error))
                self._is_failing = True
                return
            self._known, self._is_failing = known, False

    def _pause(self) -> float:
        """Return the seconds until something may have changed."""
        if not self._known.is_ready:
            return START_LOOK_SECONDS
        if self._notifier.watchdog is None or self._known.alive_at is None:
            return STATUS_SECONDS
        left = self._known.alive_at + self._notifier.watchdog / 2 - self._loop.time()
        return min(STATUS_SECONDS, max(START_LOOK_SECONDS, left))


@asynccontextmanager
async def announcing(
    notifier: Notifier, look: Callable[[], View], *, stop: Stop, grace: float
) -> AsyncIterator[Announcer]:
    """Report the worker to its service manager while the context lasts: see `Announcer`."""
    announcer = Announcer(notifier, look, stop=stop, grace=grace)
    task = asyncio.create_task(announcer.run(), name="announcer")
    try:
        yield announcer
    finally:
        task.cancel()
