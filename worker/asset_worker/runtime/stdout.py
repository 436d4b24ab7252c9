"""Standard output of the process, for commands that print a report. As text, nothing in it controls a terminal.

What is written goes to the descriptor at once. So an error of a full disk or a closed pipe comes from the write that
it concerns, and nothing is left to be written at the end of the process.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.text_streams import VisibleText

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StdoutError(OSError):
    """Standard output can't be written."""


def write_stdout_unbuffered() -> None:
    """Replace `sys.stdout` for the rest of the process, unless it is closed. Its writes may raise `StdoutError`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = VisibleText(_Buffer(sys.stdout.fileno()), encoding=sys.stdout.encoding)


class _Buffer(io.BufferedIOBase):
    """The binary layer below `sys.stdout`."""

    name = "<stdout>"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stream = LineStream(descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        chunk = bytes(data)
        try:
            self._stream.write([chunk])
        except OSError as error:
            raise StdoutError(error.errno, error.strerror) from error
        return len(chunk)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)
