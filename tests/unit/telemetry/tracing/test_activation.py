"""When traces are on."""

from __future__ import annotations

import pytest

from asset_worker.telemetry.tracing.activation import INSTALL, activation_of

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
ONLY_TRACES = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"


def activation(environment):
    return activation_of(environment, is_installed=lambda: True)


@pytest.mark.parametrize(
    ("environment", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        (ON, True),
        (ONLY_TRACES, True),
        ({**ON, "OTEL_SDK_DISABLED": "True"}, False),
        ({**ON, "OTEL_SDK_DISABLED": "false"}, True),
        ({**ON, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ON, "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ON, "OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({**ON, PROTOCOL: "http/protobuf"}, True),
        ({**ON, PROTOCOL: "grpc", TRACES_PROTOCOL: "http/protobuf"}, True),
    ],
)
def test_an_endpoint_switches_traces_on(environment, is_on):
    assert (activation(environment).is_on, activation(environment).problem) == (is_on, None)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({**ON, PROTOCOL: "grpc"}, "4318"),
        ({**ON, TRACES_PROTOCOL: "http/json"}, "http/protobuf"),
        ({**ON, "OTEL_TRACES_EXPORTER": "zipkin"}, "otlp"),
    ],
)
def test_what_is_asked_for_and_can_t_be_had_is_explained(environment, named):
    found = activation(environment)
    assert not found.is_on
    assert named in (found.problem or "")


def test_without_the_extra_there_is_a_hint_how_to_install_it():
    found = activation_of(ON, is_installed=lambda: False)
    assert not found.is_on
    assert INSTALL in (found.problem or "")


def test_nothing_is_looked_for_while_nobody_wants_traces():
    def is_installed():
        raise AssertionError

    assert not activation_of({"OTEL_SDK_DISABLED": "true", **ON}, is_installed=is_installed).is_on
