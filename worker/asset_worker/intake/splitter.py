"""Splits bytes into lines, whatever the size of the chunks in which they come: pure."""

from __future__ import annotations

from typing import Final

import msgspec

from asset_worker.domain.submissions import RAW_BYTES_KEPT

LINE_BYTES_LIMIT: Final = 64 * 1024
"""The longest line, in bytes. The newline, carriage return and byte-order mark are not counted."""
_UNCOUNTED_BYTES: Final = 4
"""A carriage return and a byte-order mark."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A complete line, or the beginning of one that is too long."""

    raw: bytes
    """Without the newline."""
    offset: int
    """Where the line begins, in bytes."""
    end: int
    """Where the next line begins, in bytes."""
    too_long: bool = False
    """Whether the line is over the limit. If it is, `raw` has only its first `RAW_BYTES_KEPT` bytes."""


class LineSplitter:
    """Splits a stream of bytes into lines.

    Only the beginning of a line over the limit is kept, so that no line can fill the memory.
    """

    def __init__(self, offset: int) -> None:
        """`offset` is the position, in bytes, of the first byte that will be fed."""
        self.end = offset
        """The position at which the bytes fed so far end."""
        self._start = offset
        self._partial = b""
        self._too_long = False

    @property
    def partial(self) -> bytes:
        """The bytes of the last line so far: its newline has not come yet."""
        return self._partial

    @property
    def is_too_long(self) -> bool:
        """Whether the partial line is already over the limit. If it is, `partial` has only its beginning."""
        return self._too_long

    @property
    def partial_start(self) -> int:
        """Where the partial line begins, in bytes."""
        return self._start

    def feed(self, data: bytes) -> list[Line]:
        """Add `data`, and return the lines that end in it."""
        lines: list[Line] = []
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self.end += len(piece) + 1
            lines.append(self._close(piece))
        self.end += len(pieces[-1])
        self._keep(pieces[-1])
        return lines

    def finish(self) -> Line | None:
        """Return the partial line as a complete one, because the input has ended; None: there is none."""
        if not self._partial:
            return None
        return self._close(b"")

    def _close(self, piece: bytes) -> Line:
        self._keep(piece)
        line = Line(self._partial, self._start, self.end, self._too_long)
        self._start, self._partial, self._too_long = self.end, b"", False
        return line

    def _keep(self, piece: bytes) -> None:
        if self._too_long or len(self._partial) + len(piece) > LINE_BYTES_LIMIT + _UNCOUNTED_BYTES:
            self._partial = (self._partial + piece[:RAW_BYTES_KEPT])[:RAW_BYTES_KEPT]
            self._too_long = True
        else:
            self._partial = self._partial + piece if self._partial else piece
