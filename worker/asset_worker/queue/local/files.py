"""The journal's files: how the database is created, which one is at its path, and what must not be opened."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from asset_worker.runtime.private_files import NotRegularFileError, check_regular, open_private, open_to_read

LOG_SUFFIX: Final = "-wal"
_ROLLBACK_SUFFIX: Final = "-journal"
SUFFIXES: Final = ("", LOG_SUFFIX, "-shm", _ROLLBACK_SUFFIX)
"""What SQLite appends to the database's name for its other files (sqlite.org/tempfiles.html)."""
_ROLLBACK_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
"""Begins a rollback journal. Ends it, too, if it names a file that SQLite is to delete after the rollback, as in a
transaction over several databases (sqlite.org/fileformat.html, section 3)."""


def create_private(path: Path) -> None:
    """Create the file for this user only: it holds events and metadata. SQLite's other files get the same mode.

    A file that exists is not opened: closing it would drop the locks of every connection to it in this process.
    """
    with suppress(OSError):  # SQLite's own error says more
        if not os.path.lexists(path):
            os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))


def reason_not_to_open(path: Path) -> str | None:
    """Return why SQLite must not open the database, and what to do; None: it may.

    SQLite follows a link to the database, waits for ever at a pipe, and deletes a file that a forged rollback journal
    names. So it is called before SQLite is.
    """
    with suppress(OSError):  # SQLite's own error says more
        for suffix in SUFFIXES:
            file = path.with_name(path.name + suffix)
            try:
                check_regular(file)
            except NotRegularFileError as error:
                return (
                    f"{file} is {error.strerror}: put the file itself there, or name another directory with --state-dir"
                )
        rollback = path.with_name(path.name + _ROLLBACK_SUFFIX)
        if _names_another_file(rollback):
            return f"{rollback} names another file, which SQLite would delete; no asset-worker wrote that: move it away"
    return None


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at this path, no link followed; None: there is none.

    Raises:
        OSError: the path can't be examined.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _names_another_file(rollback: Path) -> bool:
    try:
        file = open_to_read(rollback)
    except FileNotFoundError:
        return False
    with file:
        size, length = os.fstat(file.fileno()).st_size, len(_ROLLBACK_MAGIC)
        file.seek(max(0, size - length))
        return size > length and file.read(length) == _ROLLBACK_MAGIC
