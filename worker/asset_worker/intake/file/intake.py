"""The intake of the queue file, which is looked at every quarter of a second, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.file.follower import FileEvent, Follower, Step
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import is_no_output
from asset_worker.intake.ports import BatchReceiver, IntakeContext
from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread, WorkerThread, reporting_hang

_log = get_logger()

INTERVAL_SECONDS: Final = 0.25
"""The interval between two looks. A look costs almost nothing and, unlike file system notifications, works on network
and overlay file systems."""
BATCH_LINES: Final = 10_000
"""Lines that one step reads at most."""
PROGRESS_SECONDS: Final = 2.0
"""While nothing is read for want of room, the file is looked at so often to see how much is left to read."""
CLOSE_SECONDS: Final = 1.0
"""How long closing waits for a file system that hangs. The thread is then abandoned; it doesn't keep the process from
ending. Lines that it has read but that were not accepted are read again by the next run."""
ROTATIONS: Final = frozenset({"rotated", "truncated", "deleted", "found"})
"""File events that are logged as `intake.rotated`; all others are logged under their own names."""
WARNINGS: Final = frozenset({"unreadable", "position_unreadable", "gap", "reread"})
"""File events that are logged as warnings."""


class FileIntake:
    """Follows a file until the stop or, with `once`, reads it to its end."""

    name: Final = "queue file"
    has_lost_input: Final = False
    """Always False: the next run reads from the position on."""

    def __init__(
        self,
        path: Path,
        receiver: BatchReceiver,
        thread: WorkerThread,
        clock: Clock,
        positions: Mapping[str, bytes],
        *,
        rotated: tuple[str, ...] = ROTATED,
        once: bool = False,
        partial_wait: float = 0.0,
        interval: float = INTERVAL_SECONDS,
        is_output: Callable[[int], bool] = is_no_output,
    ) -> None:
        """Read nothing yet.

        Args:
            path: the file's path.
            receiver: gets what is read.
            thread: reads.
            clock: the clock.
            positions: those that the queue has stored, by intake.
            rotated: globs that recognise rotated files, see `rotated_names`.
            once: read to the file's end once.
            partial_wait: with `once`, how long a last line without newline may still grow, in seconds.
            interval: between two looks, in seconds.
            is_output: returns whether this process writes to the file of a descriptor.
        """
        path = path.absolute()
        self._follower = Follower(path, positions, rotated=rotated, is_output=is_output)
        self._path = path
        self._receiver = receiver
        self._thread = thread
        self._clock = clock
        self._once = once
        self._partial_wait = partial_wait
        self._interval = interval
        self._unreadable: str | None = None
        self._unreadable_at: float | None = None
        """When it began to be unreadable, in steady time."""
        self._hangs = False
        """Whether its disk hangs."""
        self.is_following = False
        """Whether it has looked at the path once: the file is followed, or awaited if it isn't there or hangs."""
        self.progress = InputReport()
        """How far the file was read, as of the last look at it."""

    @property
    def unreadable(self) -> str | None:
        """What keeps the file from being read now, and why; None: nothing."""
        return self._unreadable

    @property
    def unreadable_since(self) -> float | None:
        """Since when, in seconds since the epoch, UTC; None: it can be read."""
        since = self._unreadable_at
        return None if since is None else wall_time(self._clock, since)

    async def run(self, stop: Stop) -> None:
        """Read until `stop` is set or, with `once`, until the file's end is reached."""
        try:
            while not stop.is_set():
                room = await stop.race(self._room())
                if room is None:
                    return
                now = self._clock.monotonic()
                with reporting_hang(self._report_hang):
                    found = await stop.race(self._thread.run(self._step, now, min(room, BATCH_LINES)))
                if found is None:
                    return
                step, self.progress = found
                self.is_following = True
                if self._hangs and step.problem is None:
                    self._log((FileEvent("readable"),))
                self._hangs = False
                self._log(step.file_events)
                self._set_unreadable(step.problem)
                if step.batch is not None:
                    await self._receiver.accept(step.batch)
                    continue
                if step.has_more:
                    continue
                if self._once and step.at_end and await self._finish(stop):
                    return
                await stop.sleep(self._interval)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._thread.run(self._follower.close)
            self._thread.close()

    def _step(self, now: float, max_lines: int) -> tuple[Step, InputReport]:
        """Look at the file and read on. Called in the thread."""
        return self._follower.step(now, max_lines), self._follower.progress()

    def _report_hang(self, error: str) -> None:
        self._hangs = True
        self._log((FileEvent("unreadable", f"{self._path}: {error}"),))
        self._set_unreadable(f"{self._path}: {error}")
        self.is_following = True

    def _set_unreadable(self, problem: str | None) -> None:
        if problem is None:
            self._unreadable_at = None
        elif self._unreadable is None:
            self._unreadable_at = self._clock.steady()
        self._unreadable = problem

    async def _room(self) -> int:
        """Wait until there is room. Meanwhile the file may grow, which `progress` shows."""
        waiting = asyncio.ensure_future(self._receiver.room())
        try:
            while not (await asyncio.wait([waiting], timeout=PROGRESS_SECONDS))[0]:
                self.progress = await self._thread.run(self._follower.progress)
                self.is_following = True
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        return waiting.result()

    def abandon(self) -> None:
        """Do nothing: what has not been accepted is read again by the next run."""

    async def _finish(self, stop: Stop) -> bool:
        result = await stop.race(self._thread.run(self._follower.finish, self._clock.monotonic(), self._partial_wait))
        if result is None:
            return False
        batch, finished = result
        if batch is not None:
            await self._receiver.accept(batch)
        return finished

    def _log(self, file_events: tuple[FileEvent, ...]) -> None:
        for event in file_events:
            log = _log.warning if event.what in WARNINGS else _log.info
            name = "rotated" if event.what in ROTATIONS else event.what
            log(f"intake.{name}", path=str(self._path), what=event.what, detail=event.detail)


def open_intake(source: Path | str, context: IntakeContext) -> FileIntake:
    """Return an intake that follows the file `source`, with a thread of its own."""
    return FileIntake(
        Path(source),
        context.receiver,
        DaemonThread("queue-file"),
        context.clock,
        context.positions,
        rotated=context.rotated,
        once=context.once,
        partial_wait=context.partial_wait,
        is_output=context.is_output,
    )
