"""Reads a file descriptor of any kind in a thread, until it ends or another thread says that it is enough.

An event loop can't read every kind of stdin: it refuses a regular file, and hangs on /dev/null. A blocking read in a
thread works for all kinds. But it must not begin once the process is about to end: what it took from a pipe then would
be lost to the next reader. So the thread waits for data and for the stop at once, and reads only if there is data.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from contextlib import suppress
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
"""Bytes read at once at most: the size of a pipe."""


class DescriptorReader:
    """Reads one descriptor. `stop` may be called from any thread, everything else from one thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped, self._stopper = os.pipe()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(self._stopped, select.POLLIN)

    def stop(self) -> None:
        """Let `read` return None from now on, also one that waits."""
        with suppress(OSError):  # it is closed
            os.write(self._stopper, b"\0")

    def close(self) -> None:
        """Release what this object has opened. The descriptor itself stays open."""
        os.close(self._stopped)
        os.close(self._stopper)

    def read(self) -> bytes | None:
        """Wait for data and return it; empty: the input has ended; None: `stop` came first, and nothing was read.

        Raises:
            OSError: the descriptor can't be read. That is not its end.
        """
        if fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            raise OSError(errno.EBADF, "it is open for writing only")  # a pipe would be waited for without end
        while True:
            if self._stopped in self._ready():
                return None
            with suppress(BlockingIOError):  # another process that shares the pipe has taken the data
                return os.read(self._descriptor, CHUNK_BYTES)

    def read_rest_of_line(self, limit: int) -> tuple[bytes, bool]:
        """Return what is there already, up to a newline or `limit` bytes, and whether the input has ended.

        It does not wait, and takes nothing more.
        """
        rest = bytearray()
        with suppress(OSError):  # BlockingIOError included: nothing is there
            while len(rest) < limit and not rest.endswith(b"\n") and self._descriptor in self._ready(wait=False):
                if not (byte := os.read(self._descriptor, 1)):
                    return bytes(rest), True
                rest += byte
        return bytes(rest), False

    def _ready(self, *, wait: bool = True) -> set[int]:
        """Return the descriptors from which a read would return at once: data, the end or an error."""
        return {descriptor for descriptor, _ in self._poll.poll(None if wait else 0)}
