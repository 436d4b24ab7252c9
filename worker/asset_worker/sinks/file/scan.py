"""Finds out what a file holds after a checkpoint: which events are there, and whether the last line is partial."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

CHUNK_BYTES = 1 << 18
LANDMARK_BYTES = 4096
"""How many bytes before the offset of a checkpoint are hashed."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A position in a file, by which the file can be recognised after a restart.

    The inode is not enough: the file system may reuse it, and a file may be truncated and grow past the offset again.
    So the bytes before the offset are hashed. The device number is left out, because it may change at each mount. The
    field names are stored in journals, as JSON: don't rename them.
    """

    inode: int
    offset: int
    """In bytes."""
    landmark: str
    """The hash of the last `LANDMARK_BYTES` before the offset."""

    @classmethod
    def at(cls, fd: int, offset: int) -> Checkpoint:
        """Return a checkpoint at `offset` in an open file.

        Raises:
            OSError: the file can't be read.
        """
        return cls(os.fstat(fd).st_ino, offset, _landmark(fd, offset))

    @classmethod
    def decode(cls, encoded: bytes | None) -> Checkpoint | None:
        """Return a recorded checkpoint; None: there is none, or another version recorded it.

        Without a checkpoint events may be repeated, but none is lost.
        """
        try:
            return None if encoded is None else msgspec.json.decode(encoded, type=cls)
        except msgspec.DecodeError:
            return None

    def encode(self) -> bytes:
        """Return the checkpoint as it is recorded; `decode` reads it."""
        return msgspec.json.encode(self)

    def matches(self, fd: int) -> bool:
        """Return whether an open file has the same bytes before the offset as when the checkpoint was made.

        Raises:
            OSError: the file can't be read.
        """
        return os.fstat(fd).st_size >= self.offset and _landmark(fd, self.offset) == self.landmark


def _landmark(fd: int, offset: int) -> str:
    length = min(offset, LANDMARK_BYTES)
    return blake2b(os.pread(fd, length, offset - length), digest_size=12).hexdigest()


class ScanResult(msgspec.Struct, frozen=True):
    """Which of the events are in a file. Offsets are in bytes."""

    count: int
    """How many events are there, from the first on, as whole lines and in order."""
    end: int
    """The offset after the last of these; if there are none, where the scan began."""
    partial: tuple[int, int] | None = None
    """The start and end of a partial last line that is the beginning of the next event; None: there is none."""
    starts: tuple[int, ...] = ()
    """Where each of the events begins."""


def scan(fd: int, start: int, bodies: Sequence[bytes]) -> ScanResult:
    """Look for events in an open file from offset `start` on, until all are found or the file ends.

    Other writers' lines may be between them. It needs memory for one chunk and the longest event.

    Raises:
        OSError: the file can't be read.
    """
    longest = max(map(len, bodies))
    count, end = 0, start
    line_start = position = start
    rest = b""
    starts: list[int] = []
    while chunk := os.pread(fd, CHUNK_BYTES, position):
        *parts, last = chunk.split(b"\n")
        for part in parts:
            begin, line_start = line_start, position + len(part) + 1
            position = line_start
            line, rest = rest + part, b""
            if line == bodies[count]:
                starts.append(begin)
                count, end = count + 1, line_start
                if count == len(bodies):
                    return ScanResult(count, end, starts=tuple(starts))
        position += len(last)
        rest = _cut(rest + last, longest)
    if position > line_start and bodies[count].startswith(_without_zeros(rest)):
        return ScanResult(count, end, (line_start, position), tuple(starts))
    return ScanResult(count, end, starts=tuple(starts))


def _cut(line: bytes, longest: int) -> bytes:
    """Return the beginning of a line, long enough to show that the line is not one of the events."""
    return line if len(line) <= longest else _without_zeros(line)[: longest + 1]


def _without_zeros(line: bytes) -> bytes:
    """Return the line without zero bytes at its end: a power failure may leave such bytes."""
    return line.rstrip(b"\0")
