"""The directories in which a followed file may be rotated.

These are the directory of the path and, if the path is a symbolic link, the directory of the file that it leads to:
rotation happens beside the file itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.intake.file.gaps import gap_of_links
from asset_worker.intake.file.names import rotated_names
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.tail_reader import describe
from asset_worker.runtime.paths import current_status

PAUSE_SECONDS: Final = 50e-6
"""The pause after a listing, in seconds for each name. Listing takes about a microsecond for each, so that a directory
of any size, whatever happens in it, takes a few percent of a core."""
EXAMINED_NAMES: Final = 10
"""A file whose status is read as well costs as much as listing this many names."""


class Entry(msgspec.Struct, frozen=True):
    """A file beside the path."""

    path: Path
    inode: int
    """As the directory has it. On some overlay file systems, the file itself says otherwise."""
    is_rotated: bool
    """Whether the name is one that rotation gives."""
    is_link: bool = False
    """Whether it is a symbolic link."""


class Directories:
    """Lists the files beside a path, and shows when a directory has changed."""

    def __init__(
        self, queue_file: QueueFile, globs: tuple[str, ...], record: Callable[[str, str | None], None]
    ) -> None:
        """`globs` recognise rotated files; `record` takes the name and detail of what happens, for the log."""
        self._queue_file = queue_file
        self._globs = globs
        self._record = record
        self._places: dict[Path, re.Pattern[str]] = {}
        """The path and, if it is a symbolic link, the path that it leads to; with the names of rotated files."""
        self._unlistable: dict[Path, OSError] = {}
        self._links: set[Path] | None = None
        """The links with names of rotated files in the last listing; None: nothing has been listed."""
        self.pause = 0.0
        """How many seconds to wait after the last listing before the next."""

    @property
    def are_listable(self) -> bool:
        """Whether all directories could be listed when that was last tried."""
        return not self._unlistable

    @property
    def are_listable_or_closed(self) -> bool:
        """Whether each directory could be listed, or may not be: a missing permission lasts, other errors pass."""
        return all(isinstance(error, PermissionError) for error in self._unlistable.values())

    def follow_links(self) -> None:
        """Find out where the path leads now, if it is a symbolic link.

        Raises:
            UntrustedLinkError: it leads to a file through a link that is not trusted.
            OSError: a directory on the way can't be entered.
        """
        places = self._queue_file.places()
        if places == [*self._places]:
            return
        self._places = {place: rotated_names(place, self._globs) for place in places}
        directories = {place.parent for place in places}
        self._unlistable = {path: error for path, error in self._unlistable.items() if path in directories}

    def modification_times(self) -> dict[Path, int]:
        """Return the modification time of each directory, in nanoseconds, by the path in it.

        0: there is no such directory. The directory of the file itself comes last.

        Raises:
            OSError: a directory can't be examined.
        """
        return {place: modification_time(current_status(place.parent)) for place in self._places}

    def list(self, inodes: AbstractSet[int]) -> list[Entry]:
        """Return the files beside the path that may have been at it, or that have one of these inodes.

        The first are those whose names begin with that of the path, or are names that rotation gives to it. Directories
        that can't be listed are left out, and so are symbolic links: each could lead to any file. New ones are reported
        if their names are those of rotated files.
        """
        found: dict[Path, Entry] = {}
        links: set[Path] = set()
        names = 0
        for place, rotated in self._places.items():
            directory = place.parent
            try:
                for entry in _entries(place, rotated, inodes):
                    names += 1
                    if entry is None:
                        continue
                    if entry.is_link:
                        links |= {entry.path} if entry.is_rotated else set()
                    elif not (entry.path in found and found[entry.path].is_rotated):
                        found[entry.path] = entry
            except OSError as error:
                if directory not in self._unlistable:
                    self._record("unreadable", describe(error, str(directory)))
                self._unlistable[directory] = error
            else:
                if self._unlistable.pop(directory, None) is not None:
                    self._record("readable", str(directory))
        for place in self._places:
            found.pop(place, None)
        links -= self._places.keys()
        if self._links is not None and (new := sorted(links - self._links)):
            self._record("gap", gap_of_links(new))
        self._links = links
        self.pause = PAUSE_SECONDS * (names + EXAMINED_NAMES * len(found))
        return list(found.values())


def _entries(place: Path, rotated: re.Pattern[str], inodes: AbstractSet[int]) -> Iterator[Entry | None]:
    """Yield the files beside `place`; None for each that can't have been at it."""
    with suppress(FileNotFoundError), os.scandir(place.parent) as entries:
        for entry in entries:
            name, inode = entry.name, entry.inode()
            is_rotated = rotated.fullmatch(name) is not None
            if is_rotated or inode in inodes or name.startswith(place.name):
                yield Entry(place.parent / name, inode, is_rotated, entry.is_symlink())
            else:
                yield None


def modification_time(status: os.stat_result | None) -> int:
    """Return the modification time in nanoseconds; 0 without a status."""
    return 0 if status is None else status.st_mtime_ns
