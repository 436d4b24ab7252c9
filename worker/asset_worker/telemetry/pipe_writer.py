"""A pipe to write log lines into, whose reader may have stopped reading.

A write into a full pipe blocks, and with it would all of the worker: a log collector that hangs must cost log lines,
not completions. So it is waited for a moment, once; then lines are dropped, and counted, until the pipe takes them.
"""

from __future__ import annotations

import os
import select
import stat
from typing import Final

PATIENCE_SECONDS: Final = 1.0
"""A reader that is alive has made room by then."""
ATOMIC_BYTES: Final = select.PIPE_BUF
"""A pipe that is writable at all takes so many at once (POSIX, `write`)."""


class PipeWriter:
    """Lines into a descriptor."""

    def __init__(self, descriptor: int, *, patience: float = PATIENCE_SECONDS) -> None:
        """`patience` is in seconds."""
        self._descriptor = descriptor
        self._patience = patience
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.is_stalled = False
        """The reader has stopped reading."""
        self._is_torn = False
        self.dropped = 0
        """Lines dropped since this was last set to 0."""

    def write(self, line: str) -> None:
        """Write a line, or drop it.

        Raises:
            OSError: nobody reads any more.
        """
        begun = False
        data = memoryview(f"{chr(10) if self._is_torn else ''}{line}\n".encode(errors="backslashreplace"))
        while data:
            if not self._has_room():
                self.dropped += 1
                self._is_torn |= begun
                return
            data = data[os.write(self._descriptor, data[:ATOMIC_BYTES]) :]
            begun = True
        self._is_torn = False

    def _has_room(self) -> bool:
        self.is_stalled = not self._poll.poll(0 if self.is_stalled else self._patience * 1000)
        return not self.is_stalled


def is_pipe(descriptor: int) -> bool:
    """Whether a write into a descriptor waits for a reader."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
