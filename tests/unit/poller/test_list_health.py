"""Whether lists are believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asset_worker.poller.list_health import (
    CHECKS_TO_TRUST,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    ListHealth,
    Restored,
    Suspended,
)


def test_a_contradiction_now_and_then_is_no_reason_for_doubt():
    it = ListHealth()
    for number in range(1000):
        assert it.checked(number, agreed=number % 10 != 0) is None or number < 40
    assert it.is_usable(1000)


def test_many_contradictions_turn_lists_off_and_it_is_told_once():
    it = ListHealth()
    changes = [it.checked(0.0, agreed=False) for _ in range(10)]
    [doubted] = [change for change in changes if change]
    assert doubted == Suspended("4 of 4 lists or hints that were checked were wrong", FIRST_PAUSE_SECONDS)
    assert not it.is_usable(FIRST_PAUSE_SECONDS - 1)
    assert it.is_usable(FIRST_PAUSE_SECONDS)


def test_each_trial_that_fails_doubles_the_pause_in_silence():
    it, now = ListHealth(), 0.0
    assert it.refused(now, "404") == Suspended("404", FIRST_PAUSE_SECONDS)
    for pause in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        assert not it.is_usable(now + pause - 1)
        now += pause
        assert it.is_usable(now)
        assert it.refused(now, "404") is None
    assert pause == LONGEST_PAUSE_SECONDS


def test_good_checks_after_a_trial_are_told_once_and_shorten_the_next_pause():
    it = ListHealth()
    it.refused(0.0, "404")
    changes = [it.checked(100.0, agreed=True) for _ in range(3 * CHECKS_TO_TRUST)]
    assert [change for change in changes if change] == [Restored()]
    assert it.refused(200.0, "404") == Suspended("404", FIRST_PAUSE_SECONDS)


def test_lists_under_way_when_they_were_turned_off_prove_nothing():
    """ListHealth comes from a trial."""
    it = ListHealth()
    it.refused(0.0, "404")
    assert [it.checked(1.0, agreed=True) for _ in range(CHECKS_TO_TRUST)] == [None] * CHECKS_TO_TRUST
    assert it.checked(FIRST_PAUSE_SECONDS, agreed=True) is None
    assert it.refused(FIRST_PAUSE_SECONDS, "404") is None
    assert not it.is_usable(3 * FIRST_PAUSE_SECONDS - 1)


def test_lists_under_way_when_they_were_turned_off_lengthen_no_pause():
    it = ListHealth()
    it.refused(0.0, "404")
    it.refused(0.1, "404")
    assert it.is_usable(FIRST_PAUSE_SECONDS)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["agreed", "contradicted", "refused"]))))
def test_doubt_and_trust_are_told_in_turn_and_no_pause_is_endless(steps):
    it, now, told = ListHealth(), 0.0, []
    for passed, step in steps:
        now += passed
        change = it.refused(now, "no") if step == "refused" else it.checked(now, agreed=step == "agreed")
        told += [type(change)] if change else []
    assert told == [Suspended, Restored] * (len(told) // 2) + [Suspended] * (len(told) % 2)
    assert it.is_usable(now + LONGEST_PAUSE_SECONDS)
