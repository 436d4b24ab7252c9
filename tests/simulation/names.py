"""What stands in for `os.path`, and for the iterator of `os.scandir`."""

import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

from tests.simulation.disk import AnyPath
from tests.simulation.inodes import Directory, File, Inode

TEXTUAL = frozenset(
    {"abspath", "basename", "commonpath", "dirname", "expanduser", "isabs", "join", "normpath", "relpath"}
    | {"samestat", "sep", "split", "splitext"}
)
"""What of `os.path` looks at no file."""


class Entry(NamedTuple):
    """What `os.scandir` yields."""

    name: str
    path: str
    node: Inode

    def inode(self) -> int:
        """Return the inode number, as the directory has it."""
        return self.node.number

    def is_symlink(self) -> bool:
        """Return False: the simulation has no symbolic links."""
        return False

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a regular file."""
        return isinstance(self.node, File)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a directory."""
        return isinstance(self.node, Directory)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status."""
        return self.node.status()


class Listing:
    """The iterator that `os.scandir` returns."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[Entry]:
        return self._entries

    def __next__(self) -> Entry:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Yield nothing more."""
        self._entries = iter(())


class SystemOfPaths(Protocol):
    """The simulated `os`."""

    def is_simulated_path(self, path: AnyPath, dir_fd: int | None = None) -> bool:
        """Return whether a path is in the simulation."""

    def stat(self, path: AnyPath | int) -> os.stat_result:
        """Do as `os.stat`."""

    def fstat(self, fd: int) -> os.stat_result:
        """Do as `os.fstat`."""


class SimulatedPath:
    """The module `os.path`. What only deals with texts is that of the real module."""

    def __init__(self, system: "SystemOfPaths") -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        if name not in TEXTUAL:
            raise AttributeError(f"the simulated file system has no os.path.{name}")
        return getattr(os.path, name)

    def realpath(self, path: AnyPath) -> str:
        """Return the path without `.` and `..`: there are no links."""
        if self._system.is_simulated_path(path):
            return os.path.normpath(path)
        return os.path.realpath(path)

    def _status(self, path: AnyPath) -> os.stat_result | None:
        try:
            return self._system.stat(path)
        except (OSError, ValueError):
            return None

    def exists(self, path: AnyPath) -> bool:
        """Do as `os.path.exists`."""
        return self._status(path) is not None

    def lexists(self, path: AnyPath) -> bool:
        """Do as `os.path.lexists`."""
        return self.exists(path) if self._system.is_simulated_path(path) else os.path.lexists(path)

    def isdir(self, path: AnyPath) -> bool:
        """Do as `os.path.isdir`."""
        status = self._status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def isfile(self, path: AnyPath) -> bool:
        """Do as `os.path.isfile`."""
        status = self._status(path)
        return status is not None and stat.S_ISREG(status.st_mode)

    def islink(self, path: AnyPath) -> bool:
        """Do as `os.path.islink`."""
        return not self._system.is_simulated_path(path) and os.path.islink(path)

    def getsize(self, path: AnyPath) -> int:
        """Do as `os.path.getsize`."""
        return self._system.stat(path).st_size

    def samefile(self, one: AnyPath, other: AnyPath) -> bool:
        """Do as `os.path.samefile`."""
        return os.path.samestat(self._system.stat(one), self._system.stat(other))

    def sameopenfile(self, one: int, other: int) -> bool:
        """Do as `os.path.sameopenfile`."""
        return os.path.samestat(self._system.fstat(one), self._system.fstat(other))
