"""Doubles for sinks: an outbox in memory, a sleep that takes no time, and an `os` with faults."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from asset_worker.domain.events import Stored


def stored(position: int, *, size: int = 0) -> Stored:
    """An event whose body differs from all others, and has at least `size` bytes."""
    body = f'{{"id":"asset{position}.1","data":"{position:06}'.encode()
    return Stored(position, f"asset{position}.1", body + b"x" * (size - len(body) - 2) + b'"}')


class MemoryOutbox:
    """An outbox of any number of sinks, which survives a crash as a journal does."""

    def __init__(self, events: list[Stored] | None = None) -> None:
        self.events = events or []
        self.positions: dict[str, int] = {}
        self.checkpoints: dict[str, bytes | None] = {}
        self.added = asyncio.Event()

    def add(self, count: int = 1, *, size: int = 0) -> list[Stored]:
        first = self.events[-1].position + 1 if self.events else 1
        events = [stored(position, size=size) for position in range(first, first + count)]
        self.events += events
        self.added.set()
        return events

    def depth(self, sink: str) -> int:
        return sum(event.position > self.positions.get(sink, 0) for event in self.events)

    async def read(self, sink: str, limit: int) -> list[Stored]:
        position = self.positions.get(sink, 0)
        return [event for event in self.events if event.position > position][:limit]

    async def wait(self, sink: str) -> None:
        while not self.depth(sink):
            self.added.clear()
            await self.added.wait()

    async def checkpoint(self, sink: str) -> bytes | None:
        return self.checkpoints.get(sink)

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        assert position >= self.positions.get(sink, 0), "a position went back"
        self.positions[sink] = position
        self.checkpoints[sink] = checkpoint


class InstantSleep:
    """A sleep that takes no time. `on_sleep` is called with the number of sleeps so far, and may change the world."""

    def __init__(self, on_sleep: Callable[[int], object] = lambda _: None) -> None:
        self.taken: list[float] = []
        self.on_sleep = on_sleep

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.on_sleep(len(self.taken))
        await asyncio.sleep(0)


PATIENCE = 30.0
"""Real seconds. Only a test that fails waits this long."""


async def until_readable(pipe: int) -> None:
    """Return when there are bytes to read in a pipe: a writer of more than the pipe holds is blocked from then on."""
    loop, written = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe, written.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await written.wait()
    finally:
        loop.remove_reader(pipe)


class Crash(BaseException):
    """The process dies here."""


class FaultyOs:
    """`os`, where `before` is called before each call that touches a file, with the call's name and arguments.

    It may raise, change files, return a number of bytes that a `write` or `pwrite` writes at most, or return an
    exception to be raised after the call.
    """

    CALLS = frozenset(
        {"open", "stat", "fstat", "pread", "write", "pwrite", "lseek", "ftruncate", "fdatasync", "scandir", "fsync"}
    )

    def __init__(self, before: Callable[..., int | BaseException | None]) -> None:
        self.before = before

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CALLS:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            effect = self.before(name, *args)
            if isinstance(effect, int) and name in {"write", "pwrite"}:
                fd, data, *rest = args
                return real(fd, bytes(data)[:effect], *rest)
            result = real(*args, **kwargs)
            if isinstance(effect, BaseException):
                raise effect
            return result

        return call
