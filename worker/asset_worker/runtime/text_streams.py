"""Standard output and standard error as streams of text for people: what a terminal would obey, they show as escapes.

That holds for everything that is written to them as text: the interpreter's tracebacks, warnings and click's messages,
too, which repeat arguments as they are. Output for programs is written as bytes, which pass as they are.
"""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING

from asset_worker.runtime.text import visible_lines

if TYPE_CHECKING:
    from _io import _WrappedBuffer


class VisibleText(io.TextIOWrapper):
    """A text stream that shows control characters as escapes, except newlines and tabs."""

    def __init__(self, buffer: _WrappedBuffer, *, encoding: str | None) -> None:
        """`encoding` may lack characters: these are shown as escapes as well, and never end the command."""
        if encoding is not None and codecs.lookup(encoding).name == "ascii":
            encoding = "utf-8"  # as click does, which otherwise replaces this stream by one of its own
        super().__init__(buffer, encoding=encoding, errors="backslashreplace", newline="\n", write_through=True)

    def write(self, text: str, /) -> int:
        """Write `text`. Return its length."""
        super().write(visible_lines(text))
        return len(text)
