"""Events, of completions and of steps before them: one JSON object per line, CloudEvents 1.0 in structured mode.

The attribute rules are those of the CloudEvents specification 1.0.2; `traceparent` is its distributed tracing
extension.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from asset_worker.domain.assets import Asset, Outcome
from asset_worker.domain.instants import seconds_of
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.transitions import TRANSITIONS, Transition
from asset_worker.runtime.text import visible_json_bytes

if TYPE_CHECKING:
    from asset_worker.domain.assets import Done
    from asset_worker.domain.submissions import Rejection, Submission

SHOWN_HEAD_BYTES: Final = 768
SHOWN_TAIL_BYTES: Final = 256
"""Bytes that the event of a rejected line shows of the beginning and of the end of a line that is longer than both."""

FIRST_INSTANT: Final = -62_135_596_800.0
LAST_INSTANT: Final = 253_402_300_799.0
"""The bounds of what `timestamp` can show, in seconds since the epoch."""

TYPE_PREFIX = "dev.asset-worker.asset."
"""The CloudEvents type without its last word: the outcome, or the name of the transition."""

Redact = Callable[[Any], Any]
"""Takes decoded JSON, and returns it with the API key redacted wherever it occurs."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Event(msgspec.Struct, frozen=True):
    """An event, encoded once: every delivery sends the same bytes."""

    id: str
    outcome: Outcome | None
    """How the wait ended; None: it goes on, and the event is a transition."""
    body: bytes
    """The JSON on one line, without the newline, and without characters that a terminal would obey."""


class Stored(msgspec.Struct, frozen=True):
    """An event in the outbox."""

    position: int
    """Increases in the order of completion; never used twice."""
    id: str
    body: bytes


class Heading(msgspec.Struct, frozen=True):
    """What an event is about, read from its body."""

    type: str
    subject: str | None = None
    """The asset's ID; None: a rejected line."""
    time: str | None = None
    """When it was made, as RFC 3339, by the wall clock of that moment."""

    @property
    def word(self) -> str:
        """The last word of the type: the outcome of a completion, or the name of a transition."""
        return self.type.rpartition(".")[2]

    @property
    def is_transition(self) -> bool:
        """Whether the event reports a step, and the completion of the wait is still to come."""
        return self.word in TRANSITIONS


_decode_heading = msgspec.json.Decoder(Heading).decode


def heading_of(event: Stored) -> Heading:
    """Return what a stored event is about.

    Raises:
        msgspec.DecodeError: its body is not an event: the journal is damaged.
    """
    return _decode_heading(event.body)


def made_at(event: Stored) -> float | None:
    """Return when a stored event was made, in seconds since the epoch, UTC; None: its body doesn't say so."""
    try:
        return seconds_of(heading_of(event).time)
    except msgspec.DecodeError:
        return None


class Times(msgspec.Struct, frozen=True):
    """The instants of one wait, in seconds of one clock. Events have those of the wall clock, since the epoch, UTC."""

    submitted: float
    seen: float
    """When the look ended from which the event is made: for a completion, the end of the wait."""
    ready: float | None = None
    """When `ready` was first seen; None: never."""
    last_seen_waiting: float | None = None
    """When a look last found the asset not done; None: never."""

    def shifted(self, seconds: float) -> Times:
        """Return the same instants by another clock, which shows `seconds` more. Their order stays the same."""
        return Times(
            self.submitted + seconds,
            self.seen + seconds,
            None if self.ready is None else self.ready + seconds,
            None if self.last_seen_waiting is None else self.last_seen_waiting + seconds,
        )


def completed(
    submission: Submission,
    verdict: Done,
    *,
    asset: Asset | None,
    completion: int,
    times: Times,
    polls: int,
    source: str,
    redact: Redact,
) -> Event:
    """Return the event of an asset whose wait is over.

    Args:
        submission: the request to watch the asset.
        verdict: how the wait ended.
        asset: the asset as the API last described it; None: it never did.
        completion: the number of this completion of the asset, from 1.
        times: the instants of the wait, by the wall clock.
        polls: the number of looks.
        source: the CloudEvents source.
        redact: removes the API key, which an answer may echo.
    """
    return _event_of_wait(
        submission,
        verdict,
        verdict.outcome.value,
        identity=f"{submission.asset_id}.{completion}",
        asset=asset,
        times=times,
        polls=polls,
        source=source,
        redact=redact,
    )


