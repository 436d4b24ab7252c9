"""Which spans are sent: as the SDK decides."""

from __future__ import annotations

import os
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from asset_worker.telemetry.tracing.sampling import sampler_of

NAMES = ["", "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off"]
ARGUMENTS = ["", "0", "0.25", "1", "x"]


@pytest.mark.filterwarnings("ignore")
@given(
    st.sampled_from([*NAMES, "parentbased_traceidratio", "Always_Off"]),
    st.sampled_from(ARGUMENTS),
    st.integers(1, 2**128 - 1),
    st.sampled_from([None, False, True]),
)
def test_a_span_is_sent_if_the_sdk_s_sampler_would_record_it(name, argument, trace_id, parent):
    environment = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument} if name else {}
    with mock.patch.dict(os.environ, environment, clear=True):
        sampler = TracerProvider(shutdown_on_exit=False).sampler
    context = None
    if parent is not None:
        flags = TraceFlags(TraceFlags.SAMPLED if parent else TraceFlags.DEFAULT)
        context = set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=flags)))
    expected = sampler.should_sample(context, trace_id, "asset").decision.is_sampled()
    assert sampler_of(environment).decides(trace_id, parent_is_sampled=parent) == expected


@pytest.mark.parametrize("environment", [{"OTEL_TRACES_SAMPLER": "jaeger_remote"}, {"OTEL_TRACES_SAMPLER": " "}, {}])
def test_an_unknown_sampler_is_the_default_one(environment):
    sampler = sampler_of(environment)
    assert sampler.decides(2**64 - 1, parent_is_sampled=None)
    assert not sampler.decides(1, parent_is_sampled=False)


@pytest.mark.parametrize("ratio", ["2", "-1", "nan", "inf"])
def test_a_ratio_that_is_none_stands_for_all(ratio):
    environment = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}
    assert sampler_of(environment).decides(2**64 - 1, parent_is_sampled=None)
