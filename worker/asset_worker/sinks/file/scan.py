"""What a file holds after a checkpoint: which of our events are there, and whether the last line is partial."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

CHUNK_BYTES = 1 << 18
LANDMARK_BYTES = 4096
"""How much before the offset of a checkpoint is hashed."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A position in a file that can be recognised after a restart.

    The inode is not enough: the file system gives it to a later file, and a file may be truncated and grow past the
    offset again. So the bytes before the offset are hashed. The device's number is left out, as it may change with each
    mount. The field names are those of the JSON that journals hold.
    """

    inode: int
    offset: int
    """In bytes."""
    landmark: str
    """The hash of the last `LANDMARK_BYTES` before the offset."""

    @classmethod
    def at(cls, fd: int, offset: int) -> Checkpoint:
        """A checkpoint in an open file.

        Raises:
            OSError: the file can't be read.
        """
        return cls(os.fstat(fd).st_ino, offset, _landmark(fd, offset))

    @classmethod
    def decode(cls, encoded: bytes | None) -> Checkpoint | None:
        """A recorded checkpoint; None if there is none, or another version recorded it.

        Without a checkpoint events may be repeated, but none is lost.
        """
        try:
            return None if encoded is None else msgspec.json.decode(encoded, type=cls)
        except msgspec.DecodeError:
            return None

    def encode(self) -> bytes:
        """As it is recorded."""
        return msgspec.json.encode(self)

    def matches(self, fd: int) -> bool:
        """Whether an open file still has, before the offset, the bytes that it had when the checkpoint was made.

        Raises:
            OSError: the file can't be read.
        """
        return os.fstat(fd).st_size >= self.offset and _landmark(fd, self.offset) == self.landmark


def _landmark(fd: int, offset: int) -> str:
    length = min(offset, LANDMARK_BYTES)
    return blake2b(os.pread(fd, length, offset - length), digest_size=12).hexdigest()


class ScanResult(msgspec.Struct, frozen=True):
    """Which events are in a file. Offsets are in bytes."""

    count: int
    """How many of the first events are there, as whole lines and in order."""
    end: int
    """The offset after the last of them; where the scan began if there are none."""
    partial: tuple[int, int] | None = None
    """The start and end of a partial line at the end of the file that is the beginning of the first missing event."""


def scan(fd: int, start: int, bodies: Sequence[bytes]) -> ScanResult:
    """Look for events in an open file from offset `start` on, until all are found or the file ends.

    Lines of other writers may be between them. Uses as much memory as a chunk and the longest event.

    Raises:
        OSError: the file can't be read.
    """
    longest = max(map(len, bodies))
    count, end = 0, start
    line_start = position = start
    rest = b""
    while chunk := os.pread(fd, CHUNK_BYTES, position):
        *parts, last = chunk.split(b"\n")
        for part in parts:
            line_start = position = position + len(part) + 1
            line, rest = rest + part, b""
            if line == bodies[count]:
                count, end = count + 1, line_start
                if count == len(bodies):
                    return ScanResult(count, end)
        position += len(last)
        rest = _cut(rest + last, longest)
    if position > line_start and bodies[count].startswith(_without_zeros(rest)):
        return ScanResult(count, end, (line_start, position))
    return ScanResult(count, end)


def _cut(line: bytes, longest: int) -> bytes:
    """The beginning of a line, long enough to show that the line is not one of our events."""
    return line if len(line) <= longest else _without_zeros(line)[: longest + 1]


def _without_zeros(line: bytes) -> bytes:
    """The line without zeros at its end, which a file system may leave there after a power failure."""
    return line.rstrip(b"\0")
