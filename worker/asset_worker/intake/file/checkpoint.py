"""How far the following of a file has come: which files, told by what they are and not by their names.

A name says nothing: files are rotated, copied and truncated, replaced, and their inode numbers are used again. A file
is told by its device and inode, a hash of its first bytes, and a hash of the bytes before the position.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

HEAD_BYTES: Final = 1024
TAIL_BYTES: Final = 256


class Checkpoint(msgspec.Struct, frozen=True):
    """A position in one file, and what tells that file."""

    device: int
    inode: int
    offset: int
    """All lines that end here or before have been read, in bytes."""
    line: int
    """How many lines that is."""
    head_bytes: int
    """How many of the first bytes were read when `head` was made: 1 KiB at the most."""
    head: str
    tail_bytes: int
    tail: str
    """A hash of the bytes just before the position."""
    rejected: int = 0
    """Where the file ended when the partial line behind the position was rejected, in bytes; 0: none was."""

    @property
    def identity(self) -> tuple[int, int]:
        return (self.device, self.inode)

    def matches(self, head: bytes, tail: bytes) -> bool:
        """Whether content is what was read: its beginning, and what stands before the position, both in full."""
        return digest(head[: self.head_bytes]) == self.head and digest(tail[len(tail) - self.tail_bytes :]) == self.tail


class FollowerState(msgspec.Struct, frozen=True):
    """How far all files under one path have been read."""

    files: tuple[Checkpoint, ...]
    """Those still being read, from the oldest to the current one."""
    retired: tuple[Checkpoint, ...]
    """The last ones that were let go."""
    since: int
    """Any file that was made after the last look was written then or later: a modification time, in nanoseconds."""
    version: int = 1


def digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def encode(cursor: FollowerState) -> bytes:
    return msgspec.json.encode(cursor)


def decode(position: bytes | None) -> FollowerState | None:
    """The cursor in a kept position; None: there is none, or it can't be read, and reading starts anew."""
    if position is None:
        return None
    try:
        cursor = msgspec.json.decode(position, type=FollowerState)
    except msgspec.DecodeError:
        return None
    return cursor if cursor.version == 1 else None
