"""Checkpoints: which files were being read, and how far; kept across restarts.

A name doesn't identify a file: files are renamed, copied and truncated, and replaced. An inode alone doesn't identify
it either: the file system may reuse it. So a file is recognised by its device and inode, together with hashes of its
first bytes and of the bytes before the position.

The field names are stored in journals, as JSON: don't rename them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

HEAD_BYTES: Final = 1024
"""At most this many bytes at the beginning of a file are hashed."""
TAIL_BYTES: Final = 256
"""At most this many bytes before the position are hashed."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A position in one file, and what identifies that file."""

    device: int
    inode: int
    offset: int
    """The position, in bytes: all lines that end here or before have been read."""
    line: int
    """The number of those lines."""
    head_bytes: int
    """How many bytes from the beginning on are hashed in `head`."""
    head: str
    tail_bytes: int
    """How many of the bytes before the position are hashed in `tail`."""
    tail: str
    rejected: int = 0
    """The size of the file in bytes when the partial line at its end was rejected; 0: none was."""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return (self.device, self.inode)

    def matches(self, head: bytes, tail: bytes) -> bool:
        """Return whether the bytes at a file's beginning and before the position are those that were read."""
        return digest(head[: self.head_bytes]) == self.head and digest(tail[len(tail) - self.tail_bytes :]) == self.tail


class FollowerState(msgspec.Struct, frozen=True):
    """The checkpoints of all files under one path."""

    files: tuple[Checkpoint, ...]
    """Of the files that are still being read, the oldest first, the current one last."""
    retired: tuple[Checkpoint, ...]
    """Of the files that were closed last, because they had been read to their end; the oldest first."""
    since: int
    """A modification time, in nanoseconds: files created after the last look were modified at this time or later."""
    version: int = 1


def digest(data: bytes) -> str:
    """Return the hash of a part of a file, as checkpoints hold it."""
    return blake2b(data, digest_size=16).hexdigest()


def encode(state: FollowerState) -> bytes:
    """Return the state as bytes, for `Batch.position`."""
    return msgspec.json.encode(state)


def decode(position: bytes | None) -> FollowerState | None:
    """Return the state in a stored position; None: there is none, or it can't be read by this version."""
    if position is None:
        return None
    try:
        state = msgspec.json.decode(position, type=FollowerState)
    except msgspec.DecodeError:
        return None
    return state if state.version == 1 else None
