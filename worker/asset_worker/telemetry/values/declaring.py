"""How a value of the snapshot is declared: metrics, heartbeat and docs/reference.md are made from declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Final, Literal, TypeVar

import msgspec

from asset_worker.runtime.measures import Distribution
from asset_worker.telemetry.sources import Sources

T = TypeVar("T")
LabelsT = TypeVar("LabelsT", bound=tuple[str, ...])

METRIC_PREFIX: Final = "asset_worker_"


class Declaration(msgspec.Struct, frozen=True):
    """How one field of the snapshot is read and shown."""

    text: str
    """The meaning: the help text of the metric, and the description in the reference."""
    unit: str
    read: Callable[[Sources], Any]
    kind: Literal["gauge", "counter", "histogram"]
    metric: str | None = None
    """The metric's name without prefix and without a counter's `_total`; None: there is no metric."""
    labels: tuple[str, ...] = ()
    """The labels. The field is then a mapping: its keys are the values of the label, or tuples of those of several."""
    in_heartbeat: bool = False

    @property
    def metric_name(self) -> str | None:
        """The whole name of the metric, as Prometheus stores it; None: there is no metric."""
        if self.metric is None:
            return None
        return f"{METRIC_PREFIX}{self.metric}{'_total' if self.kind == 'counter' else ''}"


def gauge(
    metric: str | None,
    text: str,
    read: Callable[[Sources], T],
    *,
    unit: str,
    empty: Callable[[], T],
    labels: tuple[str, ...] = (),
    in_heartbeat: bool = False,
) -> T:
    """Declare a field whose value goes up and down. `empty` returns its value in a new worker."""
    return _declared(Declaration(text, unit, read, "gauge", metric, labels, in_heartbeat), empty)


def counter(
    metric: str,
    text: str,
    read: Callable[[Sources], T],
    *,
    unit: str,
    empty: Callable[[], T],
    labels: tuple[str, ...] = (),
    in_heartbeat: bool = False,
) -> T:
    """Declare a field that counts since the start. `empty` returns its value in a new worker."""
    return _declared(Declaration(text, unit, read, "counter", metric, labels, in_heartbeat), empty)


def histogram(
    metric: str,
    text: str,
    read: Callable[[Sources], Mapping[LabelsT, Distribution]],
    *,
    labels: tuple[str, ...] = (),
) -> Mapping[LabelsT, Distribution]:
    """Declare a field with the distributions of seconds since the start, by the values of the labels, in a tuple."""
    return _declared(Declaration(text, "seconds", read, "histogram", metric, labels), dict)


def _declared(declaration: Declaration, empty: Callable[[], T]) -> T:
    declared: T = field(default_factory=empty, metadata={"declaration": declaration})
    return declared
