"""When lists are suspended, and when they count as good again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.poller.list_suspension import (
    CHECKS_TO_RESTORE,
    FAILURES_TO_DOUBT,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    ListSuspension,
    Restored,
    Suspended,
)


def check(suspension, now, *, agreeing=0, contradicting=0):
    """Note these checks, the agreeing ones first; the changes that came of them."""
    results = [True] * agreeing + [False] * contradicting
    changes = [suspension.checked(now, agreed=agreed) for agreed in results]
    return [change for change in changes if change]


def test_an_occasional_contradiction_suspends_nothing():
    suspension = ListSuspension()
    for number in range(1000):
        assert suspension.checked(number, agreed=number % 10 != 0) is None or number < 40
    assert suspension.is_usable(1000)


def test_many_contradictions_suspend_lists_and_that_is_reported_once():
    suspension = ListSuspension()
    why = "4 of 4 lists or hints that were checked were wrong"
    assert check(suspension, 0.0, contradicting=10) == [Suspended(why, FIRST_PAUSE_SECONDS)]
    assert not suspension.is_usable(FIRST_PAUSE_SECONDS - 1)
    assert suspension.is_usable(FIRST_PAUSE_SECONDS)


@pytest.mark.parametrize(
    ("agreeing", "is_suspended"),
    [pytest.param(12, True, id="a quarter of them"), pytest.param(13, False, id="fewer than a quarter")],
)
def test_four_contradictions_suspend_lists_if_they_are_a_quarter_of_the_recent_checks(agreeing, is_suspended):
    suspension = ListSuspension()
    assert bool(check(suspension, 0.0, agreeing=agreeing, contradicting=4)) == is_suspended


def test_only_the_latest_forty_checks_count():
    suspension = ListSuspension()
    assert check(suspension, 0.0, agreeing=60, contradicting=9) == []
    assert check(suspension, 0.0, agreeing=30, contradicting=1) != [], "ten of forty are a quarter"
    suspension = ListSuspension()
    assert check(suspension, 0.0, agreeing=60, contradicting=9) == []
    assert check(suspension, 0.0, agreeing=31, contradicting=1) == [], "the first of ten no longer counts"


def test_contradictions_from_before_a_pause_do_not_count_after_it():
    suspension = ListSuspension()
    check(suspension, 0.0, contradicting=4)
    check(suspension, 60.0, contradicting=3)
    assert suspension.is_usable(60.0)
    check(suspension, 60.0, contradicting=1)
    assert not suspension.is_usable(60.0)


def test_each_failure_after_a_pause_doubles_the_next_one_and_is_not_reported():
    suspension, now = ListSuspension(), 0.0
    assert suspension.refused(now, "404") == Suspended("404", FIRST_PAUSE_SECONDS)
    for pause in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        assert not suspension.is_usable(now + pause - 1)
        now += pause
        assert suspension.is_usable(now)
        assert suspension.refused(now, "404") is None
    assert pause == LONGEST_PAUSE_SECONDS


def test_lists_that_agree_after_a_pause_are_restored_once_and_the_next_pause_is_short_again():
    suspension = ListSuspension()
    suspension.refused(0.0, "404")
    assert check(suspension, 130.0, agreeing=3 * CHECKS_TO_RESTORE) == [Restored()]
    assert suspension.refused(200.0, "404") == Suspended("404", FIRST_PAUSE_SECONDS)


def test_twenty_checks_in_a_row_must_agree_before_lists_are_restored():
    suspension = ListSuspension()
    suspension.refused(0.0, "404")
    assert check(suspension, 130.0, agreeing=19, contradicting=1) == []
    assert check(suspension, 130.0, agreeing=19) == []
    assert check(suspension, 130.0, agreeing=1) == [Restored()]


def test_lists_are_restored_a_minute_after_the_pause_at_the_earliest():
    """It takes a while to notice that they lag."""
    suspension = ListSuspension()
    suspension.refused(0.0, "404")
    assert check(suspension, 119.9, agreeing=100) == []
    assert check(suspension, 120.0, agreeing=1) == [Restored()]


def test_a_list_that_was_behind_interrupts_the_checks_that_agree():
    suspension = ListSuspension()
    suspension.refused(0.0, "404")
    check(suspension, 130.0, agreeing=19)
    suspension.behind()
    assert check(suspension, 130.0, agreeing=19) == []
    assert check(suspension, 130.0, agreeing=1) == [Restored()]


def test_checks_that_agreed_before_a_pause_do_not_count_after_it():
    suspension = ListSuspension()
    check(suspension, 0.0, agreeing=19)
    suspension.refused(0.0, "404")
    assert check(suspension, 130.0, agreeing=19) == []
    assert check(suspension, 130.0, agreeing=1) == [Restored()]


def test_lists_under_way_when_they_were_suspended_prove_nothing():
    """Only lists after the pause restore them."""
    suspension = ListSuspension()
    suspension.refused(0.0, "404")
    assert check(suspension, 1.0, agreeing=CHECKS_TO_RESTORE) == []
    assert suspension.checked(FIRST_PAUSE_SECONDS, agreed=True) is None
    assert suspension.checked(130.0, agreed=True) is None
    assert suspension.refused(FIRST_PAUSE_SECONDS, "404") is None
    assert not suspension.is_usable(3 * FIRST_PAUSE_SECONDS - 1)


def test_lists_under_way_when_they_were_suspended_lengthen_no_pause():
    suspension = ListSuspension()
    suspension.refused(0.0, "404")
    suspension.refused(0.1, "404")
    assert suspension.is_usable(FIRST_PAUSE_SECONDS)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["agreed", "contradicted", "refused"]))))
def test_suspensions_and_restorations_are_reported_in_turn_and_no_pause_is_endless(steps):
    suspension, now, reported = ListSuspension(), 0.0, []
    for passed, step in steps:
        now += passed
        change = (
            suspension.refused(now, "no") if step == "refused" else suspension.checked(now, agreed=step == "agreed")
        )
        reported += [type(change)] if change else []
    assert reported == [Suspended, Restored] * (len(reported) // 2) + [Suspended] * (len(reported) % 2)
    assert suspension.is_usable(now + LONGEST_PAUSE_SECONDS)


def test_lists_that_fail_again_and_again_while_retrieves_work_are_suspended():
    suspension = ListSuspension()
    found = [
        suspension.failed_alone(number + 0.5, "500", asked_at=float(number)) for number in range(FAILURES_TO_DOUBT)
    ]
    assert found == [None] * (FAILURES_TO_DOUBT - 1) + [Suspended("500", FIRST_PAUSE_SECONDS)]


def test_a_list_requested_when_the_failure_before_it_was_known_counts():
    suspension = ListSuspension()
    found = [suspension.failed_alone(now + 1.0, "500", asked_at=now) for now in (0.0, 1.0, 2.0)]
    assert found == [None, None, Suspended("500", 60.0)]


def test_lists_that_were_requested_before_the_same_success_count_once():
    """An outage has ended, or the key was replaced: that says nothing about lists."""
    suspension = ListSuspension()
    assert not any(suspension.failed_alone(10.0 + number, "401", asked_at=9.0) for number in range(40))
    assert not any(suspension.failed_alone(60.0 + number, "401", asked_at=50.0) for number in range(40))
    assert suspension.is_usable(100.0)


def test_a_list_in_between_shows_that_lists_work():
    suspension = ListSuspension()
    for number in range(100):
        assert suspension.failed_alone(number + 0.5, "500", asked_at=float(number)) is None
        if number % (FAILURES_TO_DOUBT - 1):
            suspension.answered()


def test_lists_that_are_too_far_behind_are_suspended():
    suspension = ListSuspension()
    assert suspension.lagged(0.0, 4.4) == Suspended("lists are 4 s or more behind", FIRST_PAUSE_SECONDS)
    assert not suspension.is_usable(FIRST_PAUSE_SECONDS - 1)
