"""What a simulated disk holds: files and directories, and the changes of them that are not on the disk yet."""

import os
import stat
from typing import NamedTuple

BLOCK: int = 4096
"""Bytes. A hole is made of whole blocks that were never written."""
DEVICE: int = 1_000
OWNER: int = os.geteuid()


class Change(NamedTuple):
    """A change of a file's content, with what is needed to undo it. A truncation has no data."""

    offset: int
    data: bytes
    size: int
    """Of the file, before."""
    replaced: bytes
    """What stood from `offset` on, and was overwritten or cut off."""
    mtime: int
    """Before."""


class Inode:
    """A file or a directory, whatever its names are. Times are in nanoseconds."""

    kind = 0

    def __init__(self, number: int, mode: int, now: int) -> None:
        self.number = number
        self.mode = mode
        self.links = 0
        self.opened = 0
        """How many descriptors it is open in."""
        self.locks: dict[object, bool] = {}
        """Who holds a lock of it, and whether it is an exclusive one."""
        self.mtime = self.ctime = now

    def status(self) -> os.stat_result:
        """Return what `os.stat` does."""
        mtime, ctime = self.mtime, self.ctime
        seconds = (mtime // 10**9, mtime // 10**9, ctime // 10**9)
        fractions = (mtime / 1e9, mtime / 1e9, ctime / 1e9)
        nanoseconds = (mtime, mtime, ctime)
        what = (self.kind | self.mode, self.number, DEVICE, self.links, OWNER, 0, self.size)
        return os.stat_result((*what, *seconds, *fractions, *nanoseconds, BLOCK, self.blocks_used * BLOCK // 512, 0))

    @property
    def size(self) -> int:
        """In bytes."""
        return BLOCK

    @property
    def blocks_used(self) -> int:
        """How many blocks it takes on the disk."""
        return 1

    def permits(self, rights: int) -> bool:
        """Return whether its owner has these rights: `os.R_OK`, `os.W_OK`, `os.X_OK`."""
        return (self.mode >> 6) & rights == rights


class File(Inode):
    """A regular file."""

    kind = stat.S_IFREG

    def __init__(self, number: int, mode: int, now: int) -> None:
        super().__init__(number, mode, now)
        self.content = bytearray()
        self._blocks: set[int] = set()
        """Those that were written; the others are holes."""
        self.unsynced: list[Change] = []
        """The changes that a power cut may undo, the earliest first."""
        self.unwritten: list[range] = []
        """Bytes that the disk refused to write at a sync, and that no later sync writes."""

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def blocks_used(self) -> int:
        return len(self._blocks)

    def write(self, offset: int, data: bytes, now: int) -> None:
        """Write as pwrite(2) does: what is between the end and `offset` becomes a hole."""
        size = len(self.content)
        end = offset + len(data)
        self.unsynced.append(Change(offset, data, size, bytes(self.content[offset:end]), self.mtime))
        self._put(offset, data)
        self._not_unwritten(range(offset, end))
        self.mtime = self.ctime = now

    def truncate(self, size: int, now: int) -> None:
        """Set the size, as ftruncate(2) does."""
        self.unsynced.append(Change(size, b"", len(self.content), bytes(self.content[size:]), self.mtime))
        self._resize(size)
        self._not_unwritten(range(size, 1 << 62))
        self.mtime = self.ctime = now

    def _put(self, offset: int, data: bytes) -> None:
        if offset > len(self.content):
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset : offset + len(data)] = data
        if data:
            self._blocks.update(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))

    def _resize(self, size: int) -> None:
        if size > len(self.content):
            self.content.extend(bytes(size - len(self.content)))
            return
        del self.content[size:]
        last = (size + BLOCK - 1) // BLOCK
        self._blocks = {block for block in self._blocks if block < last}

    def _not_unwritten(self, written: range) -> None:
        left = [
            part
            for each in self.unwritten
            for part in (
                range(each.start, min(each.stop, written.start)),
                range(max(each.start, written.stop), each.stop),
            )
        ]
        self.unwritten = [part for part in left if part]

    def find(self, offset: int, *, data: bool) -> int | None:
        """Return where data, or else a hole, begins at `offset` or after it; None: nowhere, or it is past the end."""
        size = len(self.content)
        if offset >= size:
            return None
        for block in range(offset // BLOCK, (size - 1) // BLOCK + 1):
            if (block in self._blocks) == data:
                return max(offset, block * BLOCK)
        return None if data else size

    def give_up_unsynced(self) -> None:
        """Let the disk have refused what is unsynced: it can be read until the power is cut, and no sync writes it."""
        self.unwritten += [range(each.offset, each.offset + len(each.data)) for each in self.unsynced if each.data]
        self.unsynced.clear()

    def undo(self, kept: int, share: float, zeros: float) -> None:
        """Undo the unsynced changes but the first `kept`, as a power cut does, and forget that these were unsynced.

        Of a write that is next, this share of its bytes is kept, too, and this share of the others becomes zeros.
        """
        undone = self.unsynced[kept:]
        for change in reversed(undone):
            self._put(change.offset, change.replaced)
            self._resize(change.size)
            self.mtime = change.mtime
        if undone and undone[0].data:
            offset, data = undone[0][:2]
            part = data[: int(share * (len(data) + 1))]
            self._put(offset, part)
            reached = offset + len(part) + int(zeros * (len(data) - len(part) + 1))
            if reached > len(self.content):
                self._resize(reached)
        self.unsynced.clear()
        for each in self.unwritten:
            inside = range(each.start, min(each.stop, len(self.content)))
            self.content[inside.start : inside.stop] = bytes(len(inside))
        self.unwritten.clear()


class Directory(Inode):
    """A directory."""

    kind = stat.S_IFDIR

    def __init__(self, number: int, mode: int, now: int, parent: "Directory | None") -> None:
        super().__init__(number, mode, now)
        self.names: dict[str, Inode] = {}
        self.parent = parent or self
        self.unsynced: list[tuple[dict[str, Inode | None], int]] = []
        """The changes of names that a power cut may undo, the earliest first: what had the names, and the mtime."""