def reached(
    submission: Submission,
    transition: Transition,
    *,
    asset: Asset | None,
    completion: int,
    times: Times,
    polls: int,
    source: str,
    redact: Redact,
) -> Event:
    """Return the event of a step, with the fields of a completion; those that only an outcome has are null.

    The arguments are those of `completed`; `completion` is the number of the completion to which the wait leads.
    """
    return _event_of_wait(
        submission,
        None,
        transition.value,
        identity=f"{submission.asset_id}.{completion}.{transition.value}",
        asset=asset,
        times=times,
        polls=polls,
        source=source,
        redact=redact,
    )


def _event_of_wait(
    submission: Submission,
    verdict: Done | None,
    word: str,
    *,
    identity: str,
    asset: Asset | None,
    times: Times,
    polls: int,
    source: str,
    redact: Redact,
) -> Event:
    asset_id = submission.asset_id
    options = submission.options
    data = {
        "asset_id": asset_id,
        "outcome": None if verdict is None else verdict.outcome.value,
        "reason": redact(None if verdict is None else verdict.reason),
        "renditions": redact({name: asset and asset.renditions.get(name) for name in RENDITIONS}),
        "asset": redact(asset and asset.document),
        "submitted_at": timestamp(times.submitted),
        "ready_at": times.ready and timestamp(times.ready),
        "completed_at": None if verdict is None else timestamp(times.seen),
        "last_seen_waiting_at": times.last_seen_waiting and timestamp(times.last_seen_waiting),
        "polls": polls,
        "submission": {
            "source": submission.source,
            "metadata": (options.metadata if options else None) or {},
        },
    }
    return _event(
        identity,
        None if verdict is None else verdict.outcome,
        word,
        data,
        subject=asset_id,
        time=times.seen,
        source=source,
        traceparent=options.traceparent if options else None,
    )


def rejected(rejection: Rejection, *, at: float, source: str) -> Event:
    """Return the event of a line that holds no usable submission. It has no subject: there is no asset.

    `at` is the time of the rejection, in seconds since the epoch, UTC; `source` is the CloudEvents source.
    """
    data = {
        "asset_id": None,
        "outcome": Outcome.REJECTED.value,
        "reason": rejection.reason,
        "line": _shown(rejection),
        "renditions": dict.fromkeys(RENDITIONS),
        "asset": None,
        "submitted_at": timestamp(at),
        "ready_at": None,
        "completed_at": timestamp(at),
        "last_seen_waiting_at": None,
        "polls": 0,
        "submission": {"source": f"{rejection.origin}:{rejection.line}", "metadata": {}},
    }
    return _event(
        f"rejected.{rejection.key}",
        Outcome.REJECTED,
        Outcome.REJECTED.value,
        data,
        subject=None,
        time=at,
        source=source,
    )


def _shown(rejection: Rejection) -> str:
    """Return the line as text. Of a long one: its first and its last bytes in UTF-8, without parts of characters."""
    head = _utf8(rejection.raw)
    tail = head if rejection.tail is None else _utf8(rejection.tail)
    if rejection.tail is None and len(head) <= SHOWN_HEAD_BYTES + SHOWN_TAIL_BYTES:
        return head.decode()
    return head[:SHOWN_HEAD_BYTES].decode(errors="ignore") + tail[-SHOWN_TAIL_BYTES:].decode(errors="ignore")


def _utf8(raw: bytes) -> bytes:
    return raw.decode(errors="replace").encode()


def timestamp(seconds: float) -> str:
    """Return the RFC 3339 timestamp, in UTC and to the millisecond, of `seconds` since the epoch.

    Its years are 1 to 9999: an instant before or after them, as an offset can make it, is shown as their first or last
    second.
    """
    shown = min(max(seconds, FIRST_INSTANT), LAST_INSTANT)
    return datetime.fromtimestamp(shown, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(
    identity: str,
    outcome: Outcome | None,
    word: str,
    data: dict[str, Any],
    *,
    subject: str | None,
    time: float,
    source: str,
    traceparent: str | None = None,
) -> Event:
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": identity,
        "source": source,
        "type": TYPE_PREFIX + word,
    }
    if subject is not None:
        attributes["subject"] = subject
    attributes["time"] = timestamp(time)
    if traceparent is not None:
        attributes["traceparent"] = traceparent
    attributes["datacontenttype"] = "application/json"
    attributes["data"] = data
    return Event(identity, outcome, visible_json_bytes(_encode(attributes)))
