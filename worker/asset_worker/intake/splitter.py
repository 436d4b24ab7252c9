"""Splits bytes into lines, whatever the size of the chunks in which they come: pure.

A run of NUL bytes ("zeros") is no text: a power failure leaves them where data was lost, and `copytruncate` leaves them
before the next line of a writer that does not append. So they end the text before them, which is probably cut, and the
line after them begins behind them. UTF-16 text also has NUL bytes, one at each ASCII character; such a line is kept
whole, so that its rejection can say what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

LINE_BYTES_LIMIT: Final = 64 * 1024
"""The longest line, in bytes. The newline, carriage return and byte-order mark are not counted."""
LONG_LINE_KEPT: Final = 16 * 1024
"""Bytes that are kept of the beginning of a line over the limit, and of its end. They are many more than an event
shows, because secrets are redacted before the line is cut for the event, which makes it shorter."""
_UNCOUNTED_BYTES: Final = 4
"""A carriage return and a byte-order mark."""
_LONG_RUN: Final = 4
"""Zeros that UTF-16 text does not have in a row. A shorter run is kept until the whole line shows what it is."""

_NUL: Final = b"\0"
_LONG_RUNS: Final = re.compile(rb"(\0{%d,})" % _LONG_RUN)
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class Line(msgspec.Struct, frozen=True, gc=False):
    """A complete line; or the part of it before zeros; or the ends of one that is too long."""

    raw: bytes
    """Without the newline, and without zeros."""
    offset: int
    """Where the line begins, in bytes."""
    end: int
    """Where the next line begins, in bytes."""
    zeros: int = 0
    """How many zeros end it; 0: a newline does, or nothing."""
    tail: bytes | None = None
    """The last bytes of a line over the limit, of which `raw` then has only the first ones, each `LONG_LINE_KEPT` at
    most; None: `raw` is the whole line."""

    unterminated: bool = False
    """Whether the end of the input ends it: its newline has not come."""

    @property
    def too_long(self) -> bool:
        """Whether the line is over the limit."""
        return self.tail is not None


class LineSplitter:
    """Splits a stream of bytes into lines.

    Of a line over the limit only both ends are kept, and zeros are only counted, so that no line can fill the memory.
    """

    def __init__(self, offset: int) -> None:
        """`offset` is the position, in bytes, of the first byte that will be fed."""
        self.end = offset
        """The position at which the bytes fed so far end."""
        self._start = offset
        self._partial = b""
        self._tail: bytes | None = None
        self._zeros = 0

    @property
    def partial(self) -> list[Line]:
        """The last line so far, whose newline has not come yet, divided at zeros; empty: there is none."""
        short = self._zeros < _LONG_RUN
        raw = self._partial + bytes(self._zeros) if short else self._partial
        zeros = 0 if short else self._zeros
        parts = _parts(Line(raw, self._start, self.end, zeros, self._tail, unterminated=not zeros))
        return [part for part in parts if part.raw or part.zeros]

    @property
    def partial_start(self) -> int:
        """Where the partial line begins, in bytes."""
        return self._start

    @property
    def zeros(self) -> int:
        """The number of zeros at the end of the bytes fed so far."""
        return self._zeros

    def feed(self, data: bytes) -> list[Line]:
        """Add `data`, and return the lines that end in it."""
        lines: list[Line] = []
        if not self._zeros and _NUL not in self._partial and _NUL not in data:
            pieces = data.split(b"\n")
            for piece in pieces[:-1]:
                self._keep(piece)
                self.end += len(piece) + 1
                lines.append(self._close())
            self._keep(pieces[-1])
            self.end += len(pieces[-1])
        elif data == bytes(len(data)):
            self.skip_zeros(len(data))
        else:
            self._feed_with_zeros(data, lines)
        return lines

    def skip_zeros(self, count: int) -> None:
        """Add `count` zeros."""
        self._zeros += count
        self.end += count

    def finish(self) -> list[Line]:
        """Return the partial line as a complete one, because the input has ended; empty: there is none."""
        lines = self.partial
        self._begin()
        return lines

    def _feed_with_zeros(self, data: bytes, lines: list[Line]) -> None:
        pieces = data.split(b"\n")
        for number, piece in enumerate(pieces, start=1):
            rest = piece.lstrip(_NUL)
            self.skip_zeros(len(piece) - len(rest))
            text = rest.rstrip(_NUL)
            for part in filter(None, _LONG_RUNS.split(text)):
                if part.startswith(_NUL):
                    self.skip_zeros(len(part))
                else:
                    self._end_zeros(lines)
                    self._keep(part)
                    self.end += len(part)
            self.skip_zeros(len(rest) - len(text))
            if number < len(pieces):
                self._end_zeros(lines)
                self.end += 1
                lines += _parts(self._close())

    def _end_zeros(self, lines: list[Line]) -> None:
        """Close what stands before a long run of zeros, and the run; a short run becomes a part of the line."""
        zeros, self._zeros = self._zeros, 0
        if zeros >= _LONG_RUN:
            lines.append(Line(self._partial, self._start, self.end, zeros, self._tail))
            self._begin()
        elif zeros:
            self._keep(bytes(zeros))

    def _close(self) -> Line:
        line = Line(self._partial, self._start, self.end, 0, self._tail)
        self._begin()
        return line

    def _begin(self) -> None:
        self._start, self._partial, self._tail, self._zeros = self.end, b"", None, 0

    def _keep(self, piece: bytes) -> None:
        if self._tail is not None:
            self._tail = (self._tail + piece)[-LONG_LINE_KEPT:]
        elif len(self._partial) + len(piece) > LINE_BYTES_LIMIT + _UNCOUNTED_BYTES:
            whole = self._partial + piece
            self._partial, self._tail = whole[:LONG_LINE_KEPT], whole[-LONG_LINE_KEPT:]
        else:
            self._partial = self._partial + piece if self._partial else piece


def is_utf16(raw: bytes) -> bool:
    """Return whether a line is a piece of UTF-16 text, split at the byte of its newlines.

    It has a byte-order mark; or several NUL bytes, nearly all at every other place, as letters and digits have.
    """
    if raw.startswith(_UTF16_MARKS):
        return True
    nuls = raw.count(_NUL)
    at_even = raw[::2].count(_NUL)
    return nuls > 1 and (nuls > 8 or 3 * nuls >= len(raw)) and 8 * min(at_even, nuls - at_even) <= nuls


def utf16_as_utf8(raw: bytes) -> bytes:
    """Return a piece of UTF-16 text for people: all that is ASCII in it is right, in either byte order."""
    return raw[2 * raw.startswith(_UTF16_MARKS) :].replace(_NUL, b"")


def count_newlines(lines: Iterable[Line]) -> int:
    """Return how many of the lines end in a newline, or at the end of the input: as many as an editor shows."""
    return sum(not line.zeros for line in lines)


def _parts(line: Line) -> list[Line]:
    """Divide a line at its last zeros, if it has any: what is before them is cut, what follows is the line."""
    last = line.raw.rfind(_NUL) + 1
    if not last or line.zeros or line.too_long or is_utf16(line.raw):
        return [line]
    before, behind = line.raw[:last].rstrip(_NUL), line.raw[last:]
    if not behind and last == 1:  # it belongs to the newline before, which was one of UTF-16
        return [Line(b"", line.offset, line.end)]
    divided = line.offset + last
    return [
        Line(before, line.offset, divided, last - len(before)),
        Line(behind, divided, line.end, unterminated=line.unterminated),
    ]
