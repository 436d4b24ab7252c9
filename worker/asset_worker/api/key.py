"""The API key: a fixed value, or the content of a file that may change."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import structlog

from asset_worker.runtime.stop import Stop

_log = structlog.get_logger()

CHECK_SECONDS = 1.0
"""The interval between checks whether the file has changed."""


class BadKeyError(Exception):
    """The key can't be used. The message says what to do, and holds no part of the key."""


class ApiKey:
    """The key that is sent with each request."""

    def __init__(self, *, value: str | None, file: Path | None, on_read: Callable[[str], None]) -> None:
        """Read the key. `file` takes precedence over `value`. `on_read` is called with every key, so as to redact it.

        Raises:
            BadKeyError: there is no key, it can't be read, or it has characters that no key has.
        """
        self._file = file
        self._on_read = on_read
        self._seen: tuple[int, int, int] | None = None
        if file is None:
            if not value:
                raise BadKeyError(
                    "there is no API key: set TWELVE_LABS_API_KEY, or api.key_file to a file that holds it"
                )
            self._value = _checked(value, "api.key")
            on_read(self._value)
        else:
            try:
                self._value = self._read(file)
            except OSError as error:
                raise BadKeyError(
                    f"api.key_file{_shown(file)} can't be read ({error.strerror}): check its path and rights"
                ) from error

    @property
    def value(self) -> str:
        """The key in use now."""
        return self._value

    async def watch(self, stop: Stop, on_change: Callable[[], None]) -> None:
        """Read the file again whenever it changes, until the stop. `on_change` is called when the key has changed."""
        is_logged = False
        while self._file is not None and not stop.is_set():
            await stop.sleep(CHECK_SECONDS)
            try:
                changed = _identity(self._file) != self._seen and self._reread(self._file)
            except (OSError, BadKeyError) as error:
                # The present key may still work: while a secret is being replaced, its file is gone for a moment.
                if not is_logged:
                    _log.warning("api.key_unreadable", path=str(self._file), error=str(error))
                is_logged = True
                continue
            is_logged = False
            if changed:
                _log.info("api.key_changed", path=str(self._file))
                on_change()

    def _reread(self, file: Path) -> bool:
        before = self._value
        self._value = self._read(file)
        return self._value != before

    def _read(self, file: Path) -> str:
        if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe would wait for its writer
            raise BadKeyError(f"api.key_file{_shown(file)} is not a regular file: name one that holds the key")
        identity = _identity(file)
        value = _checked(file.read_text("utf-8", errors="replace"), f"api.key_file{_shown(file)}")
        self._seen = identity
        self._on_read(value)
        return value


def _shown(file: Path) -> str:
    """Return the path for a message; empty if it is a single word, which may be the key itself, by mistake."""
    return f" {file}" if len(file.parts) > 1 else ""


def _identity(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if not key:
        raise BadKeyError(f"{where} is empty: put the API key there")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadKeyError(f"{where} holds characters that no API key has (a second line, blanks, control characters?)")
    return key
