"""The requests of commands to a running worker: files in `requests/` in the state directory.

`ID.json` is a request, and `ID.answer.json` its answer. A file is written and synced under another name, then renamed:
whoever finds it finds all of it. The worker deletes a request when its answer is on the disk, and the command deletes
the answer. Whoever may write there decides what the worker sends: the directory and the files must belong to the
worker's user or to root, and nobody else may write to the directory.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local.trust import CREATED_AGAIN, reason_to_distrust_requests
from asset_worker.runtime.private_files import NotRegularFileError, create_private_directory, open_private

DIRECTORY: Final = "requests"
MAX_BYTES: Final = 4 << 20
"""The largest request: more than the arguments of a command line may take on Linux (2 MiB)."""
MAX_FOUND: Final = 100
"""Requests read at once."""
STALE_SECONDS: Final = 3600.0
"""The age of a file that its command has left behind: an answer that nobody reads, or a request that was not renamed.
A command waits for its answer for half a minute."""
_REQUEST: Final = re.compile(r"([0-9a-f]{32})\.json")
_ANSWER_SUFFIX: Final = ".answer.json"
_REFUSED_SUFFIX: Final = ".refused"
_DRAFT_SUFFIX: Final = ".draft"

_decode = msgspec.json.Decoder(Request).decode


class UnusableRequestsError(Exception):
    """The directory of requests must not be used. The message says why, and what to do."""


class Found(msgspec.Struct, frozen=True):
    """A request in the directory."""

    id: str
    request: Request


class Refused(msgspec.Struct, frozen=True):
    """A file in the place of a request, which can't be used. It was renamed, if that was possible."""

    name: str
    reason: str
    id: str | None
    """The ID under which its command may wait for an answer; None: its name holds none."""


class RequestFiles:
    """The directory of requests, as the worker and the commands use it. Every method blocks.

    A command of root leaves files to the user to whom the state directory belongs: the worker may run as that user.
    Every method may raise:

    Raises:
        UnusableRequestsError: others may write to the directory, or it is not a directory.
        OSError: what is asked for is not possible now.
    """

    def __init__(self, state: Path) -> None:
        """`state` is the state directory."""
        self._state = state
        self._path = state / DIRECTORY
        self._left: set[str] = set()
        """The names of files that could neither be used nor renamed: each is reported once."""

    def find(self) -> list[Found | Refused]:
        """Return the requests, at most `MAX_FOUND`, and what was refused since the last call."""
        try:
            with self._opened() as directory:
                names = {name for name in _names(directory) if _is_request(name)}
                self._left &= names
                return [self._read(directory, name) for name in sorted(names - self._left)[:MAX_FOUND]]
        except FileNotFoundError:
            return []

    def answer(self, request_id: str, answer: Answer) -> None:
        """Write the answer of a request, then delete the request."""
        with self._opened() as directory:
            self._write(directory, request_id + _ANSWER_SUFFIX, msgspec.json.encode(answer))
            _delete(directory, f"{request_id}.json")
            os.fsync(directory)

    def clean(self) -> None:
        """Delete what commands have left behind."""
        with suppress(FileNotFoundError), self._opened() as directory:
            for name in _names(directory):
                if name.endswith((_ANSWER_SUFFIX, _DRAFT_SUFFIX)):
                    with suppress(FileNotFoundError, IsADirectoryError):
                        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                        if abs(time.time() - status.st_mtime) > STALE_SECONDS:
                            os.unlink(name, dir_fd=directory)

    def write(self, request_id: str, request: Request) -> None:
        """Leave a request to the worker that holds the state directory."""
        is_new = not os.path.lexists(self._path)
        create_private_directory(self._path)
        if is_new:
            self._give(self._path)
        with self._opened() as directory:
            self._write(directory, f"{request_id}.json", msgspec.json.encode(request))

    def read_answer(self, request_id: str) -> Answer | None:
        """Return the answer of a request; None: there is none yet."""
        try:
            with self._opened() as directory:
                return msgspec.json.decode(self._content(directory, request_id + _ANSWER_SUFFIX), type=Answer)
        except FileNotFoundError:
            return None

    def delete(self, request_id: str) -> None:
        """Delete a request that is done, its answer, and what a worker that was killed has left of it."""
        with suppress(FileNotFoundError), self._opened() as directory:
            for name in (f"{request_id}.json", request_id + _ANSWER_SUFFIX):
                _delete(directory, name)
                _delete(directory, name + _DRAFT_SUFFIX)
            os.fsync(directory)

    @property
    def _user(self) -> int:
        """The user whose files are used."""
        return os.geteuid() or self._state.stat().st_uid

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                raise UnusableRequestsError(f"{self._path} is a link, or no directory: {CREATED_AGAIN}") from None
            if error.errno == errno.EACCES:
                raise UnusableRequestsError(
                    f"{self._path} can't be opened ({error.strerror}): {CREATED_AGAIN}"
                ) from None
            raise
        try:
            status = os.fstat(directory)
            reason = reason_to_distrust_requests(self._path, mode=status.st_mode, owner=status.st_uid, user=self._user)
            if reason is not None:
                raise UnusableRequestsError(reason)
            yield directory
        finally:
            os.close(directory)

    def _read(self, directory: int, name: str) -> Found | Refused:
        identity = _REQUEST.fullmatch(name)
        if identity is None:
            return self._refuse(directory, name, "its name is not that of a request", None)
        try:
            return Found(identity[1], _decode(self._content(directory, name)))
        except NotRegularFileError as error:
            reason = f"it is {error.strerror}"
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EFBIG}:
                raise
            reason = f"it can't be read ({error.strerror})"
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            reason = f"it is not a request ({error})"
        return self._refuse(directory, name, reason, identity[1])

    def _refuse(self, directory: int, name: str, reason: str, request_id: str | None) -> Refused:
        try:
            os.rename(name, name + _REFUSED_SUFFIX, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            self._left.add(name)
        return Refused(name, reason, request_id)

    def _content(self, directory: int, name: str) -> bytes:
        with os.fdopen(open_private(name, os.O_RDONLY, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in {self._user, 0}:
                raise PermissionError(errno.EPERM, f"it belongs to user {status.st_uid}", name)
            if status.st_size > MAX_BYTES:
                raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES} bytes", name)
            return file.read(MAX_BYTES)

    def _write(self, directory: int, name: str, content: bytes) -> None:
        draft = name + _DRAFT_SUFFIX
        _delete(directory, draft)
        with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=directory), "wb") as file:
            self._give(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)

    def _give(self, file: int | Path) -> None:
        """Give a file that root has created to the user whose files are used."""
        status = self._state.stat()
        if os.geteuid() == 0 and status.st_uid != 0:
            os.chown(file, status.st_uid, status.st_gid)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def _is_request(name: str) -> bool:
    return name.endswith(".json") and not name.endswith(_ANSWER_SUFFIX)


def _delete(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
