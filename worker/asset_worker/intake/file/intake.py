"""The queue file: followed in a thread of its own, a stat every quarter of a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from asset_worker.intake.file.follower import FileEvent, Follower
from asset_worker.intake.ports import BatchReceiver
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import WorkerThread

_log = structlog.get_logger()

INTERVAL_SECONDS: Final = 0.25
"""Costs nothing and, unlike file events, has no failure mode on network and overlay file systems."""
BATCH_LINES: Final = 10_000
CLOSE_SECONDS: Final = 1.0
"""How long the end waits for a file system that hangs. The thread's thread is left behind then, and keeps nothing from
ending; what it reads and nobody accepts is read again the next time."""
ROTATIONS: Final = frozenset({"rotated", "truncated", "deleted", "found"})
"""Happenings that are logged as `intake.rotated`; all others under their own names."""


class FileIntake:
    """Follows a file, for ever or (once) to its end."""

    def __init__(
        self,
        path: Path,
        receiver: BatchReceiver,
        thread: WorkerThread,
        clock: Clock,
        positions: Mapping[str, bytes],
        *,
        once: bool = False,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """`positions` are those kept for all intakes; `interval` is in seconds."""
        path = path.absolute()
        self._follower = Follower(path, positions.get(f"file:{path}"))
        self._path = path
        self._receiver = receiver
        self._thread = thread
        self._clock = clock
        self._once = once
        self._interval = interval
        self._unreadable: str | None = None

    @property
    def unreadable(self) -> str | None:
        """What keeps the file from being read just now, and why."""
        return self._unreadable

    async def run(self, stop: Stop) -> None:
        """Read until the stop, or until the end is reached."""
        try:
            while not stop.is_set():
                room = await stop.race(self._receiver.room())
                if room is None:
                    return
                step = await stop.race(
                    self._thread.run(self._follower.step, self._clock.monotonic(), min(room, BATCH_LINES))
                )
                if step is None:
                    return
                self._log(step.happenings)
                self._unreadable = step.problem
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

    async def _finish(self, stop: Stop) -> bool:
        taken = await stop.race(self._thread.run(self._follower.finish, self._clock.monotonic()))
        if taken is None:
            return False
        batch, finished = taken
        if batch is not None:
            await self._receiver.accept(batch)
        return finished

    def _log(self, happenings: tuple[FileEvent, ...]) -> None:
        for happening in happenings:
            log = _log.warning if "unreadable" in happening.what else _log.info
            event = "rotated" if happening.what in ROTATIONS else happening.what
            log(f"intake.{event}", path=str(self._path), what=happening.what, detail=happening.detail)
