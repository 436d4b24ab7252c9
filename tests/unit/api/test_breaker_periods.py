"""The breaker's outages: what each of them begins with, what may be a probe, and what refusals of the key mean."""

from __future__ import annotations

import math

import pytest

from asset_worker.api.breaker import FAILURES_TO_OPEN, Breaker, Change, Closed, Opened, Reason
from asset_worker.api.probes import FRESH_SECONDS, Choice
from asset_worker.api.subjects import Endpoint, Subject

UNAVAILABLE, KEY_REFUSED = Opened(Reason.UNAVAILABLE), Opened(Reason.KEY_REFUSED)
NEVER = math.inf


def new_breaker(concurrency: int = 20) -> Breaker:
    return Breaker(concurrency=concurrency, uniform=lambda: 0.5)


def about(name: str) -> Subject:
    return Subject(Endpoint.RETRIEVE, name)


A, B, C, D = (about(name) for name in "abcd")


def fails(breaker: Breaker, subject: Subject, now: float) -> Change | None:
    return breaker.failed(now, period=breaker.sent(subject, now), subject=subject)


def is_answered(breaker: Breaker, subject: Subject, now: float) -> Change | None:
    return breaker.succeeded(now, period=breaker.sent(subject, now), subject=subject)


def is_refused(breaker: Breaker, subject: Subject, now: float) -> Change | None:
    return breaker.refused(now, period=breaker.sent(subject, now), subject=subject)


def outage(breaker: Breaker, now: float) -> Breaker:
    """A dozen assets fail, at last A: the breaker opens."""
    others = [about(f"{now} {number}") for number in range(FAILURES_TO_OPEN - 1)]
    assert UNAVAILABLE in [fails(breaker, each, now) for each in [*others, A]]
    return breaker


def sent_at_once(breaker: Breaker, now: float) -> int:
    sent = 0
    while breaker.delay(now) == 0:
        breaker.sent(D, now)
        sent += 1
    return sent


def test_while_a_probe_is_in_flight_there_is_no_next_one():
    it = outage(new_breaker(), 0.0)
    it.sent(A, 1.0)
    assert it.next_probe([B, A], 1.0) == Choice(0, NEVER)
    assert it.delay(1.0) == NEVER


@pytest.mark.parametrize(
    ("concurrency", "turned_away"), [(1, [3, 2, 0]), (2, [3, 2, 0]), (3, [2, 0]), (4, [2, 0]), (20, [2, 0])]
)
def test_two_wait_that_failed_before_or_fewer_if_they_would_take_all_places(concurrency: int, turned_away: list[int]):
    """Those that were tried longest ago wait; the fresh one at place 1 need not be turned away."""
    it = outage(new_breaker(concurrency), 0.0)
    for second, subject in enumerate([B, C, D, A], start=1):
        fails(it, subject, float(second))
    fresh = about("fresh")
    assert sorted(it.too_many([A, fresh, D, C, B], 9.0)) == sorted(turned_away)


@pytest.mark.parametrize("stale", [[], [A], [A, B]])
def test_as_few_as_may_wait_are_not_turned_away(stale: list[Subject]):
    it = outage(new_breaker(), 0.0)
    fails(it, B, 1.0)
    assert it.too_many([about("fresh 1"), *stale, about("fresh 2")], 2.0) == []


def test_fresh_is_what_did_neither_fail_nor_go_out_since_the_breaker_opened():
    it = outage(new_breaker(), 0.0)
    assert not it.is_fresh(A)
    assert it.is_fresh(B)
    it.lost(period=it.sent(B, 1.0))
    assert not it.is_fresh(B), "it was a probe"
    assert is_answered(it, C, 2.0) == Closed(2.0)
    assert fails(it, C, 3.0) is None
    outage(it, 4.0)
    assert it.is_fresh(B), "that was in the outage before"
    assert not it.is_fresh(C), "it failed before the outage"


def test_in_an_outage_nothing_is_repeated_soon():
    it = new_breaker()
    assert it.may_repeat(A, 0.0)
    outage(it, 0.0)
    assert not it.may_repeat(A, 0.0)
    assert not it.may_repeat(B, 0.0)


def test_probes_take_turns():
    it, now, probes = outage(new_breaker(), 0.0), 0.0, []
    for _ in range(6):
        choice = it.next_probe([A, B, C], now)
        now = max(choice.at, now)
        probes.append([A, B, C][choice.place])
        it.lost(period=it.sent(probes[-1], now))
        now += 1
    assert probes == [B, C, A, B, C, A]


def test_a_429_shows_that_the_api_is_there_but_not_that_it_accepts_the_key():
    it = outage(new_breaker(), 0.0)
    assert it.reached(1.0, period=it.sent(A, 1.0)) == Closed(1.0)
    assert is_refused(it, A, 2.0) is None
    assert is_refused(it, A, 3.0) == KEY_REFUSED
    assert it.reached(4.0, period=it.sent(A, 4.0)) is None
    assert it.reason is Reason.KEY_REFUSED
    assert sent_at_once(it, 4.0) == 1, "the next probe may go"


