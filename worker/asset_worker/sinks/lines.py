"""Events as lines on a stream: a pipe, a terminal, a device."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence

from asset_worker.domain.events import Stored


def encode(events: Sequence[Stored]) -> bytes:
    """One line for each event."""
    return b"".join([part for event in events for part in (event.body, b"\n")])


class LineStream:
    """Whole lines to a file descriptor that can't be read back.

    A write that fails may leave a partial line behind. It can't be taken back, so it is ended before anything follows
    it:
    the only broken line is the one that the failure cut.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._partial = False

    def write(self, events: Sequence[Stored]) -> int:
        """Write events, for as long as the reader takes; how many of the first were written whole.

        Raises:
            OSError: not even the first was.
        """
        ending = b"\n" if self._partial else b""
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
                self._partial = lines[done - 1] != ord("\n")
        return len(events)

    def _write(self, data: memoryview) -> int:
        while True:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                # Whoever shares this descriptor has made it non-blocking.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
                continue
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return written
