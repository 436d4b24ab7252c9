"""Rows that stay below everything else that is written to one terminal: a live display.

Several threads write to a terminal: the log, progress, and events on standard output. `LineStream` has each of them
erase the rows, write its text, and draw them again, in one write. So no text is lost in the rows, or the rows in it.

The control sequences are those of ECMA-48 that every terminal knows but `dumb`. The cursor stays visible, on the line
below the rows: whatever ends the process, the shell goes on there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

ERASE_BELOW: Final = b"\x1b[J"
ERASE_LINE: Final = b"\x1b[2K"
CUT_LONG_LINES: Final = b"\x1b[?7l"
WRAP_LONG_LINES: Final = b"\x1b[?7h"
"""Some terminals draw a character wider than expected, and one may have become narrower just now. A row that is too
long must not take two lines (DECAWM)."""


class Row(msgspec.Struct, frozen=True):
    """One row, narrower than the terminal."""

    text: bytes
    """Without a newline."""
    width: int
    """In cells."""


class Footer:
    """The rows of one terminal, as they should be and as they are. Its users hold the terminal's lock."""

    def __init__(self) -> None:
        self.wanted: Sequence[Row] = ()
        """The rows to be shown from the next write on. Any thread may set them."""
        self._shown: Sequence[Row] = ()
        self._is_mid_line = False

    @property
    def is_used(self) -> bool:
        """Whether there are rows on the terminal, or will be after the next write."""
        return bool(self.wanted or self._shown)

    def forget(self) -> None:
        """Leave the rows where they are, as text: something else has written below them. Any thread may call it."""
        self._shown = ()

    def around(self, text: bytes, *, columns: int, reflows: bool) -> tuple[bytes, bytes]:
        """Return what to write before and after `text`, which may be empty.

        `columns` is the present width of the terminal. `reflows`: it wraps rows when it gets narrower.
        """
        shown, self._shown = self._shown, ()
        if text:
            self._is_mid_line = not text.endswith(b"\n")
        elif self._is_mid_line:  # whoever writes piece by piece goes on with this line
            return b"", b""
        before = _up(shown, columns=columns, reflows=reflows)
        if text and shown:
            before += ERASE_BELOW
        if self._is_mid_line:
            return before, b""
        self._shown = wanted = self.wanted
        after = b"".join(ERASE_LINE + row.text + b"\r\n" for row in wanted)
        if wanted:
            after = CUT_LONG_LINES + after + WRAP_LONG_LINES
        return before, after + (b"" if text or not shown else ERASE_BELOW)


def _up(rows: Sequence[Row], *, columns: int, reflows: bool) -> bytes:
    """Return what moves the cursor from below the rows to the beginning of the first one."""
    lines = sum(max(1, -(-row.width // max(1, columns))) if reflows else 1 for row in rows)
    return b"\r\x1b[%dA" % lines if lines else b""
