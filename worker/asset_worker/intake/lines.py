"""A line to a submission, or to the reason why it is none: pure.

Lines come from anywhere: nothing that they hold may do more than be rejected.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import ASSET_ID, AssetId, WaitFor
from asset_worker.domain.nesting import METADATA_LEVELS, nests_deeper
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.submissions import RAW_BYTES_KEPT, RAW_BYTES_LIMIT, Options, Rejection, Submission

LINE_BYTES_LIMIT: Final = 64 * 1024
"""The longest line, its newline not counted."""
DEADLINE_LIMIT: Final = 10 * 365 * 86400.0

_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n\v\f"
_BARE: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_TRACE: Final = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(rf"00-{_TRACE}|(?!00|ff)[0-9a-f]{{2}}-{_TRACE}(-[!-~]*)?")
"""W3C Trace Context, section 3.2. One that is not valid is to be ignored, and rejects nothing."""

_decode = msgspec.json.Decoder().decode


class _Unusable(Exception):  # noqa: N818 - it never leaves this module
    """Why a line holds no usable submission."""


def parse(raw: bytes, *, origin: str, line: int, stream: str, offset: int) -> Submission | Rejection | None:
    """The submission in a line without its newline; None: blank or a comment.

    `stream` and `offset` (bytes) tell this line from all others: what it is read from, and where in it.
    """
    text = raw.strip(_BLANKS)
    if _BARE.fullmatch(text):  # nearly every line, so first
        return Submission(AssetId(text.decode("ascii")), origin, line)
    text = text.removeprefix(_BOM).lstrip(_BLANKS)
    if not text or text.startswith(b"#"):
        return None
    try:
        asset_id, options = _submission(text)
    except _Unusable as why:
        return rejection(raw, str(why), origin=origin, line=line, stream=stream, offset=offset)
    return Submission(asset_id, origin, line, options)


def rejection(raw: bytes, reason: str, *, origin: str, line: int, stream: str, offset: int) -> Rejection:
    """A line that is none; `raw` may be its beginning only."""
    told = b"%s\n%d\n%s" % (stream.encode(errors="replace"), offset, raw[:RAW_BYTES_LIMIT])
    return Rejection(origin, line, reason, raw[:RAW_BYTES_KEPT], blake2b(told, digest_size=12).hexdigest())


def _submission(text: bytes) -> tuple[AssetId, Options | None]:
    if _BARE.fullmatch(text):
        return AssetId(text.decode("ascii")), None
    if len(text) > LINE_BYTES_LIMIT:
        raise _Unusable(f"a line holds {LINE_BYTES_LIMIT} bytes at most")
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


class Line(msgspec.Struct, frozen=True, gc=False):
    """A complete line, or the beginning of one that is too long."""

    raw: bytes
    offset: int
    """Where it begins, in bytes."""
    end: int
    """Where the next one begins."""
    too_long: bool = False


class LineSplitter:
    """Bytes in, lines out. A line over the limit is cut to its beginning, so that it can't fill the memory."""

    def __init__(self, offset: int) -> None:
        """`offset` is where the first byte that is fed stands."""
        self.end = offset
        """Where the bytes fed so far end."""
        self._start = offset
        self._partial = b""
        self._too_long = False

    @property
    def partial(self) -> bytes:
        """The last line as far as it has come: it has no newline yet."""
        return self._partial

    @property
    def is_too_long(self) -> bool:
        """Whether that is more than a line may hold: then only its beginning is kept."""
        return self._too_long

    @property
    def partial_start(self) -> int:
        """Where that line begins."""
        return self._start

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in `data`."""
        lines: list[Line] = []
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self.end += len(piece) + 1
            lines.append(self._close(piece))
        self.end += len(pieces[-1])
        self._keep(pieces[-1])
        return lines

    def finish(self) -> Line | None:
        """The last line, when its end is the end of all."""
        if not self._partial:
            return None
        return self._close(b"")

    def _close(self, piece: bytes) -> Line:
        self._keep(piece)
        line = Line(self._partial, self._start, self.end, self._too_long)
        self._start, self._partial, self._too_long = self.end, b"", False
        return line

    def _keep(self, piece: bytes) -> None:
        # A line's carriage return and byte-order mark are not counted.
        if self._too_long or len(self._partial) + len(piece) > LINE_BYTES_LIMIT + 4:
            self._partial = (self._partial + piece[:RAW_BYTES_KEPT])[:RAW_BYTES_KEPT]
            self._too_long = True
        else:
            self._partial = self._partial + piece if self._partial else piece
