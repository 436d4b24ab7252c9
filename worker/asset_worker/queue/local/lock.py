"""The lock that keeps a second worker out of a state directory.

The directory itself is locked, so that nobody can let a second worker in by deleting a "stale" lock file. The file
`lock` is locked as well: it says who holds the directory, it keeps out an earlier version, which locks nothing else,
and it is the only lock where the file system can't lock directories (NFS).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from asset_worker.queue.local.full_disks import advice_about
from asset_worker.queue.local.trust import reason_to_distrust
from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.private_files import (
    NotRegularFileError,
    check_regular,
    create_private_directory,
    open_private,
)

FILE_NAME = "lock"
HOLDER_BYTES = 200
WORKER = "process"
COMMAND = "a command, process"
"""How the lock file names who holds the directory: a command holds it only for a moment."""
COMMAND_SECONDS = 20.0
"""How long a worker waits for a command, which may have a gigabyte of a journal to check."""
COMMAND_CHECK_SECONDS = 0.05
TRIES = 3
TRY_SECONDS = 0.02
"""A lock that somebody else holds is tried so often, at these intervals: perhaps it was only looked at (`find_holder`).
"""
_PROCESS = re.compile(rf"{WORKER} ([0-9]{{1,10}}) on ", re.ASCII)


class StateDirectoryError(Exception):
    """The state directory can't be used. The message says what to do."""


class StateDirectoryUnavailableError(StateDirectoryError):
    """The state directory can't be used now: another process holds it, or its disk is full or failing."""


class StateDirectoryInUseError(StateDirectoryUnavailableError):
    """The state directory can't be used now: another process holds it."""

    def __init__(self, path: Path, holder: str) -> None:
        self.reason = f"the state directory {path} is in use by {holder}"
        """What is the case, without what to do."""
        self.is_for_a_moment = holder.startswith(COMMAND)
        """Whether a command holds it, and not a worker."""
        super().__init__(f"{self.reason}: stop that worker, or name another directory with --state-dir")


class Holder(msgspec.Struct, frozen=True):
    """The worker that holds a state directory."""

    pid: int | None
    """Its process; None: the lock file doesn't say."""


