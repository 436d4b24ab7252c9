"""Whether traces are on, by the standard environment variables of OpenTelemetry: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED: Final = "http/protobuf"
INSTALL: Final = "pip install 'asset-worker[otel]'"


class Activation(msgspec.Struct, frozen=True):
    """Whether traces are on."""

    is_on: bool
    problem: str | None = None
    """Why they are off although somebody wants them, and what to do; None: nobody does, or they are on."""


def activation_of(environment: Mapping[str, str], *, is_installed: Callable[[], bool]) -> Activation:
    """Return whether traces are on. `is_installed` returns whether the extra `otel` is; it is asked if that matters."""
    if not any(_value(environment, name) for name in _ENDPOINTS) or _value(environment, "OTEL_SDK_DISABLED") == "true":
        return Activation(is_on=False)
    exporters = {each.strip() for each in _value(environment, "OTEL_TRACES_EXPORTER").split(",")} - {""}
    if "none" in exporters:
        return Activation(is_on=False)
    if exporters and "otlp" not in exporters:
        named = ",".join(sorted(exporters))
        return Activation(is_on=False, problem=f"OTEL_TRACES_EXPORTER is {named!r}: set it to otlp, or leave it out")
    protocol = next(filter(None, (_value(environment, name) for name in _PROTOCOLS)), _SUPPORTED)
    if protocol != _SUPPORTED:
        problem = f"the protocol {protocol!r} is not supported: set {_PROTOCOLS[1]}={_SUPPORTED}, and its endpoint"
        return Activation(is_on=False, problem=f"{problem} (the collector's usual port for it is 4318)")
    if not is_installed():
        return Activation(is_on=False, problem=f"OpenTelemetry is not installed: {INSTALL}")
    return Activation(is_on=True)


def _value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip().lower()
