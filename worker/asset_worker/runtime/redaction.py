r"""Redaction: replaces secrets with asterisks wherever they appear: the API key, and a proxy's password.

A server may echo the key, and somebody may put it into the queue file by mistake. So secrets are redacted in everything
that comes from the API or from an intake before it is kept or passed on, and in every line of the log. What is cut is
redacted first: in a cut text, a secret may not be recognised.

A secret is recognised in these forms, also mixed and within one another, up to `LEVELS` deep:

- in upper and lower case;
- with percent-encoding (RFC 3986, section 2.1) of all or some characters;
- with escapes of JSON, Python or C (`\u0074`, `\x74`, `\/`) for all or some characters.

So is its base64 (RFC 4648, both alphabets), also within that of a longer text, as in HTTP's Basic authentication. Of a
secret with `LONG` characters or more, `PART` are enough where the text begins or ends within it. Not recognised are
other encodings (HTML entities, hexadecimal, compression), and a secret that is divided over several texts.
"""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

REDACTED: Final = "********"
SHORT: Final = 12
"""Characters. A shorter secret (a key for tests) is redacted only as a whole word, not as a part of other words."""
SHORTEST_KEY: Final = 8
"""Characters. In data from outside, a shorter secret (`any`, `test`) is taken for an ordinary word and is not redacted:
no real key is that short."""
LONG: Final = 16
"""Characters. Of a secret with so many, a part is redacted as well, where a text was cut."""
PART: Final = 8
"""Characters of such a part at least. Fewer don't help to guess the rest."""
LEVELS: Final = 4
"""Encodings within one another that are undone: JSON in JSON in a URL, and one more."""

_CUT_ESCAPE: Final = 6
"""Characters of an escape that the edge of a text may divide."""
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})|\\(?:(?:[uU]00|[xX])([0-9A-Fa-f]{2})|\\*([^A-Za-z0-9\s]))")
"""A run of backslashes becomes one: only the last can belong to a character of a secret, at whatever depth."""


