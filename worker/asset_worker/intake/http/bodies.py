"""Reads submissions from the body of a request, JSON or lines: pure functions.

A submission is parsed as a line of a queue file is, so the same ones are refused, for the same reasons.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

from asset_worker.domain.assets import ASSET_ID
from asset_worker.domain.submissions import Submission
from asset_worker.intake.lines import parse
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter

ORIGIN: Final = "http"
"""The origin of every submission that came over HTTP."""
MOST_ITEMS: Final = 1000
"""Submissions in one request."""
MOST_BYTES: Final = 8 << 20
"""Bytes in the body of a request."""
MOST_LINES: Final = 100 * MOST_ITEMS
"""Lines in it, blank ones and comments included: eight million of them would take twenty seconds to read."""

_FED_AT_ONCE: Final = 8 << 10
"""Bytes of lines that are split before the first of them is yielded."""
_JSON_TYPES: Final = frozenset({"application/json"})
_LINE_TYPES: Final = frozenset({"text/plain", "application/x-ndjson", "application/ndjson", "application/jsonl"})
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_BLANK: Final = re.compile(r"[ \t\r\n]+")
_BOM: Final = "\ufeff"


class Format(Enum):
    """How the body of a request is read."""

    JSON = "JSON"
    LINES = "lines"


class Refused(msgspec.Struct, frozen=True):
    """An item that is not accepted."""

    asset_id: str | None
    """None: it has none that could be an asset's."""
    reason: str


Item: TypeAlias = Submission | Refused


class BadRequestError(Exception):
    """Nothing of a request can be accepted. The message is for its sender."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        """The status of the answer."""


def too_many() -> BadRequestError:
    """Return the error of a request with more than `MOST_ITEMS` submissions."""
    return BadRequestError(413, f"a request holds {MOST_ITEMS} submissions at most: send several")


def too_large() -> BadRequestError:
    """Return the error of a request with more than `MOST_BYTES`."""
    return BadRequestError(413, f"the body of a request has {MOST_BYTES >> 20} MiB at most: send several")


def format_of(content_type: str | None, content_encoding: str | None) -> Format:
    """Return how to read a body with these header fields; None: the request has no such field.

    Raises:
        BadRequestError: it can't be read (415).
    """
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise BadRequestError(415, "the body must not be compressed: send it without Content-Encoding")
    kind, *parameters = (content_type or "text/plain").split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            raise BadRequestError(415, "the body must be UTF-8: send no other charset in Content-Type")
    match kind.strip().lower():
        case found if found in _JSON_TYPES:
            return Format.JSON
        case found if found in _LINE_TYPES:
            return Format.LINES
        case _:
            raise BadRequestError(
                415, "send Content-Type: application/json, or text/plain for lines as in a queue file (one ID each)"
            )


def items_in(body: bytes, form: Format, *, redact: Callable[[Any], Any]) -> Iterator[Item | None]:
    """Yield the submissions in a body, in order; None for a blank line or a comment. `redact` redacts secrets.

    Each takes little time, so that a caller may do something else in between.

    Raises:
        BadRequestError: the body is not JSON, or is neither an object, a string nor an array (400); or it has too many
            lines (413).
    """
    lines = _lines_of_json(body) if form is Format.JSON else _lines_of_text(body)
    for line in lines:
        if isinstance(line, Refused):
            yield line
            continue
        found = parse(line, number=0, origin=ORIGIN, stream="")
        if found is None:
            yield None
        elif not isinstance(found, Submission):
            asset_id = _id_in(line.raw)
            yield Refused(asset_id if redact(asset_id) == asset_id else None, redact(found.reason))
        elif redact(found.asset_id) != found.asset_id:
            yield Refused(None, "this is a secret of the worker, and no asset ID: it does not belong here")
        else:
            yield found


def _lines_of_text(body: bytes) -> Iterator[Line]:
    """Yield the lines of a body. The last one is complete without a newline: the length of the body is known."""
    if b"\0" in body:
        raise BadRequestError(400, "the body holds NUL bytes: send UTF-8 text")
    if body.count(b"\n") > MOST_LINES:
        raise BadRequestError(413, f"the body has {MOST_LINES} lines at most, blank ones and comments included")
    splitter = LineSplitter(0)
    for start in range(0, len(body), _FED_AT_ONCE):
        yield from splitter.feed(body[start : start + _FED_AT_ONCE])
    if not body.endswith(b"\n"):
        yield from splitter.feed(b"\n")


def _lines_of_json(body: bytes) -> Iterator[Line | Refused]:
    """Yield each object and each ID of a JSON document as the line that it could be in a queue file."""
    for value, text in _values(_decoded(body)):
        raw = text.encode("utf-8", "surrogatepass")
        if isinstance(value, str):
            if ASSET_ID.fullmatch(value):
                yield Line(value.encode(), 0, len(value))
            else:
                yield Refused(None, "an asset ID has 1 to 64 letters, digits, '-' or '_'")
        elif not isinstance(value, dict):
            yield Refused(None, "a submission is an object with an asset_id, or an asset ID as text")
        elif len(raw) > LINE_BYTES_LIMIT:
            yield Refused(None, f"a submission has {LINE_BYTES_LIMIT} bytes at most")
        else:
            yield Line(raw, 0, len(raw))


def _decoded(body: bytes) -> str:
    try:
        return body.decode().removeprefix(_BOM).strip(" \t\r\n")
    except UnicodeDecodeError:
        raise BadRequestError(400, "the body is not UTF-8 text") from None


def _values(text: str) -> Iterator[tuple[Any, str]]:
    """Yield the document, or the elements of the array that it is: each decoded, and as it is written.

    The elements are decoded one by one: a body of eight megabytes takes a tenth of a second.
    """
    if not text.startswith("["):
        value, end = _value_at(text, 0)
        if end != len(text):
            raise _not_json("there is more after its end")
        if not isinstance(value, dict | str):
            raise BadRequestError(400, "the body must be an object, an asset ID as text, or an array of these")
        yield value, text
        return
    position = _skip_blanks(text, 1)
    if text.startswith("]", position):
        position += 1
    else:
        while True:
            value, end = _value_at(text, position)
            yield value, text[position:end]
            position = _skip_blanks(text, end)
            if text.startswith("]", position):
                position += 1
                break
            if not text.startswith(",", position):
                raise _not_json("the array has no end")
            position = _skip_blanks(text, position + 1)
    if position != len(text):
        raise _not_json("there is more after its end")


# Numbers stay text: their digits may be many, and `parse` reads them again.
_value_of = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode


def _value_at(text: str, position: int) -> tuple[Any, int]:
    """Return the value that begins here, with None for a number, and where it ends."""
    try:
        value, end = _value_of(text, position)
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    return (value if text[position] in '"{[' else None), end


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return position if found is None else found.end()


def _not_json(why: str) -> BadRequestError:
    return BadRequestError(400, f"the body is not JSON: {why}")


def _id_in(raw: bytes) -> str | None:
    """Return the asset ID in an object that is refused for something else; None: it has none."""
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    asset_id = document.get("asset_id") if isinstance(document, dict) else None
    return asset_id if isinstance(asset_id, str) and ASSET_ID.fullmatch(asset_id) else None
