"""The snapshot: where each value is read."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec

from asset_worker.domain.worker_report import QuotaReport
from asset_worker.runtime.measures import Distribution, Histogram, Operations
from asset_worker.telemetry.problems import Reason
from asset_worker.telemetry.snapshot import DECLARATIONS, Snapshot, take_snapshot
from asset_worker.telemetry.sources import Sources
from asset_worker.telemetry.values.deliveries import SinkState
from asset_worker.telemetry.values.work import NO_LINES


def observed(key: tuple[str, ...], *values: float) -> Histogram[Any]:
    """A histogram with one bound, 5 s, that has seen these values."""
    found = Histogram[Any]([5.0])
    for value in values:
        found.observe(key, value)
    return found


def operations(*seconds: float, succeeded_at: float) -> Operations:
    """Operations that took so long."""
    found = Operations([5.0])
    for each in seconds:
        found.durations.observe((), each)
    found.succeeded_at = succeeded_at
    return found


def sink_of(name: str, **known: Any) -> SimpleNamespace:
    """A delivery that has delivered one event, and works unless `known` says otherwise."""
    attempts = SimpleNamespace(results={"delivered": 1}, made=operations(0.25, succeeded_at=103.0))
    working = {"backlog": 0, "oldest_age": 0.0, "problem": None}
    return SimpleNamespace(sink=name, attempts=attempts, **(working | known))


QUEUE = SimpleNamespace(
    fleet=None,
    failure=None,
    waiting_for_sinks_since=None,
    pending_count=lambda: 1,
    recent_due_count=lambda: 2,
    oldest_age=lambda: 3.5,
    outbox_depth=lambda: 4,
    dead_letters_by_sink=lambda: {"stdout": 5},
    waiting_on=lambda: {"asset": 1, "first look": 2},
    commits=operations(0.5, succeeded_at=101.0),
)
FLEET = SimpleNamespace(workers=3, portion=0.25, unowned=7, unowned_age=1.5, leases_lost=2, lapse=None)
SHARED_QUEUE = SimpleNamespace(**(vars(QUEUE) | {"fleet": FLEET}))
SOURCES = Sources(
    queue=QUEUE,
    poller=SimpleNamespace(
        looks=5,
        counts=SimpleNamespace(
            looks={"list": 2, "retrieve": 3},
            completions=Counter(ready=6),
            settlements={"list": 2, "retrieve": 4},
            detection_lags=observed((), 2.0),
            durations=observed(("hls", "video/mp4 direct"), 3.0),
        ),
        completions_from_lists=2,
        proven_list_shapes=1,
        list_disagreements=3,
        lists_in_use=True,
        backlog_factor=1.5,
    ),
    gate=SimpleNamespace(
        traffic=SimpleNamespace(
            sent=7,
            refused=8,
            in_flight=2,
            ended={("list", "200"): 5},
            durations=observed(("list", "2xx"), 9.0),
            succeeded_at=None,
        ),
        problem=None,
        quotas=[QuotaReport("minute", 60, 12, 30.0)],
    ),
    retries=SimpleNamespace(count=9),
    lines=SimpleNamespace(rejected=0, rejected_inputs=[], lines={("file", "accepted"): 9}, read_at={"file": 102.0}),
    inputs=[SimpleNamespace(name="queue file", unreadable=None), SimpleNamespace(name="stdin", unreadable=None)],
    deliveries=[sink_of("stdout", backlog=4, oldest_age=1.5)],
    loop_lag=SimpleNamespace(worst=0.25),
)


def sources(**changed: Any) -> Sources:
    return msgspec.structs.replace(SOURCES, **changed)


def test_every_value_is_read_from_its_part():
    assert take_snapshot(SOURCES) == Snapshot(
        pending=1,
        due=2,
        oldest_pending_age=3.5,
        looks=5,
        requests=7,
        refusals=8,
        retries=9,
        completions={"ready": 6},
        completions_from_lists=2,
        proven_list_shapes=1,
        list_disagreements=3,
        outbox_depth=4,
        dead_letters=5,
        problems=(),
        is_ready=True,
        problem_reasons={each.value: 0 for each in Reason},
        waiting_on={"asset": 1, "first look": 2},
        detection_lags={(): Distribution((1, 0), 2.0, (5.0,))},
        asset_durations={("hls", "video/mp4 direct"): Distribution((1, 0), 3.0, (5.0,))},
        looks_by_kind={"list": 2, "retrieve": 3},
        settlements={"list": 2, "retrieve": 4},
        lines={**NO_LINES, ("file", "accepted"): 9},
        requests_ended={("list", "200"): 5},
        request_durations={("list", "2xx"): Distribution((0, 1), 9.0, (5.0,))},
        deliveries={("stdout", "delivered"): 1},
        delivery_durations={("stdout",): Distribution((1, 0), 0.25, (5.0,))},
        commits=1,
        commit_durations={(): Distribution((1, 0), 0.5, (5.0,))},
        last_successes={"journal": 101.0, "intake:file": 102.0, "sink:stdout": 103.0},
        backlog_factor=1.5,
        lists_in_use=True,
        requests_in_flight=2,
        quotas=[QuotaReport("minute", 60, 12, 30.0)],
        quota_limits={"minute": 60},
        quota_remaining={"minute": 12},
        quota_resets={"minute": 30.0},
        sinks=[SinkState("stdout", 4, 1.5, 5, None)],
        sink_backlogs={"stdout": 4},
        sink_oldest_ages={"stdout": 1.5},
        sink_dead_letters={"stdout": 5},
        loop_lag=0.25,
    )


def test_rejected_lines_are_completions():
    found = take_snapshot(sources(lines=SimpleNamespace(**(vars(SOURCES.lines) | {"rejected": 2}))))
    assert found.completions == {"ready": 6, "rejected": 2}


def test_every_field_is_declared_with_its_meaning_and_unit():
    assert all(declared.text.endswith(".") and declared.unit for declared in DECLARATIONS.values())


def test_the_values_of_a_fleet_are_there_if_there_is_one():
    found = take_snapshot(sources(queue=SHARED_QUEUE))
    of_fleet = [found.fleet_workers, found.fleet_portion, found.fleet_unowned, found.fleet_unowned_age]
    assert [*of_fleet, found.fleet_leases_lost] == [{(): 3}, {(): 0.25}, {(): 7}, {(): 1.5}, {(): 2}]
    assert take_snapshot(SOURCES).fleet_workers == {}