@pytest.mark.parametrize(
    ("successes", "failing", "allowed"),
    [
        pytest.param(0, [], 2, id="at first two at once"),
        pytest.param(0, [A], 1, id="half of them"),
        pytest.param(0, [A, B], 1, id="one at least"),
        pytest.param(5, [A], 3, id="half of seven"),
        pytest.param(6, [A], 4, id="half of eight"),
        pytest.param(6, [A, A], 4, id="the same again"),
        pytest.param(18, [A], 20, id="all are back already"),
    ],
)
def test_while_requests_resume_each_new_failure_halves_how_many_go_at_once(
    successes: int, failing: list[Subject], allowed: int
):
    it = outage(new_breaker(), 0.0)
    for _ in range(successes + 1):
        is_answered(it, A, 2.0)
    for subject in failing:
        fails(it, subject, 2.0)
    assert sent_at_once(it, 2.0) == allowed


def test_a_late_failure_neither_confirms_nor_refutes_that_the_key_is_refused():
    it = new_breaker()
    late = it.sent(B, 0.0)
    is_refused(it, A, 1.0)
    assert it.failed(2.0, period=late, subject=B) is None
    assert sent_at_once(it, 2.0) == 1
    assert it.reason is None


def test_a_refused_key_ends_a_row_of_failures():
    it = new_breaker()
    row = [about(f"{number}") for number in range(FAILURES_TO_OPEN - 1)]
    for subject in row:
        assert fails(it, subject, 0.0) is None
    assert is_refused(it, A, 1.0) is None
    assert [fails(it, subject, 2.0) for subject in row] == [None] * len(row)
    assert fails(it, B, 3.0) == UNAVAILABLE


def test_the_refusal_of_one_asset_alone_ends_no_row_of_failures():
    it = new_breaker()
    is_refused(it, B, 0.0)
    is_answered(it, A, 1.0)
    for number in range(FAILURES_TO_OPEN - 1):
        assert fails(it, about(f"{number}"), 2.0) is None
    assert is_refused(it, B, 3.0) is None
    assert fails(it, C, 4.0) == UNAVAILABLE


def test_a_success_ends_a_row_of_failures_of_many_assets():
    it = new_breaker()
    for number in range(FAILURES_TO_OPEN - 1):
        fails(it, about(f"{number}"), 0.0)
    is_answered(it, A, 1.0)
    assert fails(it, B, 2.0) is None


def test_another_asset_confirms_a_suspicion_even_while_one_is_known_that_works():
    it = new_breaker()
    is_answered(it, A, 0.0)
    assert is_refused(it, B, 1.0) is None
    assert is_refused(it, C, 2.0) == KEY_REFUSED


def test_an_asset_that_was_refused_alone_confirms_no_suspicion():
    it = new_breaker()
    is_refused(it, B, 0.0)
    is_answered(it, A, 1.0)
    is_refused(it, C, 2.0)
    is_answered(it, D, 3.0)
    outage(it, 4.0)
    assert is_refused(it, B, 5.0) is None
    assert it.reason is Reason.UNAVAILABLE
    assert it.delay(5.0) == 2.0, "the probe counts all the same"


def test_a_refused_key_is_probed_at_growing_intervals():
    it, now, intervals = new_breaker(), 1.0, []
    is_refused(it, A, 0.0)
    is_refused(it, A, 1.0)
    for _ in range(7):
        intervals.append(it.delay(now))
        now += it.delay(now)
        assert is_refused(it, A, now) is None
    assert intervals == [1, 2, 4, 8, 16, 30, 30]


def test_a_new_key_is_suspected_by_the_first_refusal_of_an_asset_that_was_refused_alone():
    it = new_breaker()
    is_refused(it, B, 0.0)
    is_answered(it, A, 1.0)
    is_refused(it, B, 2.0)
    assert not it.is_open
    it.key_changed(3.0)
    is_refused(it, B, 4.0)
    assert it.is_open


def test_a_new_key_changes_nothing_while_requests_go_out_and_nothing_in_an_outage():
    it = new_breaker()
    it.key_changed(0.0)
    assert sent_at_once(it, 0.0) == 20
    it = outage(new_breaker(), 1.0)
    it.key_changed(1.5)
    assert (it.reason, it.delay(1.5)) == (Reason.UNAVAILABLE, 0.5)


def test_a_fresh_asset_is_first_probed_with_the_others_and_then_besides_them():
    it = outage(new_breaker(), 100.0)
    assert it.next_probe([A, B], 100.0) == Choice(1, 101.0)
    for now in (101.0, 103.0):
        fails(it, A, now)
    assert it.delay(103.0) == 4.0
    assert it.next_probe([A, B], 103.0) == Choice(1, 100.0 + FRESH_SECONDS)


def test_an_outage_that_a_fresh_asset_ended_leaves_nothing_to_the_next_one():
    it = outage(new_breaker(), 0.0)
    for now in (1.0, 3.0):
        fails(it, A, now)
    assert is_answered(it, B, 5.0) == Closed(5.0), "besides the probe that is due at 7"
    outage(it, 50.0)
    assert it.delay(50.0) == 1.0
    assert it.next_probe([A, C], 50.0) == Choice(1, 51.0)


def test_the_asset_that_worked_best_is_not_probed_twice_running():
    it = new_breaker()
    is_answered(it, A, 0.0)
    outage(it, 60.0)
    assert it.next_probe([A, B], 60.0) == Choice(1, 61.0), "A failed last, though it was answered lately"
    it.lost(period=it.sent(B, 61.0))
    assert it.next_probe([A, B], 62.0) == Choice(0, 61.0)
