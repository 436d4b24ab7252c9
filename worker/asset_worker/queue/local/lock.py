"""The lock that keeps a second worker out of a state directory."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

FILE_NAME = "lock"


class StateDirectoryError(Exception):
    """The state directory can't be used. The message says what to do."""


class StateDirectory:
    """A directory locked for this process, as a context manager; created if it doesn't exist.

    The lock is an flock, which the kernel releases when the process ends, however that happens. The text in the file is
    for people: it names the process that holds the lock.

    Raises:
        StateDirectoryError: on entering: another process holds the lock, the directory can't be created, written or
            locked, or its path is not UTF-8.
    """

    def __init__(self, path: Path) -> None:
        """Store the path. Nothing is locked or created before the context is entered."""
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            str(self.path.absolute()).encode()
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except UnicodeEncodeError:  # the home directory's: the settings refuse such a path
            raise StateDirectoryError(
                f"the path of the state directory {str(self.path)!r} is not UTF-8 text: name another with --state-dir"
            ) from None
        except (FileExistsError, NotADirectoryError) as error:
            raise StateDirectoryError(
                f"the state directory {self.path} can't be used: there is a file in its place; name another with "
                "--state-dir"
            ) from error
        except OSError as error:
            raise StateDirectoryError(
                f"the state directory {self.path} can't be used ({error.strerror}): make it writable for this user, or "
                "name another with --state-dir"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StateDirectoryError(
                f"the state directory {self.path} is in use by {holder}: stop that worker, or name another directory "
                "with --state-dir"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StateDirectoryError(
                f"the state directory {self.path} can't be locked ({error.strerror}): its file system has no locks; "
                "name a directory on another with --state-dir"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError:
            pass  # the disk is full; the lock works without the text
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
