"""A small file that may change while the worker runs, such as one of secrets: read again when it has changed."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.secret_files import exposure, identity_of

T = TypeVar("T")

CHECK_SECONDS: Final = 1.0
"""The shortest interval between two checks whether the file has changed."""
LARGEST_BYTES: Final = 64 << 10


class UnusableFileError(Exception):
    """The file can't be used. The message names it and says what to do, and holds nothing of its content."""


class FileNotReadyError(UnusableFileError):
    """The file is not there yet, or is still empty, or can't be read now."""


class FileReports(Protocol):
    """Logs what happens to a watched file."""

    def unreadable(self, path: Path, why: str) -> None:
        """The file can't be read again: what was read last stays in use."""
        ...

    def changed(self, path: Path) -> None:
        """The file holds something else now, which is in use from now on."""
        ...

    def exposed(self, path: Path, detail: str) -> None:
        """Others may read the file; `detail` says who, and what to do."""
        ...


def read(path: Path, parse: Callable[[str], T]) -> T:
    """Return what a file holds now.

    Raises:
        FileNotReadyError: it is missing or empty, or can't be read now.
        UnusableFileError: it can't be read, or `parse` refuses its content with a ValueError.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for its writer
            raise UnusableFileError(f"{path} is not a regular file: name one")
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        kind = FileNotReadyError if isinstance(error, FileNotFoundError) or may_pass(error) else UnusableFileError
        raise kind(f"{path} can't be read ({error.strerror}): check its path and rights") from error
    if not content.strip():
        raise FileNotReadyError(f"{path} is empty: put in what it should hold")
    if len(content) > LARGEST_BYTES:
        raise UnusableFileError(f"{path} is larger than {LARGEST_BYTES >> 10} KiB: check that it is the right file")
    try:
        return parse(content.decode())
    except UnicodeDecodeError:
        raise UnusableFileError(f"{path} is not UTF-8 text: check that it is the right file") from None
    except ValueError as error:
        raise UnusableFileError(f"{path} can't be used: {error}") from error


class WatchedFile(Generic[T]):
    """A file that is read again when it has changed. While it can't be used, what was read last stays in use."""

    def __init__(
        self,
        path: Path,
        parse: Callable[[str], T],
        *,
        reports: FileReports,
        on_read: Callable[[T], None] = lambda _: None,
    ) -> None:
        """Read the file. `on_read` is called with everything that is read, so as to redact it.

        Raises:
            FileNotReadyError, UnusableFileError: see `read`.
        """
        self._path = path
        self._parse = parse
        self._reports = reports
        self._on_read = on_read
        self._seen: tuple[int, int, int] | None = None
        self._checked_at = -math.inf
        self._is_unreadable = False
        self._exposure: str | None = None
        self._value = self._read()

    def current(self, now: float) -> T:
        """Return what the file holds, as far as it is known. `now` is monotonic seconds."""
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            self._reread(always=False)
        return self._value

    def reload(self) -> None:
        """Read the file again now, even if it looks unchanged."""
        self._is_unreadable = False  # whoever asks for it should see why it did not work
        self._reread(always=True)

    def _reread(self, *, always: bool) -> None:
        before = self._value
        try:
            if always or identity_of(self._path) != self._seen:
                self._value = self._read()
        except (OSError, UnusableFileError) as error:
            # While a file is being replaced, it is gone for a moment.
            if not self._is_unreadable:
                self._reports.unreadable(self._path, error.strerror or "" if isinstance(error, OSError) else str(error))
            self._is_unreadable = True
            return
        self._is_unreadable = False
        if self._value != before:
            self._reports.changed(self._path)

    def _read(self) -> T:
        with suppress(OSError):  # `read` says what is wrong
            self._seen = identity_of(self._path)
        value = read(self._path, self._parse)
        self._on_read(value)
        self._warn_if_exposed()
        return value

    def _warn_if_exposed(self) -> None:
        before, self._exposure = self._exposure, None
        with suppress(OSError):  # it is being replaced; what was read counts all the same
            self._exposure = exposure(self._path)
        if self._exposure is not None and self._exposure != before:
            self._reports.exposed(self._path, self._exposure)