class StateDirectory:
    """A directory locked for this process, as a context manager; created if it doesn't exist.

    The locks are flocks, which the kernel releases when the process ends, however that happens.

    Raises:
        StateDirectoryInUseError: on entering: another process holds the lock.
        StateDirectoryUnavailableError: on entering: the disk is full or failing.
        StateDirectoryError: on entering: the directory can't be created, written or locked, its path is not UTF-8, or
            others may change what is in it.
    """

    def __init__(self, path: Path, *, holder: str = WORKER) -> None:
        """Store the path. Nothing is locked or created before the context is entered.

        `holder` says what this process is: a worker or a command.
        """
        self.path = path
        self._holder_name = holder
        self._closing = ExitStack()
        self._directory = -1
        self._is_directory_locked = False
        self._file: int | None = None

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            closing.callback(self._close_file)
            try:
                self._directory = self._create()
                closing.callback(os.close, self._directory)
                if (reason := find_distrust(self.path, os.fstat(self._directory))) is not None:
                    raise StateDirectoryError(reason)
                self._is_directory_locked = self._lock_directory()
                self._file = self._lock_file()
            except OSError as error:
                raise self._unusable(error) from error
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def check(self) -> None:
        """Check that the directory is still at its path, and create the lock file again if it was deleted.

        Raises:
            StateDirectoryError: the directory was moved, deleted or replaced, or another process has taken it.
            OSError: that can't be examined now, or the disk is full.
        """
        if not _is_at(self.path, self._directory, follow_links=True):
            raise StateDirectoryError(
                f"the state directory {self.path} was moved, deleted or replaced while the worker ran, so nothing "
                "would be kept: move it back, or let the next start begin again and read the queue file from its start"
            )
        if self._file is None or not _is_at(self.path / FILE_NAME, self._file, follow_links=False):
            self._close_file()
            self._file = self._lock_file()

    def _create(self) -> int:
        """Create the directory if it is missing. Return a descriptor of it."""
        try:
            str(self.path.absolute()).encode()
            create_private_directory(self.path)
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except UnicodeEncodeError:  # the home directory's: the settings refuse such a path
            raise StateDirectoryError(
                f"the path of the state directory {str(self.path)!r} is not UTF-8 text: name another with --state-dir"
            ) from None

    def _lock_directory(self) -> bool:
        """Lock the directory. Return whether its file system can do that."""
        try:
            _lock(self._directory)
        except BlockingIOError:
            raise self._in_use() from None
        except OSError:
            return False  # NFS locks only what is open for writing, which no directory can be
        return True

    def _lock_file(self) -> int:
        """Lock the file, write into it who holds the directory, and return its descriptor."""
        try:
            descriptor = open_private(FILE_NAME, os.O_RDWR | os.O_CREAT, dir_fd=self._directory)
        except NotRegularFileError as error:
            raise StateDirectoryError(_not_a_lock_file(self.path, error)) from error
        try:
            _lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise self._in_use() from None
        except OSError as error:
            if not self._is_directory_locked:
                os.close(descriptor)
                raise StateDirectoryError(
                    f"the state directory {self.path} can't be locked ({error.strerror}): its file system has no "
                    "locks; name a directory on another with --state-dir"
                ) from error
        with suppress(OSError):  # the disk is full; the lock works without the text
            if os.fstat(descriptor).st_nlink == 1:  # otherwise it is a file of another name, too, which stays as it is
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{self._holder_name} {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        return descriptor

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _in_use(self) -> StateDirectoryInUseError:
        return StateDirectoryInUseError(self.path, self._holder())

    def _holder(self) -> str:
        return _holder_named_in(self._directory) or "another process"

    def _unusable(self, error: OSError) -> StateDirectoryError:
        if may_pass(error):
            advice = advice_about(self.path, otherwise="check the disk, or name another with --state-dir")
            return StateDirectoryUnavailableError(
                f"the state directory {self.path} can't be used just now ({error.strerror}): {advice}"
            )
        if isinstance(error, FileExistsError | NotADirectoryError):
            return StateDirectoryError(
                f"the state directory {self.path} can't be used: there is a file in its place; name another with "
                "--state-dir"
            )
        return StateDirectoryError(
            f"the state directory {self.path} can't be used ({error.strerror}): make it writable for this user, or "
            "name another with --state-dir"
        )


def find_holder(directory: Path) -> Holder | None:
    """Return the worker that holds a state directory; None: none does. A command that holds it does not count.

    The locks are tried for an instant, as shared ones. A process that wants to lock the directory meanwhile tries again
    (`_lock`).

    Raises:
        OSError: the directory can't be read.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _is_locked(descriptor):
            try:
                file = open_private(FILE_NAME, os.O_RDONLY, dir_fd=descriptor)
            except OSError:
                return None
            try:
                if not _is_locked(file):
                    return None
            finally:
                os.close(file)
        text = _holder_named_in(descriptor)
    finally:
        os.close(descriptor)
    if text.startswith(COMMAND):
        return None
    named = _PROCESS.match(text)
    return Holder(None if named is None else int(named[1]))


def _holder_named_in(directory: int) -> str:
    """Return what the lock file in an open directory says; empty: nothing."""
    try:
        descriptor = open_private(FILE_NAME, os.O_RDONLY, dir_fd=directory)
    except OSError:
        return ""
    try:
        return os.pread(descriptor, HOLDER_BYTES, 0).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a file or directory for this process, if it is free, or `find_holder` tries it just now.

    Raises:
        BlockingIOError: another process holds it.
        OSError: its file system can't lock it.
    """
    for _ in range(TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(TRY_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_locked(descriptor: int) -> bool:
    """Return whether another process holds a file or directory. If its file system can't lock it, none does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


async def hold(path: Path, stack: ExitStack) -> StateDirectory:
    """Lock the state directory until `stack` is closed. A command that holds it for a moment is waited for.

    Raises:
        StateDirectoryError: see `StateDirectory`.
    """
    for _ in range(int(COMMAND_SECONDS / COMMAND_CHECK_SECONDS)):
        try:
            return stack.enter_context(StateDirectory(path))
        except StateDirectoryInUseError as error:
            if not error.is_for_a_moment:
                raise
        await asyncio.sleep(COMMAND_CHECK_SECONDS)
    return stack.enter_context(StateDirectory(path))


def find_distrust(path: Path, status: os.stat_result, *, user: int | None = None) -> str | None:
    """Return why the directory at the path must not keep the state of a worker, and what to do; None: it may.

    `user`: the number of the user as whom the worker runs; None: that of this process.
    """
    user = os.geteuid() if user is None else user
    return reason_to_distrust(path, mode=status.st_mode, owner=status.st_uid, user=user)


def find_lock_problem(path: Path) -> str | None:
    """Return why the lock file in the directory at the path can't be used, and what to do; None: nothing to be seen."""
    try:
        check_regular(path / FILE_NAME)
    except NotRegularFileError as error:
        return _not_a_lock_file(path, error)
    except OSError:
        return None
    return None


def _not_a_lock_file(path: Path, error: NotRegularFileError) -> str:
    return (
        f"the state directory {path} can't be used: the file {FILE_NAME} in it is {error.strerror}: remove it, or name "
        "another directory with --state-dir"
    )


def _is_at(path: Path, descriptor: int, *, follow_links: bool) -> bool:
    """Return whether the open file or directory is the one at this path."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=follow_links), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False
