"""The files beside the path that are known and not to be read, and the time after which others are new."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from typing import Final

from asset_worker.intake.file.checkpoint import FollowerState
from asset_worker.intake.file.siblings import SEEN_KEPT, SeenFile, Times, latest, seen_file

SETTLE_SECONDS: Final = 1.0
"""How long the search is repeated after a change: a list of a directory that is made during a renaming may lack a file,
and modification times have a limited resolution."""


class SeenFiles:
    """Remembers files by their inodes.

    A file that was noticed while nothing seemed to be rotated is remembered for good after `SETTLE_SECONDS`: a rotation
    at the same moment shows only in the next look.
    """

    def __init__(self, state: FollowerState | None) -> None:
        self.since = state.since if state else None
        """As `FollowerState.since`. None before the first look."""
        self.files = None if state is None else state.seen
        """The files that are remembered; None: none have been looked at."""
        self._oldest = self.files[0].order if self.files and len(self.files) == SEEN_KEPT else (0, 0)
        """If as many files are remembered as may be: files before this one in order are known, too."""
        self.has_stepped_back = False
        """Whether the clock of the file system was set back after `since`."""
        self._next_since: tuple[float, int] | None = None
        self._noted: list[SeenFile] = []
        self._noticed: dict[int, tuple[float, SeenFile]] = {}
        """By inode, with the time since when, in monotonic seconds."""

    def forget_before(self, found: list[os.stat_result]) -> None:
        """Remember only the last `SEEN_KEPT` of these files, in the order of their modification."""
        if len(found) > SEEN_KEPT:
            self._oldest = sorted(map(_order, found))[-SEEN_KEPT]

    def is_known_inode(self, inode: int) -> bool:
        """Return whether a file on this inode is remembered."""
        return self._at(inode) is not None

    def is_unchanged(self, status: os.stat_result) -> bool:
        """Return whether a file is remembered and is as it was, or is before all that is remembered."""
        if _order(status) < self._oldest:
            return True
        file = self._at(status.st_ino)
        return file is not None and file.is_unchanged(status.st_size, status.st_mtime_ns)

    def is_known(self, status: os.stat_result, head: bytes | None) -> bool:
        """Return whether a file is remembered; it may have grown. `head`: see `SeenFile.is_continued_by`."""
        if _order(status) < self._oldest:
            return True
        file = self._at(status.st_ino)
        return file is not None and file.is_continued_by(status.st_size, status.st_mtime_ns, head)

    def is_later(self, status: os.stat_result | None) -> bool:
        """Return whether a file that was never seen before was written after the last look; see `Times`.

        `status` is None if it can't be read.
        """
        if status is None:
            return self.since is not None
        if self.files is None:  # an earlier version kept only the time
            return self.since is not None and status.st_mtime_ns >= self.since
        return Times(self.since, self.has_stepped_back).may_be_later(status.st_mtime_ns, status.st_ctime_ns)

    def note(self, file: SeenFile, *, is_certain: bool) -> None:
        """Remember a file that is not to be read; not `is_certain`: only if nothing is rotated meanwhile."""
        if is_certain:
            self._noted.append(file)
        else:
            since, _ = self._noticed.get(file.inode, (float("inf"), None))
            self._noticed[file.inode] = (since, file)

    def add(self, file: SeenFile) -> None:
        """Remember a file at once that is not to be read, because what was known of it is not kept any longer."""
        if self.files is None:
            self._noted.append(file)
        else:
            self._remember([file], None)

    def end_look(
        self, directory_time: int, now: float, *, may_be_rotated: bool, is_listed: bool, inodes: AbstractSet[int] | None
    ) -> None:
        """End a complete look.

        Args:
            directory_time: the modification time of the directory, in nanoseconds. It is used to recognise new files
                only after `SETTLE_SECONDS`, because a file may be found a little late.
            now: monotonic seconds.
            may_be_rotated: see `judge`.
            is_listed: whether all is known that is beside the path. What could not be listed was not looked at, so
                `since` stays before it.
            inodes: those of the files beside the path; None: they were not listed.
        """
        if may_be_rotated:
            self._noticed = {}
        settled = [file for since, file in self._noticed.values() if now - since >= SETTLE_SECONDS]
        self._noticed = {
            inode: (min(since, now), file) for inode, (since, file) in self._noticed.items() if file not in settled
        }
        self._remember([*self._noted, *settled], None if may_be_rotated else inodes)
        self._noted = []
        if self.since is None:
            self.since = directory_time
        if not is_listed:
            return
        if self._next_since is None:
            self._next_since = (now, directory_time)
        elif now - self._next_since[0] >= SETTLE_SECONDS:
            self.since, self._next_since = self._next_since[1], (now, directory_time)

    def _remember(self, added: list[SeenFile], inodes: AbstractSet[int] | None) -> None:
        """Add files, and forget those that are on none of these inodes; None: forget none."""
        if self.files is not None and inodes is None and not added:
            return
        known = {file.inode: file for file in (*(self.files or ()), *added)}
        kept = [file for inode, file in known.items() if inodes is None or inode in inodes]
        self.files = latest(kept)
        if len(self.files) == SEEN_KEPT:
            self._oldest = self.files[0].order

    def _at(self, inode: int) -> SeenFile | None:
        return next((file for file in self.files or () if file.inode == inode), None)


def _order(status: os.stat_result) -> tuple[int, int]:
    """Return where a file is in `SeenFile.order`."""
    return status.st_mtime_ns, status.st_ino


def unread_file(inode: int, status: os.stat_result | None, head: bytes | None = None) -> SeenFile:
    """Return the record of a file that is not to be read, as far as its status and its first bytes are known."""
    if status is None:
        return seen_file(inode, 0, 0, None)
    return seen_file(inode, status.st_size, status.st_mtime_ns, head)
