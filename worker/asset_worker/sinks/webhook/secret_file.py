"""A small file that may change while the worker runs: the secrets that sign, or the value of a header."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.secret_files import exposure, identity_of
from asset_worker.sinks.ports import TargetNotReadyError, UnusableTargetError

T = TypeVar("T")
_log = structlog.get_logger()

CHECK_SECONDS: Final = 1.0
"""The shortest interval between two checks whether the file has changed."""
LARGEST_BYTES: Final = 64 << 10


def read(path: Path, parse: Callable[[str], T]) -> T:
    """Return what a file holds now.

    Raises:
        TargetNotReadyError: it is missing or empty, or can't be read now.
        UnusableTargetError: it can't be read, or `parse` refuses its content with a ValueError.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for its writer
            raise UnusableTargetError(f"{path} is not a regular file: name one")
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        kind = TargetNotReadyError if isinstance(error, FileNotFoundError) or may_pass(error) else UnusableTargetError
        raise kind(f"{path} can't be read ({error.strerror}): check its path and rights") from error
    if not content.strip():
        raise TargetNotReadyError(f"{path} is empty: put in what it should hold")
    if len(content) > LARGEST_BYTES:
        raise UnusableTargetError(f"{path} is larger than {LARGEST_BYTES >> 10} KiB: check that it is the right file")
    try:
        return parse(content.decode())
    except UnicodeDecodeError:
        raise UnusableTargetError(f"{path} is not UTF-8 text: check that it is the right file") from None
    except ValueError as error:
        raise UnusableTargetError(f"{path} can't be used: {error}") from error


class WatchedFile(Generic[T]):
    """A file that is read again when it has changed. While it can't be used, what was read last stays in use."""

    def __init__(
        self, path: Path, parse: Callable[[str], T], *, sink: str, on_read: Callable[[T], None] = lambda _: None
    ) -> None:
        """Read the file. `on_read` is called with everything that is read, so as to redact it.

        Raises:
            TargetNotReadyError, UnusableTargetError: see `read`.
        """
        self._path = path
        self._parse = parse
        self._sink = sink
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
        except (OSError, UnusableTargetError) as error:
            # While a file is being replaced, it is gone for a moment.
            if not self._is_unreadable:
                text = error.strerror if isinstance(error, OSError) else str(error)
                _log.warning("sink.file_unreadable", sink=self._sink, path=str(self._path), error=text)
            self._is_unreadable = True
            return
        self._is_unreadable = False
        if self._value != before:
            _log.info("sink.file_changed", sink=self._sink, path=str(self._path))

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
        if self._exposure not in {None, before}:
            _log.warning("sink.file_exposed", sink=self._sink, path=str(self._path), detail=self._exposure)
