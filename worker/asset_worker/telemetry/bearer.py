"""The tokens that clients of the admin port present: which are valid now, and whether a request has one.

Programs present one as a bearer token (RFC 6750). Browsers can't: for people they present it as a password (RFC 7617).
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from asset_worker.runtime.log import get_logger
from asset_worker.runtime.watched_file import FileNotReadyError, UnusableFileError, WatchedFile, read
from asset_worker.telemetry.errors import TokenFileError, TokenNotThereError

T = TypeVar("T")
_log = get_logger()

SHORTEST_TOKEN: Final = 16
"""Characters. With fewer, guessing may succeed."""
_TOKEN: Final = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},}}")
_CREDENTIALS: Final = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
"""The value of an `Authorization` field with a token (RFC 9110, section 11.4)."""

_BASIC: Final = re.compile(r"basic +([A-Za-z0-9+/]+=*) *", re.IGNORECASE)
"""The same with a name and a password."""


def parse_tokens(text: str) -> tuple[str, ...]:
    """Return the tokens in a file, one on each line. Blank lines and blanks around a token are ignored.

    Raises:
        ValueError: a line is no token. The message holds nothing of it.
    """
    tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not tokens or not all(_TOKEN.fullmatch(each) for each in tokens):
        raise ValueError(
            f"each line must be one token: {SHORTEST_TOKEN} or more visible ASCII characters without blanks, such as "
            "the output of `openssl rand -hex 32`"
        )
    return tokens


def has_token(authorization: Sequence[str], tokens: Sequence[str], *, as_password: bool = False) -> bool:
    """Return whether the `Authorization` fields of a request are one, with one of these tokens.

    `as_password`: it may also be the password of HTTP Basic, with any name. The time that this takes depends on no
    character of a token.
    """
    if len(authorization) != 1 or (found := _presented(authorization[0], as_password=as_password)) is None:
        return False
    presented = _digest(found)
    # All are compared: the time must not show which of them it is.
    return any([hmac.compare_digest(presented, _digest(each)) for each in tokens])  # noqa: C419


def _presented(authorization: str, *, as_password: bool) -> str | None:
    if (found := _CREDENTIALS.fullmatch(authorization)) is not None:
        return found[1]
    if not as_password or (found := _BASIC.fullmatch(authorization)) is None:
        return None
    try:
        return b64decode(found[1], validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def check_token_file(path: Path) -> None:
    """Check that a file of tokens can be used now.

    Raises:
        TokenNotThereError: it is missing or empty, or can't be read now.
        TokenFileError: it can't be read, or does not hold tokens.
    """
    _translated(lambda: read(path, parse_tokens))


class BearerTokens:
    """The tokens in a file, which is read again when it has changed."""

    def __init__(self, path: Path, *, now: Callable[[], float], on_read: Callable[[str], None]) -> None:
        """Read the file. `now` returns monotonic seconds. `on_read` is called with every token, so as to redact it.

        Raises:
            TokenNotThereError, TokenFileError: see `check_token_file`.
        """

        def redact(tokens: tuple[str, ...]) -> None:
            for each in tokens:
                on_read(each)

        self._now = now
        self._file = _translated(lambda: WatchedFile(path, parse_tokens, reports=_Reports(), on_read=redact))

    def accepts(self, authorization: Sequence[str], *, as_password: bool = False) -> bool:
        """Return whether the `Authorization` fields of a request hold a token that is valid now (`has_token`)."""
        return has_token(authorization, self._file.current(self._now()), as_password=as_password)

    async def reload(self) -> None:
        """Read the file again now. If it can't be used, that is logged, and the present tokens stay valid."""
        self._file.reload()


class _Reports:
    """Logs what happens to the file of tokens."""

    def unreadable(self, path: Path, why: str) -> None:
        """Log that the file can't be read again."""
        _log.warning("admin.token_unreadable", path=str(path), error=why)

    def changed(self, path: Path) -> None:
        """Log that the file holds other tokens now."""
        _log.info("admin.token_changed", path=str(path))

    def exposed(self, path: Path, detail: str) -> None:
        """Log that others may read the file."""
        _log.warning("admin.token_exposed", path=str(path), detail=detail)


def _translated(work: Callable[[], T]) -> T:
    try:
        return work()
    except UnusableFileError as error:
        kind = TokenNotThereError if isinstance(error, FileNotReadyError) else TokenFileError
        raise kind(f"admin.token_file: {error}") from error
