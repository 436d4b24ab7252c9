"""How long a look may take, and when an asset is given up without one."""

from __future__ import annotations

import math

import msgspec
import pytest

from asset_worker.domain.assets import Expectations, Unanswered
from asset_worker.domain.submissions import Options
from asset_worker.poller.deadlines import age_limit, given_up_at, seconds_left, too_late
from tests.doubles.looks import lease

EXPECTATIONS = Expectations(deadline=30, unanswered_factor=2.0)


@pytest.mark.parametrize(
    ("age", "options", "now", "left"),
    [
        pytest.param(10.0, None, 100.0, 50.0, id="just taken"),
        pytest.param(10.0, None, 105.0, 45.0, id="held for a while"),
        pytest.param(10.0, Options(deadline=15), 105.0, 15.0, id="the submission's own deadline"),
        pytest.param(59.5, None, 100.0, 1.0, id="near the limit"),
        pytest.param(60.0, None, 100.0, 20.0, id="at the limit"),
        pytest.param(600.0, None, 100.0, 20.0, id="past the limit"),
        pytest.param(600.0, Options(deadline=2), 100.0, 2.0, id="past a limit that this run was there for"),
    ],
)
def test_a_look_may_take_until_the_age_limit_and_a_second_at_least(age, options, now, left):
    taken = msgspec.structs.replace(lease(age=age, options=options), taken_at=100.0)
    assert seconds_left(taken, EXPECTATIONS, last_look=20.0, running_for=5.0, stalled_for=0.0, now=now) == left


def test_a_look_that_can_not_be_made_gets_no_more_than_is_left():
    assert seconds_left(lease(age=59.5), EXPECTATIONS, last_look=0.0, running_for=0.0, stalled_for=1.0, now=0.0) == 0.5
    assert seconds_left(lease(age=60.0), EXPECTATIONS, last_look=0.0, running_for=0.0, stalled_for=1.0, now=0.0) == 0.0


def test_past_the_age_limit_a_look_gets_a_second_at_least():
    assert seconds_left(lease(age=600.0), EXPECTATIONS, last_look=0.0, running_for=0.0, stalled_for=0.0, now=0.0) == 1.0


def test_the_age_limit_follows_from_the_deadline():
    assert age_limit(None, EXPECTATIONS) == 60.0
    assert age_limit(Options(deadline=3), EXPECTATIONS) == 6.0


@pytest.mark.parametrize(
    ("running_for", "last_look", "age"),
    [
        pytest.param(5.0, 0.0, 100.0, id="every asset is of this run"),
        pytest.param(59.0, 60.0, math.inf, id="it may be of an earlier run, and has had no chance in this one"),
        pytest.param(60.0, 60.0, 100.0, id="it had its chance"),
    ],
)
def test_an_asset_of_an_earlier_run_is_not_given_up_at_once(running_for, last_look, age):
    assert given_up_at(100.0, running_for=running_for, last_look=last_look) == age


def test_an_asset_with_a_short_deadline_is_given_up_in_time_even_soon_after_a_start():
    assert given_up_at(6.0, running_for=6.0, last_look=60.0) == 6.0


def test_a_look_that_came_too_late_names_the_latest_failure():
    assert too_late(None) == Unanswered("the deadline came before the answer")
    assert too_late("503") == Unanswered("the deadline came before the answer; lately: 503")


@pytest.mark.parametrize(
    ("running_for", "last_look", "seconds"), [(19.9, 20.0, 20.0), (20.0, 20.0, 2.0), (99.0, 0.0, 1.0)]
)
def test_a_look_past_the_limit_is_long_only_soon_after_the_start(
    running_for: float, last_look: float, seconds: float
) -> None:
    left = seconds_left(
        lease(age=600.0), EXPECTATIONS, last_look=last_look, running_for=running_for, stalled_for=0.0, now=0.0
    )
    assert left == seconds
