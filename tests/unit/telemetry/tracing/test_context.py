"""IDs and parents: the same in every process, and those of W3C Trace Context."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.propagate import extract
from opentelemetry.trace import get_current_span

from asset_worker.telemetry.tracing.context import AssetTraces, SpanContext, context_of
from asset_worker.telemetry.tracing.sampling import Sampler

ASSET = "6298d673f1090f1100476d4c"
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACES = AssetTraces("https://api.twelvelabs.io/v1.3/assets", Sampler(1.0))
OFF = msgspec.structs.replace(TRACES, sampler=Sampler(0.0))


def test_the_ids_of_an_asset_never_change():
    """A later version must find them, too: its spans may be sent after an upgrade."""
    placed = TRACES.place(ASSET, 1, None)
    assert placed.parent is None
    assert placed.context.traceparent == "00-abaf9e33eb1a8474229b8f7f2e352439-2ed2c6b6dfcd3f0d-01"


@given(
    st.tuples(st.text("ab1", min_size=1), st.integers(1, 99)), st.tuples(st.text("ab1", min_size=1), st.integers(1, 99))
)
def test_two_waits_have_different_ids(one, other):
    contexts = [TRACES.place(asset, completion, None).context for asset, completion in (one, other)]
    assert (contexts[0] == contexts[1]) == (one == other)


def test_a_run_that_keeps_no_state_has_ids_of_its_own():
    salted = [msgspec.structs.replace(TRACES, salt=salt).place(ASSET, 1, None) for salt in (b"a", b"b")]
    assert len({TRACES.place(ASSET, 1, None).context.trace_id, *(each.context.trace_id for each in salted)}) == 3


def test_the_submission_s_span_is_the_parent():
    own = TRACES.place(ASSET, 1, None).context
    placed = TRACES.place(ASSET, 1, TRACEPARENT)
    assert placed.context == SpanContext(TRACE, own.span_id, is_sampled=True)
    assert placed.parent == SpanContext(TRACE, PARENT, is_sampled=True)


@pytest.mark.parametrize("traces", [TRACES, OFF], ids=["on", "off"])
@pytest.mark.parametrize("submitted", [None, TRACEPARENT, TRACEPARENT[:-1] + "0"])
def test_an_event_leads_to_the_same_place_as_its_submission(traces, submitted):
    """Its context is the asset's own if the submission had none. The sampler may be another one by then."""
    placed = traces.place(ASSET, 1, submitted)
    in_event = submitted or placed.context.traceparent
    assert traces.place(ASSET, 1, in_event) == placed
    if submitted is None:
        assert TRACES.place(ASSET, 1, in_event) == placed


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        TRACEPARENT,
        f"{TRACEPARENT[:-2]}00",
        f"{TRACEPARENT[:-2]}03",
        f"cc{TRACEPARENT[2:]}-what-the-future-will-be",
        f"ff{TRACEPARENT[2:]}",
        TRACEPARENT.upper(),
        f"00-{'0' * 32}-{PARENT:016x}-01",
        f"00-{TRACE:032x}-{'0' * 16}-01",
        f"{TRACEPARENT}-more",
        "x" * 55,
    ],
)
def test_a_traceparent_is_read_as_the_sdk_reads_it(text):
    expected = get_current_span(extract({"traceparent": text or ""})).get_span_context()
    found = context_of(text)
    if not expected.is_valid:
        assert found is None
        return
    assert found == SpanContext(expected.trace_id, expected.span_id, is_sampled=expected.trace_flags.sampled)


def test_a_span_within_an_asset_is_sent_if_the_asset_s_is():
    parent = SpanContext(TRACE, PARENT, is_sampled=False)
    assert TRACES.child_of(parent, 7) == SpanContext(TRACE, 7, is_sampled=False)
    assert TRACES.root(8, 7) == SpanContext(8, 7, is_sampled=True)
