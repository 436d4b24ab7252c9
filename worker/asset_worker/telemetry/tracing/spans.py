"""Spans as values, and the span of an asset, which is made from its completion event: pure.

Attributes have the names of OpenTelemetry's semantic conventions where there is one, else `asset_worker.…`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from asset_worker.domain.assets import Outcome
from asset_worker.domain.events import Redact, Stored
from asset_worker.domain.transitions import TRANSITIONS
from asset_worker.runtime.text import clip
from asset_worker.telemetry.tracing.context import AssetTrace, AssetTraces, SpanContext

LONGEST_TEXT: Final = 1_000
"""Characters of an attribute that are sent: as many as a reason has. A URL or a status from outside may be longer."""
ASSET_SPAN: Final = "asset"
CHANGED: Final = "asset.changed"
"""The span event of a look that changed something: as the log event of this name."""
_FAILURES: Final = frozenset({Outcome.FAILED.value, Outcome.NOT_FOUND.value, Outcome.TIMED_OUT.value})
"""The outcomes after which there is no asset to go on with. A degraded asset can be used."""

Value = str | int | float | bool | Sequence[str]


class Kind(Enum):
    """The kinds of spans that are used, by the names that OpenTelemetry has for them."""

    INTERNAL = "INTERNAL"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened within a span."""

    name: str
    at: int
    """Nanoseconds since the epoch."""
    attributes: Mapping[str, Value] = {}


class Span(msgspec.Struct, frozen=True):
    """A span that has ended."""

    name: str
    context: SpanContext
    start: int
    """Nanoseconds since the epoch; as `end`."""
    end: int
    attributes: Mapping[str, Value]
    parent: SpanContext | None = None
    parent_is_remote: bool = False
    """Whether another process has made the parent."""
    kind: Kind = Kind.INTERNAL
    links: Sequence[SpanContext] = ()
    events: Sequence[SpanEvent] = ()
    error: str | None = None
    """Why it failed, for people; None: it did not."""


class _Submission(msgspec.Struct, frozen=True):
    source: str = ""


class _Data(msgspec.Struct, frozen=True):
    outcome: str | None
    submitted_at: str
    completed_at: str | None
    reason: str | None = None
    ready_at: str | None = None
    last_seen_waiting_at: str | None = None
    polls: int = 0
    renditions: Mapping[str, str | None] = {}
    submission: _Submission = _Submission()


class _Body(msgspec.Struct, frozen=True):
    """What is read of an event's body."""

    source: str
    type: str
    data: _Data
    subject: str | None = None
    traceparent: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """What an event is about: one wait for one asset."""

    asset_id: str
    completion: int
    source: str
    type: str
    traceparent: str | None

    def placed(self, traces: AssetTraces) -> AssetTrace:
        """Return where the span of the asset is."""
        return traces.place(self.asset_id, self.completion, self.traceparent, source=self.source)


class _Envelope(msgspec.Struct, frozen=True):
    source: str = ""
    type: str = ""
    subject: str | None = None
    traceparent: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def identity_of(event: Stored) -> Identity | None:
    """Return what an event is about; None: a rejected line, or the event is damaged."""
    try:
        envelope = _decode_envelope(event.body)
        _, completion, *_ = event.id.split(".")
        if envelope.subject is None:
            return None
        return Identity(envelope.subject, int(completion), envelope.source, envelope.type, envelope.traceparent)
    except (msgspec.DecodeError, ValueError):
        return None


def asset_span(event: Stored, traces: AssetTraces, looks: Sequence[SpanEvent] = ()) -> Span | None:
    """Return the span of an asset from its completion event; None: the event is not one.

    `looks` are the changes that looks have shown, as far as they are known: those before a restart are not.
    """
    identity = identity_of(event)
    if identity is None or identity.type.rsplit(".", 1)[-1] in TRANSITIONS:
        return None
    try:
        body = _decode_body(event.body)
        start, end = _nanoseconds(body.data.submitted_at), _nanoseconds(body.data.completed_at or "")
    except (msgspec.DecodeError, ValueError):
        return None
    data = body.data
    placed = identity.placed(traces)
    attributes: dict[str, Value | None] = {
        "asset_worker.asset.id": identity.asset_id,
        "asset_worker.completion": identity.completion,
        "asset_worker.outcome": data.outcome,
        "asset_worker.reason": data.reason,
        "asset_worker.polls": data.polls,
        "asset_worker.ready_at": data.ready_at,
        "asset_worker.last_seen_waiting_at": data.last_seen_waiting_at,
        "asset_worker.submission.source": data.submission.source,
        **{f"asset_worker.rendition.{name}": status for name, status in data.renditions.items()},
        "cloudevents.event_id": event.id,
        "cloudevents.event_source": identity.source,
        "cloudevents.event_type": identity.type,
    }
    is_failure = data.outcome in _FAILURES
    if is_failure:
        attributes["error.type"] = data.outcome
    return Span(
        ASSET_SPAN,
        placed.context,
        start,
        max(start, end),
        known(attributes),
        placed.parent,
        parent_is_remote=True,
        events=_with_ready(looks, data.ready_at),
        error=(data.reason or data.outcome) if is_failure else None,
    )


def known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return the attributes that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}


def changed(what: str, before: str | None, after: str | None, *, at: int) -> SpanEvent:
    """Return the span event of a look that changed something. None: it was not seen."""
    attributes = {"asset_worker.what": what, "asset_worker.from": before, "asset_worker.to": after}
    return SpanEvent(CHANGED, at, known(attributes))


def redacted(span: Span, redact: Redact) -> Span:
    """Return the span with secrets redacted, and long texts cut."""

    def clean(attributes: Mapping[str, Value]) -> dict[str, Value]:
        clean: dict[str, Value] = redact(dict(attributes))
        return {name: clip(value, LONGEST_TEXT) if isinstance(value, str) else value for name, value in clean.items()}

    return msgspec.structs.replace(
        span,
        attributes=clean(span.attributes),
        events=[msgspec.structs.replace(each, attributes=clean(each.attributes)) for each in span.events],
        error=None if span.error is None else clip(redact(span.error), LONGEST_TEXT),
    )


def _with_ready(looks: Sequence[SpanEvent], ready_at: str | None) -> Sequence[SpanEvent]:
    """Return the changes, and that to `ready`, which the completion event knows after a restart, too."""
    ready = {"asset_worker.what": "status", "asset_worker.to": "ready"}
    if ready_at is None or any(ready.items() <= each.attributes.items() for each in looks):
        return looks
    return sorted([*looks, SpanEvent(CHANGED, _nanoseconds(ready_at), ready)], key=lambda each: each.at)


def _nanoseconds(timestamp: str) -> int:
    """Return the instant of an RFC 3339 timestamp, in nanoseconds since the epoch, but not before it.

    Raises:
        ValueError: it is not a timestamp.
    """
    return max(0, round(datetime.fromisoformat(timestamp).timestamp() * 1_000) * 1_000_000)
