"""Standard error of the process: everything that is written to `sys.stderr` goes through one background writer.

That is the log, progress, the errors of commands and the interpreter's own tracebacks. So none of them can block the
event loop, or the end of the process. And none of them can make a terminal obey what comes from outside (`VisibleText`)
except what is written to `styled_stderr`.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from asset_worker.runtime.background import DRAIN_SECONDS, BackgroundWriter
from asset_worker.runtime.footer import Row
from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.text_streams import VisibleText

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_writer: BackgroundWriter | None = None
_styled: TextIO | None = None


def write_stderr_in_background() -> None:
    """Replace `sys.stderr` for the rest of the process. At a normal end, what was written is drained."""
    global _writer, _styled  # noqa: PLW0603 - there is one standard error in a process, as `sys.stderr` is
    _writer = BackgroundWriter(LineStream(2))
    buffer = _Buffer(2, _writer)
    sys.stderr = VisibleText(buffer, encoding=getattr(sys.stderr, "encoding", None))
    _styled = io.TextIOWrapper(
        buffer, encoding=sys.stderr.encoding, errors="backslashreplace", newline="\n", write_through=True
    )
    # From 3.13 on, Python colours tracebacks on a terminal: the codes would be shown as escapes.
    os.environ["PYTHON_COLORS"] = "0"
    atexit.register(drain_stderr)


def styled_stderr() -> TextIO:
    """Return standard error for text with control sequences of our own: a log in colours.

    Everything in it that comes from outside must have passed `text.visible`.
    """
    # Tests replace `sys.stderr`.
    return _styled if _styled is not None and isinstance(sys.stderr, VisibleText) else sys.stderr


def drain_stderr(*, longest: float = DRAIN_SECONDS) -> None:
    """Wait until standard error has taken everything, for `longest` seconds at most, and only while it is read."""
    if _writer is not None:
        _writer.drain(longest=longest)


def is_stderr_behind() -> bool:
    """Return whether standard error has not taken everything yet that was written to it."""
    return _writer is not None and _writer.is_behind


def show_below(rows: Sequence[Row]) -> None:
    """Show these rows below everything that is written to the terminal of standard error, in place of earlier ones."""
    if _writer is not None:
        _writer.show_below(rows)


def forget_rows() -> None:
    """Leave the rows that are shown where they are: something else has written below them."""
    if _writer is not None:
        _writer.forget_rows()


def report_dropped_lines(report: Callable[[int], None]) -> None:
    """Call `report`, in a thread, with the number of lines that were dropped, once standard error is read again."""
    if _writer is not None:
        _writer.report_dropped = report


class _Buffer(io.BufferedIOBase):
    """The binary layer below `sys.stderr`: passes everything to the writer at once."""

    name = "<stderr>"

    def __init__(self, descriptor: int, writer: BackgroundWriter) -> None:
        self._descriptor = descriptor
        self._writer = writer

    def write(self, data: ReadableBuffer, /) -> int:
        chunk = bytes(data)
        self._writer.write(chunk)
        return len(chunk)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)
