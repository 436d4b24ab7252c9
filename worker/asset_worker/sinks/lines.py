"""Writes events as lines to a stream: a pipe, a terminal, a device."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence

from asset_worker.domain.events import Stored


def encode(events: Sequence[Stored]) -> bytes:
    """Return the events' bodies, each as one line."""
    return b"".join([part for event in events for part in (event.body, b"\n")])


class LineStream:
    """Writes whole lines to a file descriptor that can't be read back.

    A write that fails may leave a partial line behind, which can't be removed. A newline is written after it before
    anything else, so that no other line is broken.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ends_in_partial_line = False

    def write(self, events: Sequence[Stored]) -> int:
        """Write events, and return how many were written whole, from the first on. Blocks until the reader has room.

        Raises:
            OSError: not even the first event was written whole.
        """
        ending = b"\n" if self._ends_in_partial_line else b""
        lines = memoryview(ending + encode(events))
        done = 0
        try:
            while done < len(lines):
                done += self._write(lines[done:])
        except OSError:
            whole = lines[:done].tobytes().count(b"\n") - len(ending)
            if whole < 1:
                raise
            return whole
        finally:
            if done:
                self._ends_in_partial_line = lines[done - 1] != ord("\n")
        return len(events)

    def _write(self, data: memoryview) -> int:
        while True:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                # Another process that shares this file description has made it non-blocking.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
                continue
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return written
