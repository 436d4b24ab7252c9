"""Writes whole lines to a file descriptor that can't be read back: a pipe, a socket, a terminal, a device."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Sequence
from itertools import accumulate

from asset_worker.runtime.footer import Footer
from asset_worker.runtime.terminals import columns_of, reflows

_shared: dict[tuple[int, int], tuple[threading.Lock, Footer]] = {}


class LineStream:
    """Writes whole lines to a file descriptor. Writing blocks until the reader has room.

    A write that fails may leave a partial line behind, which can't be removed. A newline is written after it before
    anything else, so that no other line is broken. Streams of one process that lead to the same file (`2>&1`) take
    turns: a line of one never appears within a line of another. On a terminal, they share its footer.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock, self.footer = _shared_by_streams_to(fd)
        self._ends_in_partial_line = False

    def write(self, lines: Sequence[bytes]) -> int:
        """Write lines, which have their newlines, and return how many were written whole, from the first on.

        The footer is drawn again below them, also if there are no lines.

        Raises:
            OSError: not even the first line was written whole.
        """
        with self._lock:
            ending = b"\n" if self._ends_in_partial_line else b""
            text = ending + b"".join(lines)
            before, after = b"", b""
            if self.footer.is_used:
                before, after = self.footer.around(text, columns=columns_of(self._fd), reflows=reflows())
            data = memoryview(before + text + after)
            done = 0
            try:
                while done < len(data):
                    done += self._write(data[done:])
            except OSError:
                self.footer.forget()
                ends = accumulate(map(len, lines), initial=len(before) + len(ending))
                whole = sum(end <= done for end in ends) - 1
                if whole < 1:
                    raise
                return whole
            finally:
                if done:
                    self._ends_in_partial_line = done < len(data) and data[done - 1] != ord("\n")
            return len(lines)

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


def _shared_by_streams_to(fd: int) -> tuple[threading.Lock, Footer]:
    """Return the lock and the footer that all streams to the same file share."""
    try:
        status = os.fstat(fd)
    except OSError:
        return threading.Lock(), Footer()
    return _shared.setdefault((status.st_dev, status.st_ino), (threading.Lock(), Footer()))
