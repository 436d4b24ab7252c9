"""The snapshot: where each value is read, and which problems are reported."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from asset_worker.api.trouble import ApiProblem, Cause
from asset_worker.telemetry.snapshot import (
    API_PROBLEMS,
    DECLARATIONS,
    Problem,
    Snapshot,
    problems_of,
    shown_problem,
    take_snapshot,
)
from asset_worker.telemetry.sources import Sources

QUEUE = SimpleNamespace(
    failing=False,
    waiting_for_sinks_since=None,
    pending_count=lambda: 1,
    due_count=lambda: 2,
    oldest_age=lambda: 3.5,
    outbox_depth=lambda: 4,
    dead_letters_by_sink=lambda: {"stdout": 5},
)
SOURCES = Sources(
    queue=QUEUE,
    poller=SimpleNamespace(
        looks=5, completions=Counter(ready=6), completions_from_lists=2, proven_list_shapes=1, list_disagreements=3
    ),
    gate=SimpleNamespace(requests=7, refusals=8, problem=None),
    retries=SimpleNamespace(count=9),
    lines=SimpleNamespace(rejected=0, rejected_inputs=[]),
    inputs=[SimpleNamespace(name="queue file", unreadable=None), SimpleNamespace(name="stdin", unreadable=None)],
    deliveries=[SimpleNamespace(sink="stdout", problem=None)],
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
        problem_details=(),
        is_ready=True,
    )


def test_rejected_lines_are_completions():
    found = take_snapshot(sources(lines=SimpleNamespace(rejected=2, rejected_inputs=[])))
    assert found.completions == {"ready": 6, "rejected": 2}


def gate(cause: Cause) -> SimpleNamespace:
    return SimpleNamespace(requests=7, refusals=8, problem=ApiProblem(cause, 100.0, "401 wrong", 130.5))


def sink(name: str) -> SimpleNamespace:
    return SimpleNamespace(
        sink=name, problem=f"the sink {name} fails", failing_since=1.0, last_error="no space", next_try=2.0
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"gate": gate(Cause.KEY_REFUSED)}, ["the API refuses the key"], id="key"),
        pytest.param({"gate": gate(Cause.UNAVAILABLE)}, ["the API is unavailable"], id="outage"),
        pytest.param({"gate": gate(Cause.RATE_LIMITED)}, ["the API's rate limit is used up"], id="rate limit"),
        pytest.param(
            {"inputs": [SimpleNamespace(name="queue file", unreadable="/q: Permission denied")]},
            ["the queue file can't be read (/q: Permission denied)"],
            id="queue file",
        ),
        pytest.param(
            {"queue": SimpleNamespace(**(vars(QUEUE) | {"failing": True}))}, ["the journal can't be written"], id="disk"
        ),
        pytest.param(
            {"deliveries": [sink("file:/e"), *SOURCES.deliveries]},
            ["the sink file:/e fails"],
            id="one of two sinks",
        ),
        pytest.param(
            {
                "gate": gate(Cause.KEY_REFUSED),
                "deliveries": [sink("stdout")],
            },
            ["the API refuses the key", "the sink stdout fails"],
            id="several",
        ),
    ],
)
def test_each_problem_is_one_sentence(changed: dict[str, Any], expected: list[str]):
    assert [each.text for each in problems_of(sources(**changed))] == expected
    found = take_snapshot(sources(**changed))
    assert (list(found.problems), found.is_ready) == (expected, not expected)
    assert [each.text for each in found.problem_details] == expected


def test_what_is_written_to_an_input_is_a_problem_and_makes_nothing_unready():
    """Or else any writer could take the pod out of service."""
    bad = SimpleNamespace(origin="file:/q", since=3.0, reason="no ID")
    queue = SimpleNamespace(**(vars(QUEUE) | {"waiting_for_sinks_since": 2.0}))
    changed = {"queue": queue, "lines": SimpleNamespace(rejected=2, rejected_inputs=[bad])}
    found = take_snapshot(sources(**changed))
    assert found.problem_details == (
        Problem("the inputs are not read on until the sinks have taken more events", 2.0, is_of_input=True),
        Problem("nothing but rejected lines comes from file:/q", 3.0, "no ID", is_of_input=True),
    )
    assert found.problems == tuple(each.text for each in found.problem_details)
    assert found.is_ready
    assert not take_snapshot(sources(**changed, deliveries=[sink("stdout")])).is_ready


def test_a_problem_has_its_beginning_its_latest_error_and_the_next_try():
    found = problems_of(sources(gate=gate(Cause.UNAVAILABLE), deliveries=[sink("stdout")]))
    assert found == (
        Problem("the API is unavailable", 100.0, "401 wrong", 130.5),
        Problem("the sink stdout fails", 1.0, "no space", 2.0),
    )
    assert shown_problem(found[0]) == {
        "problem": "the API is unavailable",
        "since": "1970-01-01T00:01:40.000Z",
        "next_try": "1970-01-01T00:02:10.500Z",
        "last_error": "401 wrong",
    }
    assert shown_problem(Problem("the journal can't be written")) == {"problem": "the journal can't be written"}


def test_every_cause_of_trouble_with_the_api_is_a_problem():
    assert set(API_PROBLEMS) == {cause.value for cause in Cause}


def test_every_field_is_declared_with_its_meaning_and_unit():
    assert all(declared.text.endswith(".") and declared.unit for declared in DECLARATIONS.values())
