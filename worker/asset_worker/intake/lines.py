"""Parses a line into a submission, or into a rejection with the reason: pure functions.

Lines are not trusted: anybody may write them, and a bad one is only rejected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import ASSET_ID, AssetId, WaitFor
from asset_worker.domain.nesting import METADATA_LEVELS, nests_deeper
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.submissions import RAW_BYTES_KEPT, RAW_BYTES_LIMIT, Options, Rejection, Submission
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line

DEADLINE_LIMIT: Final = 10 * 365 * 86400.0
"""The longest deadline that a line may set: ten years, in seconds."""

_TOO_LONG: Final = f"a line holds {LINE_BYTES_LIMIT} bytes at most"
_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n\v\f"
_BARE: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_TRACE: Final = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(rf"00-{_TRACE}|(?!00|ff)[0-9a-f]{{2}}-{_TRACE}(-[!-~]*)?")
"""W3C Trace Context, section 3.2. An invalid value is ignored, and the line is not rejected for it."""

_decode = msgspec.json.Decoder().decode


class _Unusable(Exception):  # noqa: N818 - it never leaves this module
    """A line holds no usable submission. The message is the reason."""


def parse_lines(
    lines: Sequence[Line], *, first: int, origin: str, stream: str
) -> tuple[list[Submission], list[Rejection]]:
    """Return the submissions and the rejections of consecutive lines; the first has the number `first`. See `parse`."""
    submissions: list[Submission] = []
    rejections: list[Rejection] = []
    for number, line in enumerate(lines, start=first):
        parsed = parse(line, number=number, origin=origin, stream=stream)
        if isinstance(parsed, Submission):
            submissions.append(parsed)
        elif parsed is not None:
            rejections.append(parsed)
    return submissions, rejections


def parse(line: Line, *, number: int, origin: str, stream: str) -> Submission | Rejection | None:
    """Return the submission in a line, or its rejection; None for a blank line or a comment.

    Args:
        line: the line.
        number: its number in `origin`, from 1.
        origin: where it came from, for people (`Submission.origin`).
        stream: identifies what is read, such as the device and inode of a file, or a run that reads stdin. Together
            with the line's offset it identifies the line.
    """
    if line.too_long:
        return reject(line, _TOO_LONG, number=number, origin=origin, stream=stream)
    text = line.raw.strip(_BLANKS)
    if _BARE.fullmatch(text):  # nearly every line is a bare ID, so this is tried first
        return Submission(AssetId(text.decode("ascii")), origin, number)
    text = text.removeprefix(_BOM).lstrip(_BLANKS)
    if not text or text.startswith(b"#"):
        return None
    try:
        asset_id, options = _submission(text)
    except _Unusable as why:
        return reject(line, str(why), number=number, origin=origin, stream=stream)
    return Submission(asset_id, origin, number, options)


def reject(line: Line, reason: str, *, number: int, origin: str, stream: str) -> Rejection:
    """Return the rejection of a line, with a key that is the same whenever the line is read. See `parse`."""
    identity = b"%s\n%d\n%s" % (stream.encode(errors="replace"), line.offset, line.raw[:RAW_BYTES_LIMIT])
    key = blake2b(identity, digest_size=12).hexdigest()
    return Rejection(origin, number, reason, line.raw[:RAW_BYTES_KEPT], key)


def _submission(text: bytes) -> tuple[AssetId, Options | None]:
    if _BARE.fullmatch(text):
        return AssetId(text.decode("ascii")), None
    if len(text) > LINE_BYTES_LIMIT:
        raise _Unusable(_TOO_LONG)
    try:
        text.decode()
    except UnicodeDecodeError:
        raise _Unusable("the line is not UTF-8 text") from None
    if not text.startswith(b"{"):
        raise _Unusable("an asset ID has 1 to 64 letters, digits, '-' or '_'")
    try:
        document = _decode(text)
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
        deadline=_deadline(document.get("deadline")),
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


def _deadline(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unusable("deadline must be a number of seconds")
    if not (0 < value <= DEADLINE_LIMIT and isfinite(value)):
        raise _Unusable("deadline must be more than 0 seconds, and at most ten years")
    return float(value)


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
