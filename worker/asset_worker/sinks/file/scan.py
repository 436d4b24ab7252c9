"""What a file of lines holds after a mark: which of our events came through, and whether the last line is partial."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

CHUNK_BYTES = 1 << 18
LANDMARK_BYTES = 4096


class Checkpoint(msgspec.Struct, frozen=True):
    """A place in a file, recognised again after a restart.

    The inode alone doesn't do: it is given anew to the next file, and a file may be truncated and grow past the offset
    again. What lies before the offset tells. The device's number is left out: it may change with each mount.
    """

    inode: int
    offset: int
    landmark: str
    """Digest of the last `LANDMARK_BYTES` before the offset."""

    @classmethod
    def at(cls, fd: int, offset: int) -> Checkpoint:
        return cls(os.fstat(fd).st_ino, offset, _landmark(fd, offset))

    @classmethod
    def decode(cls, encoded: bytes | None) -> Checkpoint | None:
        """None also for what another version recorded: it costs a repeat, not an event."""
        try:
            return None if encoded is None else msgspec.json.decode(encoded, type=cls)
        except msgspec.DecodeError:
            return None

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    def matches(self, fd: int) -> bool:
        """Whether the file still holds, before the offset, what it held when the mark was made."""
        return os.fstat(fd).st_size >= self.offset and _landmark(fd, self.offset) == self.landmark


def _landmark(fd: int, offset: int) -> str:
    length = min(offset, LANDMARK_BYTES)
    return blake2b(os.pread(fd, length, offset - length), digest_size=12).hexdigest()


class Found(msgspec.Struct, frozen=True):
    """What a scan found."""

    count: int
    """How many of the first events are there, as whole lines and in order."""
    end: int
    """The offset after the last of them; where the scan began when there is none."""
    partial: tuple[int, int] | None = None
    """From and to which offset the first event that is missing stands there in part, at the end of the file."""


def scan(fd: int, start: int, bodies: Sequence[bytes]) -> Found:
    """Look for events from offset `start` on; it ends with the file, or when all are found.

    Lines of other writers may stand between them. Memory is bounded by a chunk and the longest event.
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
                    return Found(count, end)
        position += len(last)
        rest = _cut(rest + last, longest)
    if position > line_start and bodies[count].startswith(_without_zeros(rest)):
        return Found(count, end, (line_start, position))
    return Found(count, end)


def _cut(line: bytes, longest: int) -> bytes:
    """As much of a line as it takes to tell that it is none of ours."""
    return line if len(line) <= longest else _without_zeros(line)[: longest + 1]


def _without_zeros(line: bytes) -> bytes:
    """A file system may leave zeros where the end of a line was to come, when the power fails."""
    return line.rstrip(b"\0")
