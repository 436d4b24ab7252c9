"""Opens the file, pipe or device at a path, finds the file of a checkpoint again, and locks a file."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asset_worker.runtime.paths import current_status
from asset_worker.sinks.file.scan import Checkpoint

MODE = 0o640
"""The permissions of a new file: its group may read the events, others may not."""
LOCK_RETRY_SECONDS = 0.02

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_READ_AND_APPEND = os.O_RDWR | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK


def open_regular(path: Path) -> int:
    """Open a file for appending, and return its descriptor. A missing file is created; its name is durable then.

    Raises:
        OSError: it can't be opened, or is no regular file. The message names the directory if that is missing.
    """
    try:
        fd = os.open(path, _READ_AND_APPEND | os.O_CREAT, MODE)
    except FileNotFoundError as error:
        raise _missing_directory(path) from error
    try:
        _require_kind(fd, stat.S_IFREG)
        _sync_directory(_directory(path))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_kind(fd: int, kind: int) -> None:
    """Refuse what was put at the path after it was examined, such as a pipe instead of a file, or the other way round.

    The next attempt examines the path again, and writes in the way that is right for what is there then.
    """
    if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
        raise OSError(errno.EAGAIN, "what is at the path was replaced at this moment")


def _directory(path: Path) -> Path:
    return Path(os.path.realpath(path)).parent


def _missing_directory(path: Path) -> OSError:
    return FileNotFoundError(errno.ENOENT, f"the directory {_directory(path)} does not exist")


def _sync_directory(directory: Path) -> None:
    with suppress(PermissionError):  # a directory that may be written to, but not read
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the file system can't sync directories
                raise
        finally:
            os.close(fd)


def open_special(path: Path, status: os.stat_result) -> int:
    """Open a pipe or a character device for writing, and return its descriptor.

    Raises:
        OSError: nobody reads the pipe, it is neither of the two, or it can't be opened.
    """
    if not (stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)):
        raise OSError(errno.EINVAL, "neither a file nor a pipe nor a character device")
    try:
        # Non-blocking: otherwise a named pipe without a reader would hang here.
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(status.st_mode):
            raise OSError(errno.ENXIO, "nobody reads this pipe") from error
        raise
    try:
        _require_kind(fd, stat.S_IFMT(status.st_mode))
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_checkpointed(path: Path, checkpoint: Checkpoint) -> int | None:
    """Open the file in which a checkpoint was made: at the path, or renamed in its directory.

    Return its descriptor; None: the file is gone.

    Raises:
        OSError: it is not known whether the file is gone. A missing directory may come back with the file in it, and a
            file that has just been renamed once more is found by the next attempt.
    """
    fd = _open_existing(path)
    if fd is not None:
        if os.fstat(fd).st_ino == checkpoint.inode or (checkpoint.offset and checkpoint.matches(fd)):
            return fd
        os.close(fd)
    try:
        with os.scandir(_directory(path)) as siblings:
            names = [sibling.path for sibling in siblings if sibling.inode() == checkpoint.inode]
    except FileNotFoundError as error:
        raise _missing_directory(path) from error
    for name in names:
        try:
            fd = _open_existing(Path(name))
        except PermissionError:  # rotation has removed the permission; waiting for it would stop the sink forever
            continue
        if fd is None:
            if (status := current_status(Path(name))) is None or stat.S_ISREG(status.st_mode):
                raise OSError(errno.EAGAIN, "the file was renamed at this moment")
            continue
        if os.fstat(fd).st_ino == checkpoint.inode and checkpoint.matches(fd):
            return fd
        os.close(fd)
    return None


def checkpoint_at_end(path: Path) -> Checkpoint | None:
    """Return a checkpoint at the end of a file; None: there is no file.

    Raises:
        OSError: it can't be read.
    """
    fd = _open_existing(path)
    if fd is None:
        return None
    try:
        return Checkpoint.at(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _open_existing(path: Path) -> int | None:
    status = current_status(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    try:
        fd = os.open(path, _READ_AND_APPEND)
    except FileNotFoundError:
        return None
    try:
        _require_kind(fd, stat.S_IFREG)
    except OSError:
        os.close(fd)
        raise
    return fd


@contextmanager
def locked(fd: int, timeout: float) -> Iterator[None]:
    """Hold the advisory lock of an open file, so that workers that share the file take turns.

    Raises:
        BlockingIOError: another process held the lock for `timeout` seconds.
    """
    held = _lock(fd, time.monotonic() + timeout)
    try:
        yield
    finally:
        if held:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _lock(fd: int, give_up_at: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= give_up_at:
                raise BlockingIOError(error.errno, "another process holds the lock of this file") from error
            time.sleep(LOCK_RETRY_SECONDS)
        except OSError as error:
            if error.errno in _NO_LOCKS:  # a file system without locks
                return False
            raise
        else:
            return True
