"""The API key: a fixed value, or the content of a file that may change."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.runtime.log import get_logger
from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.secret_files import exposure, identity_of
from asset_worker.runtime.stop import Stop

_log = get_logger()

CHECK_SECONDS = 1.0
"""The interval between checks whether the file has changed."""


class BadKeyError(Exception):
    """The key can't be used. The message says what to do, and holds no part of the key."""


class KeyNotThereError(BadKeyError):
    """The key file does not exist yet, or is still empty, or can't be read now."""


class KeySource(msgspec.Struct, frozen=True):
    """Where the key comes from, for the log. It holds no part of the key."""

    name: str = "TWELVE_LABS_API_KEY or api.key"
    hint: str = "set a key that works, and start again"
    """What to do when the key is refused."""


ANY_SOURCE: Final = KeySource()
"""The source of a key that is in no file."""


_CREDENTIALS: Final = re.compile(r"/run/(user/[0-9]+/)?credentials/")
"""Begins the path of a credential, of a unit of the system or of a user."""


def key_source(file: Path | None, *, is_ours: bool = True) -> KeySource:
    """Return where the key comes from.

    A credential of systemd is a copy that is made at the start of the unit, and not at a reload (systemd.exec(5),
    "Credentials"): a changed key takes a restart.

    Args:
        file: the setting `api.key_file`.
        is_ours: whether this process is the worker. To another one, systemd may pass the file on as a credential.
    """
    if file is None:
        return ANY_SOURCE
    if _CREDENTIALS.match(str(file)):
        hint = (
            "it is a credential, which systemd copies at the start: put a key that works into the file that "
            "LoadCredential in the unit names (/etc/asset-worker/key), and restart"
        )
    else:
        hint = "put a key that works into that file: it is read again when it changes, and at SIGHUP"
        hint += "" if is_ours else "; a worker that gets it as a credential of systemd must be restarted"
    return KeySource(f"api.key_file{_shown(file)}", hint)


class NoKeyError(BadKeyError):
    """No key is set, nor a file that holds one."""


class ApiKey:
    """The key that is sent with each request."""

    def __init__(self, *, value: str | None, file: Path | None, on_read: Callable[[str], None]) -> None:
        """Read the key. `file` takes precedence over `value`. `on_read` is called with every key, so as to redact it.

        Raises:
            NoKeyError: there is neither a key nor a file.
            KeyNotThereError: the file is missing or empty, or can't be read now.
            BadKeyError: the key can't be read, or it has characters that no key has.
        """
        self._file = file
        self._on_read = on_read
        self._seen: tuple[int, int, int] | None = None
        self._is_unreadable = False
        self._exposure: str | None = None
        if file is None:
            if not value:
                raise NoKeyError(
                    "there is no API key: set TWELVE_LABS_API_KEY, or api.key_file to a file that holds it"
                )
            self._value = _checked(value, "api.key")
            on_read(self._value)
        else:
            try:
                self._value = self._read(file)
            except OSError as error:
                kind = KeyNotThereError if isinstance(error, FileNotFoundError) or may_pass(error) else BadKeyError
                raise kind(
                    f"api.key_file{_shown(file)} can't be read ({error.strerror}): check its path and rights"
                ) from error

    @property
    def value(self) -> str:
        """The key in use now."""
        return self._value

    async def watch(self, stop: Stop, on_change: Callable[[], None]) -> None:
        """Read the file again whenever it changes, until the stop. `on_change` is called when the key has changed."""
        while self._file is not None and not stop.is_set():
            await stop.sleep(CHECK_SECONDS)
            self._reread(self._file, on_change, always=False)

    def reload(self, on_change: Callable[[], None]) -> bool:
        """Read the file again now, even if it looks unchanged. Return whether the key has changed.

        `on_change` is called if it has. A file that can't be used is logged, and the present key stays in use.
        """
        self._is_unreadable = False  # whoever asks for it should see why it did not work
        return self._file is not None and self._reread(self._file, on_change, always=True)

    def _reread(self, file: Path, on_change: Callable[[], None], *, always: bool) -> bool:
        before = self._value
        try:
            if always or identity_of(file) != self._seen:
                self._value = self._read(file)
        except (OSError, BadKeyError) as error:
            # The present key may still work: while a secret is being replaced, its file is gone for a moment.
            if not self._is_unreadable:
                _log.warning("api.key_unreadable", path=str(file), error=str(error))
            self._is_unreadable = True
            return False
        self._is_unreadable = False
        if self._value == before:
            return False
        _log.info("api.key_changed", path=str(file))
        on_change()
        return True

    def _read(self, file: Path) -> str:
        if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe would wait for its writer
            raise BadKeyError(f"api.key_file{_shown(file)} is not a regular file: name one that holds the key")
        identity = identity_of(file)
        text = file.read_text("utf-8", errors="replace")
        if not text.strip():
            raise KeyNotThereError(f"api.key_file{_shown(file)} is empty: put the API key there")
        value = _checked(text, f"api.key_file{_shown(file)}")
        self._seen = identity
        self._on_read(value)
        self._warn_if_exposed(file)
        return value

    def _warn_if_exposed(self, file: Path) -> None:
        before, self._exposure = self._exposure, None
        with suppress(OSError):  # it is being replaced; the key that was read counts all the same
            self._exposure = exposure(file)
        if self._exposure not in {None, before}:
            _log.warning("api.key_exposed", path=str(file), detail=self._exposure)


def _shown(file: Path) -> str:
    """Return the path for a message; empty if it is a single word, which may be the key itself, by mistake."""
    return f" {file}" if len(file.parts) > 1 else ""


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if not key:
        raise BadKeyError(f"{where} is empty: put the API key there")
    if not (key.isascii() and key.isprintable()) or " " in key:
        which = (
            "a second line, blanks, control characters?" if key.isascii() else "not ASCII, such as the … of examples"
        )
        raise BadKeyError(f"{where} holds characters that no API key has ({which})")
    return key
