"""The directories in which a followed file may be rotated.

These are the directory of the path and, if the path is a symbolic link, the directory of the file that it leads to:
rotation happens beside the file itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from asset_worker.intake.file.names import is_rotated_name, siblings
from asset_worker.intake.file.tail_reader import describe


class Directories:
    """Lists the files beside a path, and shows when a directory has changed."""

    def __init__(self, path: Path, record: Callable[[str, str | None], None]) -> None:
        """`record` is called with the name and the detail of what happens, for the log."""
        self._path = path
        self._record = record
        self._places = [path]
        """The path and, if it is a symbolic link, the path that it leads to."""
        self._unlistable: set[Path] = set()

    @property
    def are_listable(self) -> bool:
        """Whether all directories may be listed, as far as that was tried."""
        return not self._unlistable

    def follow_links(self) -> None:
        """Find out where the path leads now, if it is a symbolic link."""
        self._places = _places(self._path)
        self._unlistable &= {place.parent for place in self._places}

    def modification_times(self) -> dict[Path, int]:
        """Return the modification time of each directory, in nanoseconds, by the path in it.

        0: there is no such directory. The directory of the file itself comes last.

        Raises:
            OSError: a directory can't be examined.
        """
        return {place: modification_time(current_status(place.parent)) for place in self._places}

    def siblings(self) -> dict[Path, bool]:
        """Return the files beside the path, and for each whether its name is one that rotation gives.

        Directories that may not be listed are left out.

        Raises:
            OSError: a directory can't be listed, for a reason other than permissions.
        """
        found: dict[Path, bool] = {}
        for place in self._places:
            directory = place.parent
            try:
                found |= {path: is_rotated_name(path.name, place) for path in siblings(place)}
            except PermissionError as error:
                if directory not in self._unlistable:
                    self._record("unreadable", describe(error, str(directory)))
                    self._unlistable.add(directory)
                continue
            if directory in self._unlistable:
                self._record("readable", str(directory))
                self._unlistable.remove(directory)
        return found


def current_status(path: Path) -> os.stat_result | None:
    """Return the status of what is at a path; None: nothing is there.

    Raises:
        OSError: the path can't be examined.
    """
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def modification_time(status: os.stat_result | None) -> int:
    """Return the modification time in nanoseconds; 0 without a status."""
    return 0 if status is None else status.st_mtime_ns


def _places(path: Path) -> list[Path]:
    real = Path(os.path.realpath(path))
    return [path] if real == Path(os.path.realpath(path.parent), path.name) else [path, real]
