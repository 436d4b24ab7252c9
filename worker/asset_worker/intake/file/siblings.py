"""What a file beside the path is: a rotated queue file to be read, or one that is not: pure.

A file that was rotated away was at the path before. So it is one only if the name of the queue file has meanwhile come
to another file, or its content was truncated; if neither has happened, the files beside it are not its own. Among those
that appeared while it can't be excluded, names and modification times decide. These come from the clock of the file
system, which may have been set back, or be wrong at a start: so the files that are no rotated ones are remembered.
"""

from __future__ import annotations

from enum import Enum, auto
from hashlib import blake2b
from typing import Final

import msgspec

from asset_worker.intake.lines import holds_lines

SEEN_KEPT: Final = 128
"""How many files are remembered, those that were modified last. Those before them are recognised by their order."""
SEEN_HEAD_BYTES: Final = 256
"""At most this many bytes at the beginning of such a file are hashed."""


_UNREAD: Final = ""
COMMON: Final = "-"
"""See `SeenFile.head`."""


class Kind(Enum):
    """What a file beside the path is."""

    KNOWN = auto()
    """It was there before, and is not to be read."""
    HISTORY = auto()
    """It was rotated away before anything was read here."""
    FOREIGN = auto()
    """It can't have been at the path."""
    ROTATED = auto()
    """It was at the path, and has not been read."""
    COMPRESSED = auto()
    """It was at the path, and was compressed since."""
    DOUBTFUL = auto()
    """It has the name of a rotated file, and appeared together with rotated files, but is older than the last look."""


class SeenFile(msgspec.Struct, frozen=True, array_like=True):
    """A file with the name of a rotated one that is known and not to be read."""

    inode: int
    size: int
    mtime: int
    """Its modification time in nanoseconds."""
    head: str
    """The hash of its first bytes. `_UNREAD`: they could not be read. `COMMON`: they have no line, and so don't show
    that a longer file is this one."""

    @property
    def order(self) -> tuple[int, int]:
        """When it was modified, and its inode: files that are made at once often have the same time."""
        return self.mtime, self.inode

    def is_unchanged(self, size: int, mtime: int) -> bool:
        """Return whether a file on this inode, with this size and time, is the same as before."""
        return (size, mtime) == (self.size, self.mtime)

    def is_continued_by(self, size: int, mtime: int, head: bytes | None) -> bool:
        """Return whether a file on this inode is this one, which has grown. Otherwise the inode was reused.

        `head` are its first `SEEN_HEAD_BYTES`; None: they can't be read.
        """
        if self.is_unchanged(size, mtime):
            return True
        if size < self.size:
            return False
        if head is None or self.head == _UNREAD:
            return mtime >= self.mtime
        return self.size > 0 and hash_of_head(head[: self.size]) == self.head


def seen_file(inode: int, size: int, mtime: int, head: bytes | None) -> SeenFile:
    """Return the record of a file that is not to be read. `head`: see `SeenFile.is_continued_by`."""
    if head is None:
        return SeenFile(inode, size, mtime, _UNREAD)
    is_common = size <= SEEN_HEAD_BYTES and not holds_lines(head)
    return SeenFile(inode, size, mtime, COMMON if is_common else hash_of_head(head[:size]))


def hash_of_head(head: bytes) -> str:
    """Return the hash of a file's first bytes, as `SeenFile` holds it."""
    return blake2b(head[:SEEN_HEAD_BYTES], digest_size=8).hexdigest()


def latest(files: list[SeenFile]) -> tuple[SeenFile, ...]:
    """Return the `SEEN_KEPT` files that were modified last."""
    return tuple(sorted(files, key=lambda file: file.order)[-SEEN_KEPT:])


class Times(msgspec.Struct, frozen=True):
    """What the clock of the file system said, in nanoseconds."""

    since: int | None
    """`FollowerState.since`; None: this is the first look of all."""
    has_stepped_back: bool
    """Whether what changed after `since` shows an earlier time."""

    def may_be_later(self, mtime: int, ctime: int) -> bool:
        """Return whether a file that was never seen before was written after the last look.

        A file that was there by then would have been seen. So where its inode was changed earlier than that, or where
        the clock is known to have been set back, its times don't show when it was written.
        """
        if self.since is None:
            return False
        if mtime >= self.since:
            return True
        return self.has_stepped_back or ctime < self.since


def judge(*, is_known: bool, is_compressed: bool, may_be_rotated: bool, is_later: bool, is_first_look: bool) -> Kind:
    """Return what a file is that has the name of a rotated one.

    Args:
        is_known: it is remembered as one that is not to be read.
        is_compressed: its name is that of a compressed file.
        may_be_rotated: something was or may have been rotated since the last look.
        is_later: see `Times.may_be_later`.
        is_first_look: nothing was remembered before.
    """
    if is_known:
        return Kind.KNOWN
    if is_first_look and not is_later:
        return Kind.HISTORY
    if not may_be_rotated:
        return Kind.FOREIGN
    if not is_later:
        return Kind.HISTORY if is_compressed else Kind.DOUBTFUL
    return Kind.COMPRESSED if is_compressed else Kind.ROTATED
