"""Doubles for intakes: a directory whose file times are set by hand, and a follower that crashes and restarts."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from asset_worker.domain.submissions import Batch
from asset_worker.intake.file.follower import FileEvent, Follower
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import is_no_output

PARTIAL_WAIT = 5.0
"""How long `Following` waits for the rest of a last line, in seconds."""
TICK = 4_000_000
"""The resolution of a file system's times, in nanoseconds."""


class Disk:
    """Does what writers and rotation do, and sets the file times: a test decides what happens within one tick."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 1_700_000_000_000_000_000
        self._stamp(directory)

    def path(self, name: str = "queue") -> Path:
        return self.directory / name

    def tick(self, ticks: int = 1) -> None:
        self.now += ticks * TICK

    def _stamp(self, *paths: Path) -> None:
        for path in paths:
            os.utime(path, ns=(self.now, self.now))

    def append(self, data: bytes, name: str = "queue") -> None:
        path = self.path(name)
        made = not path.exists()
        with path.open("ab") as file:
            file.write(data)
        self._stamp(path, *([self.directory] if made else []))

    def rename(self, old: str, new: str) -> None:
        self.path(old).rename(self.path(new))
        self._stamp(self.directory)

    def copy(self, old: str, new: str) -> None:
        made = not self.path(new).exists()
        shutil.copyfile(self.path(old), self.path(new))
        self._stamp(self.path(new), *([self.directory] if made else []))

    def truncate(self, name: str = "queue") -> None:
        os.truncate(self.path(name), 0)
        self._stamp(self.path(name))

    def replace(self, data: bytes, name: str = "queue") -> None:
        """Replace a file atomically: a new file is written, and renamed to the old one's name."""
        self.append(data, "new")
        self.rename("new", name)

    def delete(self, name: str = "queue") -> None:
        self.path(name).unlink()
        self._stamp(self.directory)


class Following:
    """A follower of one path, stepped by hand. Its batches are durable at once."""

    def __init__(
        self, path: Path, *, rotated: tuple[str, ...] = ROTATED, is_output: Callable[[int], bool] = is_no_output
    ) -> None:
        self.path = path
        self._rotated = rotated
        self.now = 0.0
        self.positions: dict[str, bytes] = {}
        self.batches: list[Batch] = []
        self._events: list[FileEvent] = []
        self.at_end = False
        self._is_output = is_output
        self.follower = Follower(path, {}, rotated=rotated, is_output=is_output)

    @property
    def position(self) -> bytes | None:
        """The last durable position."""
        return next(reversed(self.positions.values()), None)

    @position.setter
    def position(self, position: bytes) -> None:
        self.positions = {f"file:{os.path.realpath(self.path)}": position}

    def restart(self, path: Path | None = None) -> None:
        """Crash, and start again with the last durable position, perhaps on another path."""
        self.follower.close()
        self.path = path or self.path
        self.follower = Follower(self.path, self.positions, rotated=self._rotated, is_output=self._is_output)

    def step(self, seconds: float = 0.25, limit: int = 1000) -> list[str]:
        """Wait, take one step, and return the IDs that it brought."""
        self.now += seconds
        step = self.follower.step(self.now, limit)
        self._events += step.file_events
        self.at_end = step.at_end
        return self.take(step.batch)

    def take(self, batch: Batch | None) -> list[str]:
        if batch is None:
            return []
        self.batches.append(batch)
        assert batch.position is not None
        self.positions = {**self.positions, batch.intake: batch.position}
        return [submission.asset_id for submission in batch.submissions]

    def finish(self, seconds: float = 0.25) -> tuple[list[str], bool]:
        self.now += seconds
        batch, finished = self.follower.finish(self.now, PARTIAL_WAIT)
        return self.take(batch), finished

    def event_names(self) -> list[str]:
        """The names of the file events since the last call of this or `events`."""
        return [name for name, _ in self.events()]

    def events(self) -> list[tuple[str, str | None]]:
        """The file events since the last call of this or `event_names`: the name and detail of each."""
        events, self._events = self._events, []
        return [(event.what, event.detail) for event in events]

    @property
    def rejections(self) -> list[tuple[int, bytes]]:
        """Line numbers, and the part of each line that is shown."""
        return [(found.line, found.raw[:1024]) for batch in self.batches for found in batch.rejections]

    @property
    def zeros(self) -> list[int]:
        """The lengths of the runs of zeros that were reported."""
        return [run.count for batch in self.batches for run in batch.zeros]


class BatchReceiver:
    """Takes batches as long as it has room; a test makes more."""

    def __init__(self, room: int = 1_000_000) -> None:
        self._room = room
        self._made = asyncio.Event()
        self._changed = asyncio.Event()
        self.asked_for_room = asyncio.Event()
        self.batches: list[Batch] = []

    def make_room(self, count: int) -> None:
        self._room += count
        self._made.set()

    async def room(self) -> int:
        self.asked_for_room.set()
        while self._room <= 0:
            self._made.clear()
            await self._made.wait()
        return self._room

    async def accept(self, batch: Batch) -> None:
        self._room -= len(batch.submissions) + len(batch.rejections)
        self.batches.append(batch)
        self._changed.set()

    async def changed(self) -> None:
        """Wait for the next batch."""
        await self._changed.wait()
        self._changed.clear()

    @property
    def ids(self) -> list[str]:
        return [submission.asset_id for batch in self.batches for submission in batch.submissions]

    @property
    def rejections(self) -> list[tuple[int, bytes]]:
        """Line numbers, and the part of each line that is shown."""
        return [(found.line, found.raw[:1024]) for batch in self.batches for found in batch.rejections]

    @property
    def positions(self) -> dict[str, bytes]:
        """The latest position of each intake, as the queue stores them."""
        return {batch.intake: batch.position for batch in self.batches if batch.position is not None}