class Secrets:
    """The secrets of this process, and the functions that redact them."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._in_texts = _Finder(())
        self._in_data = _Finder(())

    def add(self, secret: str) -> None:
        """Redact `secret` from now on. An empty text is ignored."""
        if not secret or secret in self._secrets:
            return
        self._secrets.append(secret)
        self._secrets.sort(key=len, reverse=True)  # the longer first: a secret that contains another is redacted whole
        self._in_texts = _Finder(self._secrets)
        self._in_data = _Finder([each for each in self._secrets if len(each) >= SHORTEST_KEY])

    def redact_text(self, text: str) -> str:
        """Return a text of this program with every secret redacted."""
        return self._in_texts.redact(text)

    def redact(self, data: Any) -> Any:
        """Return data from outside with every secret redacted that has at least `SHORTEST_KEY` characters.

        `data` is text, bytes or decoded JSON. What holds no secret is returned as it is, and not copied.
        """
        finder = self._in_data
        match data:
            case str():
                return finder.redact(data)
            case bytes():
                return finder.redact(data.decode("latin-1")).encode("latin-1")
            case list():
                # One search serves all assets of a list. If it finds something, only those that may hold it are copied.
                if not _may_hold_any(data, finder):
                    return data
                return [_redacted(each, finder) if _may_hold_any(each, finder) else each for each in data]
            case dict():
                return _redacted(data, finder) if _may_hold_any(data, finder) else data
            case _:
                return data


def _may_hold_any(data: Any, finder: _Finder) -> bool:
    """Return whether a secret may be in decoded JSON: one search for all its texts."""
    try:
        return finder.may_find_in(msgspec.json.encode(data).decode("latin-1"))
    except UnicodeEncodeError:  # a lone surrogate
        return True


def _redacted(data: Any, finder: _Finder) -> Any:
    match data:
        case str():
            return finder.redact(data)
        case list():
            return [_redacted(inner, finder) for inner in data]
        case dict():
            return {_redacted(name, finder): _redacted(inner, finder) for name, inner in data.items()}
        case _:
            return data


class _Finder:
    """Finds some secrets in texts. Most texts hold none, and are only searched for what every match contains."""

    def __init__(self, secrets: Sequence[str]) -> None:
        # A secret that looks like an escape is no longer itself where the escapes around it are undone.
        forms = dict.fromkeys(form for each in secrets for form, _ in _levels(each))
        encodings = dict.fromkeys(encoding for each in secrets for encoding in _base64_of(each))
        hints = (*(hint for form in forms for hint in _hints(form)), *encodings)
        self._hints = tuple(dict.fromkeys(hint.lower() for hint in hints))
        self._shortest = min(map(len, self._hints), default=sys.maxsize)
        whole = [*(f"(?i:{_pattern(form)})" for form in forms), *map(re.escape, encodings)]
        cut = [f"(?i:{pattern})" for each in secrets for pattern in _cut_patterns(each)]
        self._patterns = [re.compile("|".join(each)) for each in (whole, cut) if each]

    def redact(self, text: str) -> str:
        """Return the text with every secret redacted."""
        if not self.may_find_in(text) or not any(self._occurs_in(plain) for plain, _ in _levels(text)):
            return text
        for pattern in self._patterns:
            text = _replaced(pattern, text)
        return text

    def may_find_in(self, text: str) -> bool:
        """Return whether a secret may be in the text. It is fast; `False` is certain."""
        return len(text) >= self._shortest and ("%" in text or "\\" in text or self._occurs_in(text))

    def _occurs_in(self, text: str) -> bool:
        lower = text.lower()
        for hint in self._hints:  # noqa: SIM110 - `any` takes twice as long, and this runs for every text
            if hint in lower:
                return True
        return False


def _replaced(pattern: re.Pattern[str], text: str) -> str:
    """Return the text with asterisks for all matches, at whatever level of escapes they are."""
    for depth in range(LEVELS + 1):
        for plain, starts in islice(_levels(text), depth, depth + 1):
            pieces: list[str] = []
            at = 0
            for found in pattern.finditer(plain):
                pieces += text[at : starts[found.start()]], REDACTED
                at = starts[found.end()]
            text = "".join([*pieces, text[at:]])
    return text


def _levels(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the text as it is, then with one more level of escapes undone each time.

    With it come the places in `text` where each of its characters begins, and where the last one ends.
    """
    plain = text
    starts: Sequence[int] = range(len(text) + 1)
    yield plain, starts
    for _ in range(LEVELS):
        pieces: list[str] = []
        kept: list[int] = []
        at = 0
        for escape in _ESCAPE.finditer(plain):
            code = escape[1] or escape[2]
            pieces += plain[at : escape.start()], chr(int(code, 16)) if code else escape[3]
            kept += starts[at : escape.start() + 1]
            at = escape.end()
        if not pieces:
            return
        plain, starts = "".join([*pieces, plain[at:]]), [*kept, *starts[at:]]
        yield plain, starts


def _hints(secret: str) -> Iterator[str]:
    """Yield texts of which every match of the secret has one."""
    if len(secret) < LONG:
        yield secret
    else:
        yield from (secret[:PART], secret[-PART:])


def _pattern(secret: str) -> str:
    text = re.escape(secret)
    if len(secret) < SHORT:
        return rf"(?<![A-Za-z0-9_-]){text}(?![A-Za-z0-9_-])"
    return text


def _cut_patterns(secret: str) -> Iterator[str]:
    """Yield patterns for a part of a long secret, at the end and at the beginning of a text."""
    if len(secret) >= LONG:
        rest = rf"\S{{0,{len(secret) - PART + _CUT_ESCAPE}}}"
        yield rf"{re.escape(secret[:PART])}{rest}\Z"
        yield rf"\A{rest}{re.escape(secret[-PART:])}"


def _base64_of(secret: str) -> Iterator[str]:
    """Yield the base64 of the secret at each of its three places in a group of three bytes, without shared digits.

    That of a shorter one than `SHORTEST_KEY` is in other people's words, too.
    """
    for place in range(3) if len(secret) >= SHORTEST_KEY else ():
        raw = bytes(place) + secret.encode(errors="surrogateescape")
        digits = b64encode(raw).decode()[-(-8 * place // 6) : 8 * len(raw) // 6]
        yield digits
        yield digits.translate({ord("+"): "-", ord("/"): "_"})
