"""The snapshot: where each value is read, and which problems are reported."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from asset_worker.api.breaker import Reason
from asset_worker.telemetry.snapshot import API_PROBLEMS, DECLARATIONS, Snapshot, Sources, problems, take_snapshot

QUEUE = SimpleNamespace(
    failing=False, pending_count=lambda: 1, due_count=lambda: 2, oldest_age=lambda: 3.5, outbox_depth=lambda: 4
)
SOURCES = Sources(
    queue=QUEUE,
    poller=SimpleNamespace(looks=5, completions=Counter(ready=6)),
    gate=SimpleNamespace(requests=7, refusals=8, reason=None),
    retries=SimpleNamespace(count=9),
    lines=SimpleNamespace(rejected=0),
    inputs=[SimpleNamespace(name="queue file", unreadable=None), SimpleNamespace(name="stdin", unreadable=None)],
    deliveries=[SimpleNamespace(sink="stdout", failing_since=None)],
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
        outbox_depth=4,
        problems=(),
        is_ready=True,
    )


def test_rejected_lines_are_completions():
    found = take_snapshot(sources(lines=SimpleNamespace(rejected=2)))
    assert found.completions == {"ready": 6, "rejected": 2}


def gate(reason: Reason | None) -> SimpleNamespace:
    return SimpleNamespace(requests=7, refusals=8, reason=reason)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"gate": gate(Reason.KEY_REFUSED)}, ["the API refuses the key"], id="key"),
        pytest.param({"gate": gate(Reason.UNAVAILABLE)}, ["the API is unavailable"], id="outage"),
        pytest.param(
            {"inputs": [SimpleNamespace(name="queue file", unreadable="/q: Permission denied")]},
            ["the queue file can't be read (/q: Permission denied)"],
            id="queue file",
        ),
        pytest.param(
            {"queue": SimpleNamespace(**(vars(QUEUE) | {"failing": True}))}, ["the journal can't be written"], id="disk"
        ),
        pytest.param(
            {"deliveries": [SimpleNamespace(sink="file:/e", failing_since=1.0), *SOURCES.deliveries]},
            ["the sink file:/e fails"],
            id="one of two sinks",
        ),
        pytest.param(
            {
                "gate": gate(Reason.KEY_REFUSED),
                "deliveries": [SimpleNamespace(sink="stdout", failing_since=1.0)],
            },
            ["the API refuses the key", "the sink stdout fails"],
            id="several",
        ),
    ],
)
def test_each_problem_is_one_sentence(changed: dict[str, Any], expected: list[str]):
    assert list(problems(sources(**changed))) == expected
    found = take_snapshot(sources(**changed))
    assert (list(found.problems), found.is_ready) == (expected, not expected)


def test_every_reason_of_the_breaker_is_a_problem():
    assert set(API_PROBLEMS) == {reason.value for reason in Reason}


def test_every_field_is_declared_with_its_meaning_and_unit():
    assert all(declared.text.endswith(".") and declared.unit for declared in DECLARATIONS.values())
