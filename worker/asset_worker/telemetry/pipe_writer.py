"""Writes log lines into a pipe whose reader may have stopped reading.

A write into a full pipe blocks, and would block the whole worker. A log collector that hangs must cost log lines, not
completions. So the writer waits for the reader once, for a moment; then it drops and counts lines until the pipe has
room again.
"""

from __future__ import annotations

import os
import select
import stat
from typing import Final

PATIENCE_SECONDS: Final = 1.0
"""A reader that works makes room within this time."""
ATOMIC_BYTES: Final = select.PIPE_BUF
"""A pipe that poll() reports as writable takes this many bytes without blocking (POSIX, `write`)."""


class PipeWriter:
    """Writes lines to the descriptor of a pipe or socket."""

    def __init__(self, descriptor: int, *, patience: float = PATIENCE_SECONDS) -> None:
        """`patience`: seconds to wait for a reader that has stopped, once."""
        self._descriptor = descriptor
        self._patience = patience
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.is_stalled = False
        """The reader has stopped reading."""
        self._is_partial = False  # the last line that was written has no end
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
        self.is_stalled = not self._poll.poll(0 if self.is_stalled else self._patience * 1000)
        return not self.is_stalled


def is_pipe(descriptor: int) -> bool:
    """Return whether a write to the descriptor can block until a reader reads."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
