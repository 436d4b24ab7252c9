"""Which files were being read, and how far: what is kept across restarts.

Names don't identify a file: files are renamed, copied and truncated, and replaced. Nor does the inode alone, which the
file system gives to another file later. So a file is recognised by its device and inode together with hashes of its
first bytes and of the bytes before the position.

The field names are those of the JSON that journals hold.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

HEAD_BYTES: Final = 1024
"""At most this much of a file's beginning is hashed."""
TAIL_BYTES: Final = 256
"""At most this much before the position is hashed."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A position in one file, and what identifies that file."""

    device: int
    inode: int
    offset: int
    """The position, in bytes: all lines that end here or before have been read."""
    line: int
    """The number of those lines."""
    head_bytes: int
    """How many of the first bytes are hashed in `head`."""
    head: str
    tail_bytes: int
    """How many of the bytes before the position are hashed in `tail`."""
    tail: str
    rejected: int = 0
    """The file's size in bytes when the partial line at its end was rejected; 0 if none was."""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return (self.device, self.inode)

    def matches(self, head: bytes, tail: bytes) -> bool:
        """Whether a file that begins with `head`, and has `tail` before the position, has what was read."""
        return digest(head[: self.head_bytes]) == self.head and digest(tail[len(tail) - self.tail_bytes :]) == self.tail


class FollowerState(msgspec.Struct, frozen=True):
    """How far all files under one path have been read."""

    files: tuple[Checkpoint, ...]
    """Those still being read, from the oldest to the current one."""
    retired: tuple[Checkpoint, ...]
    """The latest of those that were read and closed for good, from the oldest."""
    since: int
    """A modification time, in nanoseconds. A file created after the last look was modified then or later."""
    version: int = 1


def digest(data: bytes) -> str:
    """The hash that checkpoints hold of a part of a file."""
    return blake2b(data, digest_size=16).hexdigest()


def encode(state: FollowerState) -> bytes:
    """The state as the position that a batch carries."""
    return msgspec.json.encode(state)


def decode(position: bytes | None) -> FollowerState | None:
    """The state in a stored position; None if there is none, or another version wrote it."""
    if position is None:
        return None
    try:
        state = msgspec.json.decode(position, type=FollowerState)
    except msgspec.DecodeError:
        return None
    return state if state.version == 1 else None
