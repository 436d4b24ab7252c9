"""What people are to know of trouble, value by value, and what is logged when it changes."""

from __future__ import annotations

import math

import pytest
from structlog.testing import capture_logs

from asset_worker.api.breaker import Change, Closed, Opened, Reason
from asset_worker.api.changes import UNAVAILABLE_HINT, log_change
from asset_worker.api.key import KeySource
from asset_worker.api.trouble import ApiProblem, Cause, Scarcity, Trouble, change_of_cause, problem_now

FAILING = Trouble(Cause.UNAVAILABLE, 90.0, 95.0, "502")
EDGE = Trouble(Cause.PROXY_OR_KEY, 90.0, 95.0, "403 page")
LASTING_EDGE = Trouble(Cause.PROXY_OR_KEY, 30.0, 95.0, "403 page")
REFUSED = Trouble(Cause.KEY_REFUSED, 90.0, 95.0, "401 code")
LIMITED = Trouble(Cause.RATE_LIMITED, 90.0, 95.0, "429")
SCARCE = Scarcity(70.0, 99.0, "others have used 60 of 60 requests")
OUTAGE = ApiProblem(Cause.UNAVAILABLE, 990.0, "502", 1_007.0, stops_work=True)
LIMIT = ApiProblem(Cause.RATE_LIMITED, 970.0, SCARCE.why, 1_007.0, stops_work=False)


@pytest.mark.parametrize(
    ("trouble", "scarcity", "is_open", "problem"),
    [
        pytest.param(None, None, False, None, id="nothing is wrong"),
        pytest.param(FAILING, None, False, None, id="a few failures"),
        pytest.param(FAILING, None, True, OUTAGE, id="an outage"),
        pytest.param(FAILING, SCARCE, True, OUTAGE, id="an outage, and a limit that is used up"),
        pytest.param(FAILING, SCARCE, False, LIMIT, id="a few failures, and a limit that is used up"),
        pytest.param(None, SCARCE, False, LIMIT, id="a limit that is used up"),
        pytest.param(
            REFUSED, None, True, ApiProblem(Cause.KEY_REFUSED, 990.0, "401 code", 1_007.0), id="a refused key"
        ),
        pytest.param(LIMITED, None, True, ApiProblem(Cause.RATE_LIMITED, 990.0, "429", 1_007.0), id="a rate limit"),
        pytest.param(
            EDGE, None, True, ApiProblem(Cause.UNAVAILABLE, 990.0, "403 page", 1_007.0), id="403 without a code"
        ),
        pytest.param(
            LASTING_EDGE, None, False, ApiProblem(Cause.PROXY_OR_KEY, 930.0, "403 page", 1_007.0), id="for a minute"
        ),
    ],
)
def test_the_problem_is_the_present_one(
    trouble: Trouble | None, scarcity: Scarcity | None, is_open: bool, problem: ApiProblem | None
):
    assert problem_now(trouble, scarcity, now=100.0, wall=1_000.0, is_open=is_open, delay=7.0) == problem


@pytest.mark.parametrize(("trouble", "scarcity"), [(FAILING, None), (None, SCARCE)])
def test_where_the_next_request_waits_for_another_one_no_time_is_given(
    trouble: Trouble | None, scarcity: Scarcity | None
):
    found = problem_now(trouble, scarcity, now=100.0, wall=1_000.0, is_open=True, delay=math.inf)
    assert found is not None
    assert found.next_try is None


def test_a_problem_stops_the_work_unless_it_says_otherwise():
    assert ApiProblem(Cause.UNAVAILABLE, 0.0, "502", None).stops_work is True


UNAVAILABLE, KEY_REFUSED = Opened(Reason.UNAVAILABLE), Opened(Reason.KEY_REFUSED)


@pytest.mark.parametrize(
    ("before", "after", "is_open", "was_edge", "change"),
    [
        pytest.param(None, None, False, False, None, id="nothing was wrong"),
        pytest.param(None, None, False, True, None, id="nothing was wrong, and an edge was reported"),
        pytest.param(EDGE, None, False, False, None, id="an edge that was not reported is gone"),
        pytest.param(EDGE, None, False, True, Closed(10.0), id="an edge that was reported is gone"),
        pytest.param(None, FAILING, True, False, UNAVAILABLE, id="the first"),
        pytest.param(REFUSED, FAILING, True, False, UNAVAILABLE, id="a refused key becomes an outage"),
        pytest.param(REFUSED, EDGE, True, False, UNAVAILABLE, id="a refused key becomes an edge"),
        pytest.param(FAILING, REFUSED, True, False, KEY_REFUSED, id="an outage becomes a refused key"),
        pytest.param(LIMITED, REFUSED, True, False, KEY_REFUSED, id="a rate limit becomes a refused key"),
        pytest.param(FAILING, REFUSED, False, False, None, id="nothing is open"),
        pytest.param(FAILING, EDGE, True, False, None, id="it is still an outage"),
        pytest.param(REFUSED, LIMITED, True, False, None, id="a rate limit is logged elsewhere"),
    ],
)
def test_a_change_of_the_cause_is_logged_as_what_it_means(
    before: Trouble | None, after: Trouble | None, is_open: bool, was_edge: bool, change: Change | None
):
    assert change_of_cause(before, after, now=100.0, is_open=is_open, was_edge=was_edge) == change


@pytest.mark.parametrize(("delay", "retry_in"), [(0.0, 0.0), (1.23456, 1.235), (math.inf, None)])
def test_what_is_logged_says_when_the_next_request_goes_out_and_what_to_do(delay: float, retry_in: float | None):
    key = KeySource("api.key_file /key", "put another one there")
    with capture_logs() as logs:
        for change in (UNAVAILABLE, KEY_REFUSED):
            log_change(change, "why", delay=delay, key=key)
        log_change(Closed(9.87654), None, delay=delay, key=key)
    more = {"log_level": "error", "error": "why", "retry_in": retry_in, "key_source": "api.key_file /key"}
    assert logs == [
        {"event": "api.unavailable", **more, "hint": UNAVAILABLE_HINT},
        {"event": "api.key_refused", **more, "hint": "put another one there"},
        {"event": "api.recovered", "log_level": "info", "seconds": 9.877},
    ]
