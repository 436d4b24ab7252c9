"""The intake of stdin, which may be a pipe, a terminal or a file; it is read in a thread of its own.

An event loop can't read every kind of stdin: it refuses a regular file, and hangs on /dev/null. A blocking read in a
thread works for all kinds.
"""

from __future__ import annotations

import os
import select
import uuid
from pathlib import Path
from typing import Final

from asset_worker.domain.submissions import Batch
from asset_worker.intake.lines import parse_lines
from asset_worker.intake.ports import BatchReceiver, IntakeContext
from asset_worker.intake.splitter import Line, LineSplitter, count_newlines
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread, WorkerThread

CHUNK_BYTES: Final = 64 * 1024
"""Bytes read at once at most: the size of a pipe. The next chunk is read when this one has been accepted."""
ORIGIN: Final = "stdin"


class StdinIntake:
    """Reads a file descriptor to its end. It keeps no position, because a pipe can't be read again."""

    name: Final = "stdin"
    unreadable: Final = None
    """Always None: a descriptor that can't be read counts as ended."""

    def __init__(self, descriptor: int, receiver: BatchReceiver, thread: WorkerThread) -> None:
        self._descriptor = descriptor
        self._receiver = receiver
        self._thread = thread
        self._run_id = uuid.uuid4().hex  # a line of another run is another line, even with the same text
        self._next_line = 1

    async def run(self, stop: Stop) -> None:
        """Read until the input ends or `stop` is set."""
        splitter = LineSplitter(0)
        try:
            while not stop.is_set():
                data = await stop.race(self._thread.run(self._read))
                if data is None:
                    return
                lines = splitter.feed(data) if data else splitter.finish()
                await self._accept(lines, stop)
                if not data:
                    return
        finally:
            self._thread.close()

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:  # another process that shares the pipe has made it non-blocking
                select.select([self._descriptor], [], [])
            except OSError:
                return b""  # closed, or the terminal is gone: the input has ended

    async def _accept(self, lines: list[Line], stop: Stop) -> None:
        while lines:
            room = await stop.race(self._receiver.room())
            if room is None:
                return
            now, lines = lines[:room], lines[room:]
            parsed = parse_lines(now, first=self._next_line, origin=ORIGIN, stream=self._run_id)
            self._next_line += count_newlines(now)
            if parsed.submissions or parsed.rejections or parsed.zeros:
                await self._receiver.accept(Batch(parsed.submissions, parsed.rejections, ORIGIN, None, parsed.zeros))


def open_intake(_source: Path | str, context: IntakeContext) -> StdinIntake:
    """Return an intake that reads standard input, with a thread of its own."""
    return StdinIntake(0, context.receiver, DaemonThread("stdin"))
