"""Text from outside, for people: without control characters that a terminal would obey, and not too long.

File names, the API's answers and arguments may hold anything: an escape sequence that writes to the clipboard (OSC 52),
a newline that begins a forged line, a bidirectional override that swaps what is read ("Trojan Source", CVE-2021-42574).
So such characters are shown as escapes wherever text meets a terminal or a log. Pure functions.
"""

from __future__ import annotations

import re
from typing import Final

_FROM_DELETE_ON: Final = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""DEL and C1 (ECMA-48); the bidirectional controls (UAX #9) and the line and paragraph separators; lone surrogates,
which stand for bytes that are not UTF-8 (PEP 383)."""
_IN_VALUE: Final = re.compile(rf"[\x00-\x1f{_FROM_DELETE_ON}]")
_IN_LINES: Final = re.compile(rf"[\x00-\x08\x0b-\x1f{_FROM_DELETE_ON}]")
_IN_JSON: Final = re.compile(f"[{_FROM_DELETE_ON}]")
_FIRST_BYTES: Final = (b"\x7f", b"\xc2", b"\xd8\x9c", b"\xe2\x80", b"\xe2\x81")
"""How each of these characters but the surrogates begins in UTF-8, which has no surrogates."""

CUT: Final = "…"
"""Stands at the end of a text that was cut."""


def visible(value: str) -> str:
    r"""Return a value with every control character as an escape (`\x1b`, `\n`, `\u202e`), to be shown on one line."""
    return _IN_VALUE.sub(_escape, value)


def visible_lines(text: str) -> str:
    """Return a text of several lines with every control character as an escape, except newlines and tabs."""
    return _IN_LINES.sub(_escape, text)


def visible_json(text: str) -> str:
    r"""Return JSON that means the same, with each character that JSON leaves to a terminal as `\uXXXX`.

    JSON itself requires escapes only for the characters before the space (RFC 8259, section 7).
    """
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def visible_json_bytes(encoded: bytes) -> bytes:
    """Return JSON in UTF-8 as `visible_json` does. Nearly all has none of these characters, which is seen at once."""
    is_suspicious = ord("\x7f") in encoded if encoded.isascii() else any(each in encoded for each in _FIRST_BYTES)
    return visible_json(encoded.decode()).encode() if is_suspicious else encoded


def clip(text: str, longest: int) -> str:
    """Return a text cut to `longest` characters, the last of them `CUT`. Redact secrets first."""
    return text if len(text) <= longest else text[: longest - 1] + CUT


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
