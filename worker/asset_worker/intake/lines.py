"""Parses a line into a submission, or into a rejection with the reason: pure functions.

Lines are not trusted: anybody may write them, and a bad one is only rejected.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import ASSET_ID, AssetId, WaitFor
from asset_worker.domain.nesting import METADATA_LEVELS, nests_deeper
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.submissions import Options, Rejection, Submission, Zeros
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter, is_utf16, utf16_as_utf8
from asset_worker.runtime.durations import WORDS as DURATION_WORDS
from asset_worker.runtime.durations import seconds_of

DEADLINE_LIMIT: Final = 10 * 365 * 86400.0
"""The longest deadline that a line may set: ten years, in seconds."""
GRACE_LIMIT: Final = 7 * 86400.0
"""The longest `not_found_grace` that a line may set, in seconds: seven days. A multipart upload may end a day after its
ID was reserved, and a few days more leave room for one that is paused and started again."""

_HASHED_BYTES: Final = 1024
"""Bytes of a rejected line that its key is made from."""
_KEY_SHOWN: Final = 64
"""Characters of a repeated key that a reason shows at most."""
_TOO_LONG: Final = f"a line holds {LINE_BYTES_LIMIT} bytes at most"
_UTF16: Final = "the line is UTF-16 text, perhaps written by PowerShell: write the input as UTF-8"
_CUT_BY_ZEROS: Final = "incomplete: NUL bytes follow the text, so the rest of the line was lost"
_CUT_AT_END: Final = "incomplete: the line has no newline and fewer digits than an asset ID: submit the asset again"
_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n\v\f"
_BARE: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_USUAL_ID: Final = re.compile(rb"[0-9A-Fa-f]{24}")
_CUT_ID: Final = re.compile(rb"[0-9A-Fa-f]{1,23}")
"""What the beginning of an ID of the usual form looks like."""
_TRACE: Final = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(rf"00-{_TRACE}|(?!00|ff)[0-9a-f]{{2}}-{_TRACE}(-[!-~]*)?")
"""W3C Trace Context, section 3.2. An invalid value is ignored, and the line is not rejected for it."""


class _Unusable(Exception):  # noqa: N818 - it never leaves this module
    """A line holds no usable submission. The message is the reason."""


def _refuse_repeated_keys(members: list[tuple[str, Any]]) -> None:
    """Refuse an object with a key that it has twice: which value is meant is not known (RFC 8259, section 4)."""
    if len(dict(members)) < len(members):
        [(key, _)] = Counter(key for key, _ in members).most_common(1)
        name = json.dumps(key, ensure_ascii=False) if len(key) <= _KEY_SHOWN else "(a long one)"
        raise _Unusable(f"the object has the key {name} more than once")


_decode = msgspec.json.Decoder().decode
# msgspec keeps the last of two values without a word, so the objects that it accepts are read a second time.
_check_keys = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys, parse_int=str, parse_float=str).decode


class ParsedLines(msgspec.Struct, frozen=True):
    """What consecutive lines hold."""

    submissions: list[Submission]
    rejections: list[Rejection]
    zeros: list[Zeros]
    """The zeros between the lines."""

    @property
    def taken(self) -> int:
        """How many of the lines take room in the queue: all but blank ones and comments."""
        return len(self.submissions) + len(self.rejections)

    def add(self, others: ParsedLines) -> None:
        """Add what other lines hold."""
        self.submissions.extend(others.submissions)
        self.rejections.extend(others.rejections)
        self.zeros.extend(others.zeros)


def parse_lines(lines: Sequence[Line], *, first: int, origin: str, stream: str) -> ParsedLines:
    """Return what consecutive lines hold; the first has the number `first`. See `parse`."""
    parsed = ParsedLines([], [], [])
    number = first
    for line in lines:
        found = parse(line, number=number, origin=origin, stream=stream)
        if isinstance(found, Submission):
            parsed.submissions.append(found)
        elif found is not None:
            parsed.rejections.append(found)
        if line.zeros:
            parsed.zeros.append(Zeros(origin, number, line.zeros, line.end))
        else:
            number += 1
    return parsed


def holds_lines(data: bytes) -> bool:
    """Return whether the data has any line, the partial one at its end included, that is not blank and no comment."""
    splitter = LineSplitter(0)
    parsed = parse_lines([*splitter.feed(data), *splitter.finish()], first=1, origin="", stream="")
    return bool(parsed.submissions or parsed.rejections)


def parse(line: Line, *, number: int, origin: str, stream: str) -> Submission | Rejection | None:
    """Return the submission in a line, or its rejection; None for a blank line or a comment.

    Args:
        line: the line.
        number: its number in `origin`, from 1.
        origin: where it came from, for people (`Submission.origin`).
        stream: identifies what is read, such as the id of a file (`Checkpoint.id`), or a run that reads stdin. Together
            with the line's offset it identifies the line.
    """
    if line.too_long:
        found = reject(line, _TOO_LONG, number=number, origin=origin, stream=stream)
        return _as_utf8(found) if is_utf16(line.raw) else found
    text = line.raw.strip(_BLANKS)
    ends_well = not line.zeros and not line.unterminated
    if ends_well and _BARE.fullmatch(text):  # nearly every line is a bare ID, so this is tried first
        return Submission(AssetId(text.decode("ascii")), origin, number)
    is_foreign = is_utf16(line.raw)
    text = _without_marks(utf16_as_utf8(line.raw) if is_foreign else text)
    if not text or text.startswith(b"#"):
        return None
    if is_foreign:
        return _as_utf8(reject(line, _UTF16, number=number, origin=origin, stream=stream))
    try:
        if not ends_well:
            _check_end(text, line)
        asset_id, options = _submission(text)
    except _Unusable as why:
        return reject(line, str(why), number=number, origin=origin, stream=stream)
    return Submission(asset_id, origin, number, options)


def _check_end(text: bytes, line: Line) -> None:
    """Refuse a line without a newline that looks like a part of one. Half an object is refused because it is not JSON.

    At the end of an input, that is what the beginning of an ID of the usual form looks like. Zeros are where data was
    lost, so an ID before them must have the usual form.
    """
    if line.unterminated and _CUT_ID.fullmatch(text):
        raise _Unusable(_CUT_AT_END)
    if line.zeros and not (_USUAL_ID.fullmatch(text) or text.endswith(b"}")):
        raise _Unusable(_CUT_BY_ZEROS)


def reject(line: Line, reason: str, *, number: int, origin: str, stream: str) -> Rejection:
    """Return the rejection of a line, with a key that is the same whenever the line is read. See `parse`."""
    identity = b"%s\n%d\n%s" % (stream.encode(errors="replace"), line.offset, line.raw[:_HASHED_BYTES])
    key = blake2b(identity, digest_size=12).hexdigest()
    return Rejection(origin, number, reason, line.raw, key, line.tail)


def _as_utf8(rejection: Rejection) -> Rejection:
    """Return the rejection of a UTF-16 line with its text in UTF-8, in which secrets can be recognised."""
    tail = rejection.tail and utf16_as_utf8(rejection.tail)
    return msgspec.structs.replace(rejection, raw=_without_marks(utf16_as_utf8(rejection.raw)), tail=tail)


def _without_marks(raw: bytes) -> bytes:
    """Return a line without blanks around it and without a byte-order mark."""
    return raw.strip(_BLANKS).removeprefix(_BOM).lstrip(_BLANKS)


def _submission(text: bytes) -> tuple[AssetId, Options | None]:
    if _BARE.fullmatch(text):
        return AssetId(text.decode("ascii")), None
    if len(text) > LINE_BYTES_LIMIT:
        raise _Unusable(_TOO_LONG)
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        raise _Unusable("the line is not UTF-8 text") from None
    if not text.startswith(b"{"):
        raise _Unusable("an asset ID has 1 to 64 letters, digits, '-' or '_'")
    try:
        document = _decode(text)
        _check_keys(characters)
    except RecursionError:
        raise _Unusable("the object is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise _Unusable(f"the line is not JSON: {error}") from None
    asset_id = document.get("asset_id")
    if asset_id is None:
        raise _Unusable("the object has no asset_id")
    if not isinstance(asset_id, str) or not ASSET_ID.fullmatch(asset_id):
        raise _Unusable("asset_id must be 1 to 64 letters, digits, '-' or '_'")
    options = Options(
        metadata=_metadata(document.get("metadata")),
        deadline=_duration(document, "deadline", most=DEADLINE_LIMIT, in_words="ten years"),
        not_found_grace=_duration(document, "not_found_grace", most=GRACE_LIMIT, in_words="seven days"),
        traceparent=_traceparent(document.get("traceparent")),
        wait_for=_wait_for(document.get("wait_for")),
    )
    return AssetId(asset_id), None if options == Options() else options


def _metadata(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise _Unusable("metadata must be an object")
    if nests_deeper(value, METADATA_LEVELS):
        raise _Unusable(f"metadata may nest {METADATA_LEVELS} levels deep at most")
    return value


def _duration(document: Mapping[str, Any], key: str, *, most: float, in_words: str) -> float | None:
    """Return the seconds at a key of the object; None: it has none."""
    value = document.get(key)
    if value is None:
        return None
    try:
        seconds = seconds_of(value) if isinstance(value, str) else value
    except ValueError:
        seconds = None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _Unusable(f"{key} must be {DURATION_WORDS}")
    if not 0 < seconds <= most:
        raise _Unusable(f"{key} must be more than 0 seconds, and at most {in_words}")
    return float(seconds)


def _traceparent(value: Any) -> str | None:
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def _wait_for(value: Any) -> dict[str, WaitFor]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not value.keys() <= RENDITIONS.keys():
        several = "both" if len(RENDITIONS) == 2 else "several"
        raise _Unusable(f"wait_for must be an object with {', '.join(RENDITIONS)}, or {several}")
    try:
        return {name: WaitFor(choice) for name, choice in value.items()}
    except ValueError:
        raise _Unusable(f"wait_for: each must be one of {', '.join(WaitFor)}") from None
