"""Reads JSON that is not quite JSON: only for bodies that the fast decoder refuses.

The wait for an asset must not fail because its name was cut within an emoji, or its duration is NaN. What JSON can't
hold becomes null, and text that is no text gets U+FFFD. Everything here depends only on values.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from asset_worker.domain.nesting import ANSWER_LEVELS, nests_deeper

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_NOT_A_NUMBER: Final = re.compile(rf"({_STRING})|[+-]?\b(?:nan|inf(?:inity)?)\b", re.IGNORECASE | re.DOTALL)
_BRACKETS: Final = re.compile(rf"{_STRING}|[\[{{]+|[\]}}]+", re.DOTALL)
_STRUCTURE: Final = re.compile(rf"{_STRING}|[\[\]{{}},:]", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape; the group matches one half of a surrogate pair without the other half (RFC 8259, section 8.2)."""
_ID: Final = re.compile(r'"_id"\s*:\s*"([^"\\]*)"')

BYTE_ORDER_MARK: Final = "a byte-order mark"
NULS: Final = "NUL characters around the JSON"
INVALID_TEXT: Final = "text that is not UTF-8"
HALF_A_PAIR: Final = "half a surrogate pair"
NO_NUMBER: Final = "NaN or Infinity"
TOO_LARGE_A_NUMBER: Final = "a number out of range"
TOO_DEEP: Final = f"nesting deeper than {ANSWER_LEVELS} levels"
CONTROL_CHARACTERS: Final = "control characters in a text"


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A JSON document, and what had to be repaired in it."""

    document: Any
    repairs: tuple[str, ...] = ()


def read_document(body: bytes) -> Decoded:
    """Return the document in a body. NaN and what nests too deeply are null in it.

    Raises:
        ValueError, RecursionError: it can't be read.
    """
    text, repairs = _text_of(body)
    return _read(text, repairs)


def read_list(body: bytes) -> list[Decoded]:
    """Return the elements of the array `data` in a body, each read on its own.

    Of an element that can't be read, only the `_id` is in its document; None: it can't be found either.

    Raises:
        ValueError: there is no such array.
    """
    text, repairs = _text_of(body)
    return [_read_element(element, repairs) for element in _elements_of_data(text)]


def _read_element(text: str, repairs: tuple[str, ...]) -> Decoded:
    try:
        document = msgspec.json.decode(text)
        if not nests_deeper(document, ANSWER_LEVELS):
            return Decoded(document, repairs)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # most of the others can be read at once
    try:
        return _read(text, repairs)
    except (ValueError, RecursionError):
        found = _ID.search(text)
        return Decoded({"_id": found and found[1]}, repairs)


def _text_of(body: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the body as text without what surrounds the JSON, and what was repaired."""
    repairs = []
    utf16 = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8"
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        text = body.decode(encoding, errors="replace")
        repairs.append(INVALID_TEXT)
    inner = text.strip("\ufeff\0 \t\r\n")
    if utf16 or text.startswith("\ufeff"):
        repairs.append(BYTE_ORDER_MARK)
    if text.strip("\ufeff \t\r\n") != inner:
        repairs.append(NULS)
    return inner, tuple(repairs)


def _read(text: str, repairs: tuple[str, ...]) -> Decoded:
    found = list(repairs)
    whole = _ESCAPE.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)
    if whole != text:
        found.append(HALF_A_PAIR)
    text = _NOT_A_NUMBER.sub(lambda token: token[1] or "null", whole)
    if text != whole:
        found.append(NO_NUMBER)

    def real(digits: str) -> float | None:
        value = float(digits)
        if math.isfinite(value):
            return value
        found.append(TOO_LARGE_A_NUMBER)
        return None

    def integer(digits: str) -> int | None:
        try:
            return int(digits)
        except ValueError:  # Python's limit on the number of digits
            found.append(TOO_LARGE_A_NUMBER)
            return None

    def loaded(text: str) -> Any:
        return json.loads(text, strict=False, parse_float=real, parse_int=integer)

    try:
        document = loaded(text)
        is_too_deep = nests_deeper(document, ANSWER_LEVELS)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        found.append(TOO_DEEP)
        document = loaded(_pruned(text, ANSWER_LEVELS))
    return Decoded(document, tuple(dict.fromkeys(found)) or (CONTROL_CHARACTERS,))


def _pruned(text: str, levels: int) -> str:
    """Return the JSON with null for objects and arrays at more than this many levels."""
    kept, depth, start = [], 0, 0
    for token in _BRACKETS.finditer(text):
        run = token[0]
        if run[0] in "[{":
            if depth <= levels < depth + len(run):
                kept.append(text[start : token.start() + levels - depth] + "null")
            depth += len(run)
        elif run[0] in "]}":
            if depth - len(run) <= levels < depth:
                start = token.start() + depth - levels
            depth -= len(run)
    if depth > levels:
        raise ValueError("the JSON does not end")
    return "".join([*kept, text[start:]])


def _elements_of_data(text: str) -> Iterator[str]:
    """Yield the text of each element of the array `data` in an object.

    Raises:
        ValueError: there is no such array, or it does not end.
    """
    depth, start, name, latest = 0, -1, "", ""
    for token in _STRUCTURE.finditer(text):
        match token[0]:
            case "[" | "{" as opening:
                depth += 1
                if depth == 2 and opening == "[" and name == '"data"':
                    start = token.end()
            case "]" | "}":
                depth -= 1
                if depth == 1 and start >= 0:
                    if last := text[start : token.start()].strip():
                        yield last
                    return
            case "," if depth == 2 and start >= 0:
                yield text[start : token.start()]
                start = token.end()
            case ":" if depth == 1:
                name = latest
            case other:
                latest = other
    raise ValueError("there is no complete list in it")
