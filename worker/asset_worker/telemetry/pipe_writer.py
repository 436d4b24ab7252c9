"""Writes log lines into a pipe whose reader may have stopped reading.

A write into a full pipe blocks, and would block the whole worker. A log collector that hangs may cost log lines, but
must not cost completions. So the writer waits for the reader once, briefly; then it drops and counts lines until the
pipe has room again.
"""

from __future__ import annotations

import os
import select
import stat
from typing import Final

STALL_SECONDS: Final = 1.0
"""A reader that makes no room in the pipe for this long has stopped reading."""
ATOMIC_BYTES: Final = select.PIPE_BUF
"""A pipe that poll() reports as writable takes this many bytes without blocking (POSIX, `write`)."""


class PipeWriter:
    """Writes lines to the descriptor of a pipe or socket."""

    def __init__(self, descriptor: int, *, timeout: float = STALL_SECONDS) -> None:
        """`timeout` is how long the first write into a full pipe waits for room, in seconds."""
        self._descriptor = descriptor
        self._timeout = timeout
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.is_stalled = False
        """Whether the reader has stopped reading."""
        self._is_partial = False  # the last line written has no newline
        self.dropped = 0
        """Lines dropped since this was last set to 0."""

    def write(self, line: str) -> None:
        """Write a line, or drop it when the pipe has no room.

        Raises:
            OSError: the reader has closed the pipe.
        """
        begun = False
        data = memoryview(f"{chr(10) if self._is_partial else ''}{line}\n".encode(errors="backslashreplace"))
        while data:
            if not self._has_room():
                self.dropped += 1
                self._is_partial |= begun
                return
            data = data[os.write(self._descriptor, data[:ATOMIC_BYTES]) :]
            begun = True
        self._is_partial = False

    def _has_room(self) -> bool:
        self.is_stalled = not self._poll.poll(0 if self.is_stalled else self._timeout * 1000)
        return not self.is_stalled


def is_pipe(descriptor: int) -> bool:
    """Return whether the descriptor is a pipe or socket, to which a write can block until somebody reads."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
