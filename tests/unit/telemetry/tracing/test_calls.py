"""The spans of requests and deliveries."""

from __future__ import annotations

from contextlib import suppress

import pytest
from yarl import URL

from asset_worker.domain.events import Stored
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Options
from asset_worker.telemetry.tracing import waiting_spans
from asset_worker.telemetry.tracing.calls import CallSpans
from asset_worker.telemetry.tracing.context import SpanContext
from asset_worker.telemetry.tracing.spans import Kind, Span
from asset_worker.telemetry.tracing.waiting_spans import WaitingSpans
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import rejection
from tests.unit.telemetry.tracing.test_context import ASSET, OFF, TRACE, TRACEPARENT, TRACES
from tests.unit.telemetry.tracing.test_spans import event

API = URL("https://api.twelvelabs.io/v1.3/assets")


class Queue:
    """Two pending assets; one was submitted within a trace."""

    def pending_state(self, asset_id):
        if asset_id not in {ASSET, "child"}:
            return None
        options = Options(traceparent=TRACEPARENT) if asset_id == "child" else None
        return PendingState(0.0, 1, Progress(), None, options)


class World:
    def __init__(self, traces=TRACES):
        self.spans = []
        self.clock = ManualClock(wall=1_000.0)
        self.calls = CallSpans(traces, self.clock, add=self.spans.append)

    def request(self, url, *asset_ids):
        return self.calls.request(Queue(), url, asset_ids)


@pytest.fixture
def world():
    return World()


def test_a_retrieve_is_within_the_span_of_its_asset(world):
    with world.request(API / ASSET, ASSET) as call:
        world.clock.mono += 1.5
        call.answered(200)
    [span] = world.spans
    assert (span.name, span.kind, span.links, span.error) == ("GET /assets/{asset_id}", Kind.CLIENT, (), None)
    assert span.parent == TRACES.place(ASSET, 1, None).context
    assert (span.start, span.end) == (1_000_000_000_000, 1_001_500_000_000)
    assert span.attributes == {
        "http.request.method": "GET",
        "url.full": f"https://api.twelvelabs.io/v1.3/assets/{ASSET}",
        "server.address": "api.twelvelabs.io",
        "server.port": 443,
        "url.template": "/assets/{asset_id}",
        "asset_worker.asset.id": ASSET,
        "asset_worker.assets": 1,
        "http.response.status_code": 200,
    }


def test_a_retrieve_of_a_submission_within_a_trace_is_in_that_trace(world):
    with world.request(API / "child", "child"):
        pass
    [span] = world.spans
    assert span.context.trace_id == TRACE
    assert span.parent.span_id == TRACES.place("child", 1, None).context.span_id


def test_a_list_begins_a_trace_and_is_linked_to_its_assets(world):
    """One that is settled meanwhile has no link. A list of one asset is a list all the same."""
    with world.request(API.with_query(page="1"), ASSET, "child", "gone"):
        pass
    with world.request(API.with_query(page="1"), ASSET):
        pass
    places = [TRACES.place(ASSET, 1, None).context, TRACES.place("child", 1, TRACEPARENT).context]
    assert [(each.name, each.parent, each.links) for each in world.spans] == [
        ("GET /assets", None, places),
        ("GET /assets", None, places[:1]),
    ]
    assert world.spans[0].attributes["asset_worker.assets"] == 3


@pytest.mark.parametrize("status", [404, 429, 503])
def test_an_answer_that_is_an_error_is_one_of_the_request(world, status):
    with suppress(ValueError), world.request(API / ASSET, ASSET) as call:
        call.answered(status)
        raise ValueError("refused")
    [span] = world.spans
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (status, str(status))
    assert span.error == f"HTTP {status}"


def test_a_request_without_an_answer_has_the_error_that_was_raised(world):
    with pytest.raises(TimeoutError), world.request(API / ASSET, ASSET):
        raise TimeoutError("no answer in time")
    [span] = world.spans
    assert (span.attributes["error.type"], span.error) == ("TimeoutError", "no answer in time")


def test_an_attempt_is_within_the_span_of_the_event_s_asset(world):
    hook = URL("https://user:password@hooks.example/in#part")
    for traceparent in (None, TRACEPARENT):
        with world.calls.attempt("hook", hook, event(traceparent=traceparent)) as call:
            call.answered(500)
            call.failed("HTTP 500 no")
    for span, traceparent in zip(world.spans, (None, TRACEPARENT), strict=True):
        assert span.parent == TRACES.place(ASSET, 1, traceparent).context
        assert (span.name, span.kind, span.error) == ("POST", Kind.CLIENT, "HTTP 500 no")
        assert span.attributes["url.full"] == "https://hooks.example/in"
        assert span.attributes["asset_worker.sink"] == "hook"
        assert span.attributes["cloudevents.event_id"] == f"{ASSET}.1"
    assert call.traceparent == world.spans[1].context.traceparent


def test_a_delivery_to_a_file_has_a_span_for_each_event(world):
    """One that fails is shown at the event that holds up the others. A rejected line belongs to no asset."""
    line = rejection("key")
    both = [event(), Stored(2, line.id, line.body)]
    world.calls.sent("file", both, 0.5, None)
    world.calls.sent("file", both, 0.5, "the disk is full")
    own = TRACES.place(ASSET, 1, None).context
    assert [(each.name, each.parent, each.error) for each in world.spans] == [
        ("deliver", own, None),
        ("deliver", None, None),
        ("deliver", own, "the disk is full"),
    ]
    assert {each.end - each.start for each in world.spans} == {500_000_000}


def test_what_is_not_sampled_makes_no_span_and_still_has_a_context():
    world = World(OFF)
    with world.calls.attempt("hook", API, event()) as call:
        assert (call.traceparent or "").endswith("-00")
    assert world.spans == []


def test_spans_that_wait_take_limited_memory(monkeypatch):
    monkeypatch.setattr(waiting_spans, "MOST_SPANS", 2)
    waiting = WaitingSpans()
    for number in range(1, 5):
        waiting.add(Span(str(number), SpanContext(1, number, is_sampled=True), 0, 0, {}))
    assert [each.name for each in waiting.first(9)] == ["1", "2"]
    assert (waiting.take_dropped(), waiting.take_dropped()) == (2, 0)
    waiting.remove(1)
    assert [each.name for each in waiting.first(9)] == ["2"]
