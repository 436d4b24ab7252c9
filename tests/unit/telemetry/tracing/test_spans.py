"""The span of an asset, from its completion event."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.domain.assets import AssetId, Done, Outcome
from asset_worker.domain.events import Stored, Times, completed, reached, rejected
from asset_worker.domain.progress import LastSeen
from asset_worker.domain.submissions import Options, Rejection, Submission
from asset_worker.domain.transitions import Transition
from asset_worker.telemetry.tracing import looks
from asset_worker.telemetry.tracing.looks import SeenChanges
from asset_worker.telemetry.tracing.spans import LONGEST_TEXT, Kind, Span, asset_span, changed, redacted
from tests.unit.telemetry.tracing.test_context import ASSET, OFF, TRACEPARENT, TRACES

TIMES = Times(1_000.25, 1_060.5, ready=1_030.0, last_seen_waiting=1_050.0)
ACCEPTED, READY, DONE = 1_000_250_000_000, 1_030_000_000_000, 1_060_500_000_000


def event(outcome=Outcome.READY, *, reason=None, traceparent=None, times=TIMES, completion=1):
    submission = Submission(AssetId(ASSET), "file:/q", 3, Options(metadata={"secret": "x"}, traceparent=traceparent))
    made = completed(
        submission,
        Done(outcome, reason),
        asset=None,
        completion=completion,
        times=times,
        polls=7,
        source=TRACES.source,
        redact=lambda data: data,
    )
    return Stored(1, made.id, made.body)


def span_of(stored, seen=(), traces=TRACES):
    span = asset_span(stored, traces, seen)
    assert span is not None
    return span


def test_the_span_of_an_asset_is_that_of_its_wait():
    span = span_of(event(traceparent=TRACEPARENT))
    placed = TRACES.place(ASSET, 1, TRACEPARENT)
    assert span == Span(
        "asset",
        placed.context,
        ACCEPTED,
        DONE,
        {
            "asset_worker.asset.id": ASSET,
            "asset_worker.completion": 1,
            "asset_worker.outcome": "ready",
            "asset_worker.polls": 7,
            "asset_worker.ready_at": "1970-01-01T00:17:10.000Z",
            "asset_worker.last_seen_waiting_at": "1970-01-01T00:17:30.000Z",
            "asset_worker.submission.source": "file:/q:3",
            "cloudevents.event_id": f"{ASSET}.1",
            "cloudevents.event_source": TRACES.source,
            "cloudevents.event_type": "dev.asset-worker.asset.ready",
        },
        placed.parent,
        parent_is_remote=True,
        kind=Kind.INTERNAL,
        events=[changed("status", None, "ready", at=READY)],
    )


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.REJECTED])
def test_a_wait_without_a_usable_asset_is_an_error(outcome):
    span = span_of(event(outcome, reason="why"))
    is_error = outcome in {Outcome.FAILED, Outcome.NOT_FOUND, Outcome.TIMED_OUT}
    assert span.error == ("why" if is_error else None)
    assert span.attributes.get("error.type") == (outcome.value if is_error else None)


def test_an_error_without_a_reason_has_the_outcome():
    assert span_of(event(Outcome.TIMED_OUT)).error == "timed_out"


def test_an_event_of_an_earlier_address_of_the_api_keeps_its_ids():
    """They are in the event, and perhaps in spans that were sent before."""
    moved = msgspec.structs.replace(TRACES, source="https://other/assets")
    assert span_of(event(), traces=moved).context == span_of(event()).context


def test_a_span_never_ends_before_it_begins():
    span = span_of(event(times=Times(10.0, 5.0)))
    assert (span.start, span.end) == (10_000_000_000, 10_000_000_000)


def test_a_sampler_decides_whether_a_span_is_sent():
    assert span_of(event()).context.is_sampled
    assert not span_of(event(), traces=OFF).context.is_sampled
    assert span_of(event(traceparent=TRACEPARENT), traces=OFF).context.is_sampled


def test_other_events_make_no_span():
    line = rejected(Rejection("file:/q", 1, "why", b"x", "key"), at=0.0, source=TRACES.source)
    step = reached(
        Submission(AssetId(ASSET), "file:/q", 3),
        Transition.PROCESSED,
        asset=None,
        completion=1,
        times=TIMES,
        polls=1,
        source=TRACES.source,
        redact=lambda data: data,
    )
    for stored in (Stored(1, line.id, line.body), Stored(1, step.id, step.body), Stored(1, f"{ASSET}.1", b"{")):
        assert asset_span(stored, TRACES) is None


def test_looks_that_changed_something_are_events_of_the_span():
    """`ready` is known from the completion event, too, in which the changes before a restart are missing."""
    seen = [changed("status", "processing", "ready", at=READY + 5), changed("hls", "pending", "ready", at=READY + 9)]
    assert span_of(event(), seen).events == seen
    assert span_of(event(), seen[1:]).events == [changed("status", None, "ready", at=READY), seen[1]]


def test_secrets_are_redacted_and_long_texts_cut():
    span = span_of(event(Outcome.FAILED, reason="key " + "x" * 2 * LONGEST_TEXT), [changed("hls", "key", "x", at=1)])

    def redact(data):
        if isinstance(data, dict):
            return {name: redact(value) for name, value in data.items()}
        return data.replace("key", "***") if isinstance(data, str) else data

    clean = redacted(span, redact)
    assert (clean.error or "").startswith("*** xxx")
    assert len(clean.error or "") == len(clean.attributes["asset_worker.reason"]) == LONGEST_TEXT
    assert clean.events[0].attributes["asset_worker.from"] == "***"


def test_changes_are_kept_until_they_are_forgotten():
    changes = SeenChanges()
    processing = LastSeen("processing", {"hls": "pending"})
    changes.looked("a.1", None, processing, at=1.0)
    changes.looked("a.1", processing, processing, at=2.0)
    changes.looked("a.1", processing, None, at=3.0)
    changes.looked("a.1", processing, LastSeen("ready", {"hls": "ready"}), at=4.0)
    assert changes.of("a.1") == (
        changed("status", None, "processing", at=1_000_000_000),
        changed("hls", None, "pending", at=1_000_000_000),
        changed("status", "processing", "ready", at=4_000_000_000),
        changed("hls", "pending", "ready", at=4_000_000_000),
    )
    changes.forget("a.1")
    changes.forget("a.1")
    assert changes.of("a.1") == ()


def test_changes_take_limited_memory(monkeypatch):
    """Those of the assets that changed last are kept, and of each the first ones."""
    monkeypatch.setattr(looks, "MOST_ASSETS", 2)
    monkeypatch.setattr(looks, "MOST_CHANGES", 3)
    changes = SeenChanges()
    for number in range(9):
        changes.looked("often.1", LastSeen(str(number)), LastSeen(str(number + 1)), at=1.0)
    for asset in ("b.1", "often.1", "c.1"):
        changes.looked(asset, None, LastSeen("ready"), at=1.0)
    assert changes.of("b.1") == ()
    assert len(changes.of("often.1")) == 3
    assert len(changes.of("c.1")) == 1
