"""The snapshot: the worker's state at one instant, as heartbeat, `/metrics`, `/readyz`, page and display show it.

Each value is declared once, as a field: where it is read, what it means, and what its metric is called. The heartbeat,
the metrics and docs/reference.md are made from these declarations.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from asset_worker import __version__
from asset_worker.telemetry.problems import Problem, Reason, problems_of
from asset_worker.telemetry.sources import Sources
from asset_worker.telemetry.values.declaring import Declaration, gauge
from asset_worker.telemetry.values.deliveries import Deliveries
from asset_worker.telemetry.values.fleet import Fleet
from asset_worker.telemetry.values.requests import Requests
from asset_worker.telemetry.values.work import Work

BUILD: Final = {(__version__, ".".join(map(str, sys.version_info[:3]))): 1}
"""The versions of this process."""


def _is_ready(sources: Sources) -> bool:
    return not any(problem.stops_work for problem in problems_of(sources))


def _by_reason(sources: Sources) -> Mapping[str, int]:
    present = {problem.reason for problem in problems_of(sources)}
    return {reason.value: int(reason in present) for reason in Reason}


def _successes(sources: Sources) -> Mapping[str, float]:
    times = {
        "api": sources.gate.traffic.succeeded_at,
        "journal": sources.queue.commits.succeeded_at,
        **{f"intake:{source}": at for source, at in sources.lines.read_at.items()},
        **{f"sink:{each.sink}": each.attempts.made.succeeded_at for each in sources.deliveries},
    }
    return {part: at for part, at in times.items() if at is not None}


@dataclass(frozen=True, kw_only=True)
class Snapshot(Fleet, Deliveries, Requests, Work):
    """The worker at one instant. To add a metric or a heartbeat field, add a field here or in `values`."""

    problems: tuple[Problem, ...] = gauge(
        None,
        "What is wrong now, as objects: `reason`, `problem` (a sentence), and where known `since`, `last_error` and "
        "`next_try`; times are UTC.",
        problems_of,
        unit="objects",
        empty=tuple,
        in_heartbeat=True,
    )
    problem_reasons: Mapping[str, int] = gauge(
        "problem",
        "1 while there is a problem of this kind, else 0.",
        _by_reason,
        unit="0 or 1",
        empty=lambda: {reason.value: 0 for reason in Reason},
        labels=("reason",),
    )
    is_ready: bool = gauge(
        "ready",
        "1 while nothing keeps the worker from working, else 0.",
        _is_ready,
        unit="0 or 1",
        empty=lambda: True,
    )
    loop_lag: float = gauge(
        "event_loop_lag_seconds",
        "The longest time for which the event loop was blocked in the last minute: everything was late by that much.",
        lambda sources: sources.loop_lag.worst,
        unit="seconds",
        empty=float,
    )
    last_successes: Mapping[str, float] = gauge(
        "last_success_timestamp_seconds",
        "When a part last succeeded, since the epoch: `api` (it answered a request, and not with a refusal or an "
        "error), `journal` (a commit), `intake:SOURCE` (something was read and stored), `sink:NAME` (it accepted an "
        "event). There is no value for a part that has not succeeded since the start.",
        _successes,
        unit="seconds",
        empty=dict,
        labels=("part",),
    )
    build: Mapping[tuple[str, str], int] = gauge(
        "build_info",
        "Always 1: the labels are the versions of asset-worker and Python.",
        lambda _: BUILD,
        unit="1",
        empty=lambda: BUILD,
        labels=("version", "python"),
    )


DECLARATIONS: Final[Mapping[str, Declaration]] = {each.name: each.metadata["declaration"] for each in fields(Snapshot)}
"""The declarations, by the name of the snapshot's field."""


def take_snapshot(sources: Sources) -> Snapshot:
    """Return the state of the worker now."""
    return Snapshot(**{name: declaration.read(sources) for name, declaration in DECLARATIONS.items()})
