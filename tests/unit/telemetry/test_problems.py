"""Problems: which are reported, with what is known of them, and what a person can do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest

from asset_worker.api.trouble import ApiProblem, Cause
from asset_worker.domain.deliveries import SinkProblem
from asset_worker.intake.account.intake import AccountIntake
from asset_worker.telemetry.problems import (
    ADVICE,
    API_PROBLEMS,
    SINK_REASONS,
    Problem,
    Reason,
    problems_of,
    shown_problem,
)
from asset_worker.telemetry.snapshot import take_snapshot
from tests.unit.telemetry.test_snapshot import FLEET, QUEUE, SHARED_QUEUE, SOURCES, sink_of, sources


def gate(cause: Cause) -> SimpleNamespace:
    return SimpleNamespace(**(vars(SOURCES.gate) | {"problem": ApiProblem(cause, 100.0, "401 wrong", 130.5)}))


def sink(name: str) -> SimpleNamespace:
    problem = SinkProblem("failing", f"the sink {name} fails")
    return sink_of(name, problem=problem, failing_since=1.0, last_error="no space", next_try=2.0)


FULL = SimpleNamespace(error="database or disk is full", since=7.0)


def shared_queue_without_lease() -> SimpleNamespace:
    fleet = SimpleNamespace(**(vars(FLEET) | {"lapse": FULL}))
    return SimpleNamespace(**(vars(QUEUE) | {"fleet": fleet}))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"gate": gate(Cause.KEY_REFUSED)}, ["the API refuses the key"], id="key"),
        pytest.param({"gate": gate(Cause.UNAVAILABLE)}, ["the API is unavailable"], id="outage"),
        pytest.param({"gate": gate(Cause.RATE_LIMITED)}, ["the API's rate limit is used up"], id="rate limit"),
        pytest.param(
            {"inputs": [SimpleNamespace(name="queue file", unreadable="/q: Permission denied", unreadable_since=9.0)]},
            ["the queue file can't be read (/q: Permission denied)"],
            id="queue file",
        ),
        pytest.param(
            {"queue": SimpleNamespace(**(vars(QUEUE) | {"failure": FULL}))}, ["the journal can't be written"], id="disk"
        ),
        pytest.param(
            {"queue": SimpleNamespace(**(vars(SHARED_QUEUE) | {"failure": FULL}))},
            ["the fleet's database can't be used"],
            id="database",
        ),
        pytest.param(
            {"queue": shared_queue_without_lease()},
            ["the lease on the assets that this worker owns has ended: it looks at none of them"],
            id="lease",
        ),
        pytest.param(
            {"queue": SimpleNamespace(**(vars(shared_queue_without_lease()) | {"failure": FULL}))},
            ["the fleet's database can't be used"],
            id="the database explains the lease",
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
    assert ([each.text for each in found.problems], found.is_ready) == (expected, not expected)


def test_what_is_written_to_an_input_is_a_problem_and_makes_nothing_unready():
    """Or else any writer could take the pod out of service."""
    bad = SimpleNamespace(origin="file:/q", since=3.0, reason="no ID")
    queue = SimpleNamespace(**(vars(QUEUE) | {"waiting_for_sinks_since": 2.0}))
    changed = {"queue": queue, "lines": SimpleNamespace(**(vars(SOURCES.lines) | {"rejected_inputs": [bad]}))}
    found = take_snapshot(sources(**changed))
    assert found.problems == (
        Problem(
            Reason.INPUTS_WAITING,
            "the inputs are not read on until the sinks have taken more events",
            2.0,
            stops_work=False,
        ),
        Problem(Reason.INPUT_REJECTED, "nothing but rejected lines comes from file:/q", 3.0, "no ID", stops_work=False),
    )
    assert found.is_ready
    assert not take_snapshot(sources(**changed, deliveries=[sink("stdout")])).is_ready


def test_a_limit_that_others_have_used_up_is_a_problem_and_makes_nothing_unready():
    """The worker does what it can, and a restart would not help."""
    used_up = ApiProblem(Cause.RATE_LIMITED, 100.0, "others have used 60 of 60 requests", 130.5, stops_work=False)
    found = take_snapshot(sources(gate=SimpleNamespace(**(vars(SOURCES.gate) | {"problem": used_up}))))
    assert [(each.reason, each.last_error) for each in found.problems] == [
        (Reason.RATE_LIMITED, "others have used 60 of 60 requests")
    ]
    assert found.is_ready


ACCOUNT = SimpleNamespace(name=AccountIntake.name, unreadable="401 wrong", unreadable_since=9.0)
QUEUE_FILE = SimpleNamespace(name="queue file", unreadable="/q: Permission denied", unreadable_since=9.0)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        pytest.param(ApiProblem(Cause.KEY_REFUSED, 100.0, "401 wrong", 130.5), ["key_refused"], id="key"),
        pytest.param(ApiProblem(Cause.UNAVAILABLE, 100.0, "503", 130.5), ["api_unavailable"], id="outage"),
        pytest.param(
            ApiProblem(Cause.RATE_LIMITED, 100.0, "others", 130.5, stops_work=False),
            ["rate_limited", "input_unreadable"],
            id="a limit does not explain it",
        ),
        pytest.param(None, ["input_unreadable"], id="the list alone"),
    ],
)
def test_an_account_that_can_not_be_read_is_no_second_problem_while_the_api_has_one(problem, expected):
    gate = SimpleNamespace(**(vars(SOURCES.gate) | {"problem": problem}))
    found = take_snapshot(sources(gate=gate, inputs=[ACCOUNT])).problems
    assert [each.reason.value for each in found] == expected
    with_the_file = problems_of(sources(gate=gate, inputs=[ACCOUNT, QUEUE_FILE]))
    assert [each.reason.value for each in with_the_file] == [*expected, "input_unreadable"]


def test_a_problem_has_its_beginning_its_latest_error_and_the_next_try():
    found = problems_of(sources(gate=gate(Cause.UNAVAILABLE), deliveries=[sink("stdout")]))
    assert found == (
        Problem(Reason.API_UNAVAILABLE, "the API is unavailable", 100.0, "401 wrong", 130.5),
        Problem(Reason.SINK_FAILING, "the sink stdout fails", 1.0, "no space", 2.0),
    )
    assert shown_problem(found[0]) == {
        "reason": "api_unavailable",
        "problem": "the API is unavailable",
        "since": "1970-01-01T00:01:40.000Z",
        "next_try": "1970-01-01T00:02:10.500Z",
        "last_error": "401 wrong",
        "runbook": "docs/runbook.md#api_unavailable",
    }
    assert shown_problem(Problem(Reason.JOURNAL_FAILING, "no")) == {
        "reason": "journal_failing",
        "problem": "no",
        "runbook": "docs/runbook.md#journal_failing",
    }


def test_every_cause_of_trouble_with_the_api_is_a_problem():
    assert set(API_PROBLEMS) == {cause.value for cause in Cause}


def test_every_reason_has_advice():
    assert set(ADVICE) == set(Reason)


def test_every_trouble_of_a_sink_is_a_problem():
    assert set(SINK_REASONS) == set(get_args(get_type_hints(SinkProblem)["trouble"]))
