"""stdin: any pipe, terminal or file, read in a thread of its own.

An event loop can't read every stdin: it refuses a regular file, and hangs on /dev/null. A read in a thread works on
all.
"""

from __future__ import annotations

import os
import select
import uuid
from typing import Final

from asset_worker.domain.submissions import Batch, Rejection, Submission
from asset_worker.intake.lines import LINE_BYTES_LIMIT, Line, LineSplitter, parse, rejection
from asset_worker.intake.ports import BatchReceiver
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import WorkerThread

CHUNK_BYTES: Final = 64 * 1024
"""What a pipe holds: read at once, and no more is held than is being accepted."""
ORIGIN: Final = "stdin"


class StdinIntake:
    """Reads a descriptor to its end."""

    def __init__(self, descriptor: int, receiver: BatchReceiver, thread: WorkerThread) -> None:
        self._descriptor = descriptor
        self._receiver = receiver
        self._thread = thread
        self._run_id = uuid.uuid4().hex  # the same line of another run is another line
        self._line = 0

    async def run(self, stop: Stop) -> None:
        """Read until the input has ended, or the stop."""
        splitter = LineSplitter(0)
        try:
            while not stop.is_set():
                data = await stop.race(self._thread.run(self._read))
                if data is None:
                    return
                lines = splitter.feed(data) if data else [last for last in [splitter.finish()] if last]
                await self._accept(lines, stop)
                if not data:
                    return
        finally:
            self._thread.close()

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:  # another process that has the same pipe open made it so
                select.select([self._descriptor], [], [])
            except OSError:
                return b""  # closed, or a terminal that has gone: the input has ended

    async def _accept(self, lines: list[Line], stop: Stop) -> None:
        while lines:
            room = await stop.race(self._receiver.room())
            if room is None:
                return
            now, lines = lines[:room], lines[room:]
            submissions: list[Submission] = []
            rejections: list[Rejection] = []
            for line in now:
                found = self._parsed(line)
                if isinstance(found, Submission):
                    submissions.append(found)
                elif found is not None:
                    rejections.append(found)
            if submissions or rejections:
                await self._receiver.accept(Batch(submissions, rejections, ORIGIN, None))

    def _parsed(self, line: Line) -> Submission | Rejection | None:
        self._line += 1
        if line.too_long:
            return rejection(
                line.raw,
                f"a line holds {LINE_BYTES_LIMIT} bytes at most",
                origin=ORIGIN,
                line=self._line,
                stream=self._run_id,
                offset=line.offset,
            )
        return parse(line.raw, origin=ORIGIN, line=self._line, stream=self._run_id, offset=line.offset)
