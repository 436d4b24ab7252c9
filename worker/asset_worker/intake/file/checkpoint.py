"""Checkpoints: which files were being read, and how far; kept across restarts.

A name doesn't identify a file: files are renamed, copied and truncated, and replaced. An inode alone doesn't identify
it either: the file system may reuse it. So a file is recognised by its inode, together with hashes of its first bytes
and of the bytes before the position. Its device doesn't count: the number changes with a reboot or a new container.

The field names are stored in journals, as JSON: don't rename them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from asset_worker.intake.file.siblings import COMMON, SeenFile

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
    id: str = ""
    """Identifies the file in the keys of rejected lines. It stays when device or inode change. Empty: an earlier
    version stored the checkpoint, see `file_id`."""
    size: int = -1
    """The size of the file in bytes when it was last looked at; -1: not known."""
    mtime: int = 0
    """Its modification time then, in nanoseconds; 0: not known."""
    is_doubtful: bool = False
    """Whether a rotated file that can't be read has the inode: if that is another file, all of it is to be read."""
    start: str = COMMON
    """What `SeenFile.head` is to be once the checkpoint of a closed file is no longer kept. `COMMON`: it is not known,
    because the file is open, or an earlier version closed it."""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return (self.device, self.inode)

    @property
    def file_id(self) -> str:
        """The file's id. Earlier versions used device and inode."""
        return self.id or first_id(self.device, self.inode)

    @property
    def is_complete(self) -> bool:
        """Whether everything that was in the file had been read, or rejected as a partial line."""
        return self.size in {self.offset, self.rejected or self.offset}

    def seen(self) -> SeenFile:
        """Return the record of the closed file as one that is not to be read."""
        return SeenFile(self.inode, self.size, self.mtime, self.start)

    def matches(self, head: bytes, tail: bytes) -> bool:
        """Return whether the bytes at a file's beginning and before the position are those that were read."""
        return digest(head[: self.head_bytes]) == self.head and digest(tail[len(tail) - self.tail_bytes :]) == self.tail

    def is_restored(self, mtime: int) -> bool:
        """Return whether a file on another inode, in which the same bytes stand, is this one restored from a copy.

        Only then does it also have the modification time. If not, a producer may have written the same lines anew.
        """
        return bool(self.offset) and 0 != self.mtime == mtime


class FollowerState(msgspec.Struct, frozen=True):
    """The checkpoints of all files under one path."""

    files: tuple[Checkpoint, ...]
    """Of the files that are still being read, the oldest first, the current one last."""
    retired: tuple[Checkpoint, ...]
    """Of the files that were closed last, because they had been read to their end; the oldest first."""
    since: int
    """When names in the directory had last changed at the last look, by its modification time in nanoseconds: files
    that were rotated away later were also modified later. (Earlier versions: the latest time of any file, too.)"""
    version: int = 1
    seen: tuple[SeenFile, ...] | None = None
    """The files with names of rotated ones that are known and not to be read. None: an earlier version kept none."""
    path: str = ""
    """The path that was followed, which may be a symbolic link."""
    is_settled: bool = False
    """Whether all that was rotated before had been searched for."""


def first_id(device: int, inode: int) -> str:
    """Return the id of a file that was never seen before."""
    return f"{device}:{inode}"


def unused_id(wanted: str, used: set[str]) -> str:
    """Return `wanted`, or if other content already has it, because it was on the same inode, `wanted` and a number."""
    base, _, number = wanted.partition("+")
    count = int(number or 0)
    while wanted in used:
        count += 1
        wanted = f"{base}+{count}"
    return wanted


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
