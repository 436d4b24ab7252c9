"""Bytes to lines, however the bytes are cut into chunks: pure."""

from __future__ import annotations

from typing import Final

import msgspec

from asset_worker.domain.submissions import RAW_BYTES_KEPT

LINE_BYTES_LIMIT: Final = 64 * 1024
"""The longest line, in bytes. Its newline, carriage return and byte-order mark are not counted."""
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
    """Then `raw` is its first `RAW_BYTES_KEPT` bytes."""


class LineSplitter:
    """Splits a stream of bytes into lines.

    Of a line over the limit only the beginning is kept, so that no line can fill the memory.
    """

    def __init__(self, offset: int) -> None:
        """`offset` is the position of the first byte that is fed."""
        self.end = offset
        """Where the bytes fed so far end."""
        self._start = offset
        self._partial = b""
        self._too_long = False

    @property
    def partial(self) -> bytes:
        """The bytes of the last line so far: its newline has not come yet."""
        return self._partial

    @property
    def is_too_long(self) -> bool:
        """Whether the partial line is over the limit already: then `partial` is its beginning only."""
        return self._too_long

    @property
    def partial_start(self) -> int:
        """Where the partial line begins, in bytes."""
        return self._start

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in `data`."""
        lines: list[Line] = []
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self.end += len(piece) + 1
            lines.append(self._close(piece))
        self.end += len(pieces[-1])
        self._keep(pieces[-1])
        return lines

    def finish(self) -> Line | None:
        """The partial line taken as a whole one, for when the input has ended; None if there is none."""
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
