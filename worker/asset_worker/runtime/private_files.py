"""Opens the files that the worker keeps for itself, in a directory where others may have put something in their place.

Whoever may write to the directory could put a link there, which would lead a write elsewhere, or a pipe, which would
hold up the open for ever. So these files are opened without following a link in their name and without waiting, and
only regular files are used. Links in the directories above are followed: those belong to whoever chose the path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_PARENT_MODE: Final = 0o755
"""A directory that is created on the way to a private one: others may pass through it, but rename nothing in it."""
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOT_OPENED: Final = {errno.EISDIR, errno.ELOOP, errno.ENXIO}
"""The errors of opening a directory for writing, a link with O_NOFOLLOW, and a socket."""
_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegularFileError(OSError):
    """Something other than a regular file is in a file's place. `strerror` says what: "a named pipe and not a …"."""


def check_regular(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Check that what is at the path, if anything, is a regular file.

    Raises:
        NotRegularFileError: it is something else, such as a symbolic link.
        OSError: that can't be examined.
    """
    try:
        status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    _refuse_others(path, status.st_mode)


def open_private(path: str | Path, flags: int, *, dir_fd: int | None = None) -> int:
    """Open a regular file and return its descriptor. If `flags` create it, this user alone may read and write it.

    Raises:
        NotRegularFileError: something else is there, such as a symbolic link.
        OSError: it can't be opened.
    """
    try:
        descriptor = os.open(path, flags | _FLAGS, _FILE_MODE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NOT_OPENED:
            check_regular(path, dir_fd=dir_fd)
        raise
    try:
        _refuse_others(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_to_read(path: Path) -> BinaryIO:
    """Open a regular file to read it.

    Raises:
        NotRegularFileError: something else is there, such as a symbolic link.
        OSError: it can't be opened.
    """
    return os.fdopen(open_private(path, os.O_RDONLY), "rb")


def open_new(path: Path) -> BinaryIO:
    """Create a file that this user alone may read and write, in place of what is at the path, and open it to write.

    A link there is removed, and what it leads to stays as it is.

    Raises:
        OSError: it can't be created, or something appeared at the path at this moment.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def create_private_directory(path: Path) -> None:
    """Create a directory for this user alone, and those above it that are missing, unless it exists.

    Others may not write to any of them, whatever the umask.

    Raises:
        OSError: one of them can't be created.
    """
    _create_directory(path, _DIRECTORY_MODE)


def _create_directory(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        _create_directory(path.parent, _PARENT_MODE)
        path.mkdir(mode, exist_ok=True)


def _refuse_others(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
        raise NotRegularFileError(errno.EINVAL, f"{kind} and not a regular file", str(path))
