"""The breaker's states, by what became of requests."""

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.breaker import FAILURES_TO_OPEN, LONGEST_PROBE_SECONDS, Breaker, Change, Closed, Opened, Reason


def breaker(concurrency: int = 20) -> Breaker:
    return Breaker(concurrency=concurrency, uniform=lambda: 0.5)


def fail(breaker: Breaker, times: int, now: float = 0.0) -> list[Change]:
    periods = [breaker.sent() for _ in range(times)]
    return [change for period in periods if (change := breaker.failed(now, period=period))]


def sent_at_once(breaker: Breaker, now: float) -> int:
    sent = 0
    while breaker.delay(now) == 0:
        breaker.sent()
        sent += 1
    return sent


def test_closed_it_lets_through_up_to_the_concurrency() -> None:
    assert sent_at_once(breaker(), 0.0) == 20


def test_failures_in_a_row_open_it_once() -> None:
    it = breaker()
    assert fail(it, FAILURES_TO_OPEN - 1) == []
    assert it.succeeded(0.0, period=it.sent()) is None
    assert fail(it, FAILURES_TO_OPEN - 1) == []
    assert fail(it, 5) == [Opened(Reason.UNAVAILABLE)]
    assert it.reason is Reason.UNAVAILABLE


def test_open_it_probes_one_at_a_time_at_growing_distances() -> None:
    it, now, distances = breaker(), 0.0, []
    fail(it, 20)
    for _ in range(8):
        distances.append(it.delay(now))
        now += it.delay(now)
        assert sent_at_once(it, now) == 1
        assert it.delay(now) == math.inf
        assert it.failed(now, period=1) is None
    assert distances == [1, 2, 4, 8, 16, 30, 30, LONGEST_PROBE_SECONDS]


def test_a_second_outage_is_probed_as_soon_as_the_first() -> None:
    it, now = breaker(), 0.0
    fail(it, 20)
    for _ in range(8):
        now += it.delay(now)
        it.failed(now, period=it.sent())
    now += it.delay(now)
    assert it.succeeded(now, period=it.sent()) == Closed(now)
    assert fail(it, FAILURES_TO_OPEN, now) == [Opened(Reason.UNAVAILABLE)]
    assert it.delay(now) == 1


def test_probes_are_spread_by_jitter() -> None:
    delays = set()
    for number in (0.0, 0.5, 1.0):
        it = Breaker(concurrency=20, uniform=lambda number=number: number)  # type: ignore[misc]
        fail(it, FAILURES_TO_OPEN)
        delays.add(it.delay(0.0))
    assert delays == {0.75, 1.0, 1.25}


def test_a_probe_that_succeeds_closes_it_and_concurrency_comes_back_in_steps() -> None:
    it, steps = breaker(), []
    fail(it, 20)
    probe = it.sent() if it.delay(1.0) == 0 else -1
    assert it.succeeded(1.5, period=probe) == Closed(1.5)
    for _ in range(5):
        periods = [it.sent() for _ in range(20) if it.delay(2.0) == 0]
        steps.append(len(periods))
        for period in periods:
            assert it.succeeded(2.0, period=period) is None
    assert steps == [2, 4, 8, 16, 20]


def test_a_failure_while_coming_back_takes_a_step_back() -> None:
    it = breaker()
    fail(it, 20)
    it.succeeded(1.5, period=it.sent())
    it.failed(1.6, period=it.sent())
    assert sent_at_once(it, 1.6) == 1


def test_a_late_success_shows_that_the_api_is_there() -> None:
    it = breaker()
    late = it.sent()
    fail(it, FAILURES_TO_OPEN)
    assert it.succeeded(0.5, period=late) == Closed(0.5)


def test_one_refusal_of_the_key_stops_all_but_a_probe_which_confirms_it() -> None:
    it = breaker()
    first, late = it.sent(), it.sent()
    assert it.refused(5.0, period=first) is None
    assert it.reason is None
    assert sent_at_once(it, 5.0) == 1
    assert it.refused(5.1, period=late) is None
    assert it.refused(5.2, period=1) == Opened(Reason.KEY_REFUSED)
    assert it.delay(5.2) == 1.0
    assert it.refused(6.3, period=it.sent()) is None
    closed = it.succeeded(9.2, period=it.sent())
    assert isinstance(closed, Closed)
    assert closed.seconds == pytest.approx(4.0)


def test_a_suspicion_that_is_not_confirmed_is_forgotten() -> None:
    for verdict in ("succeeded", "failed"):
        it = breaker()
        it.refused(5.0, period=it.sent())
        assert getattr(it, verdict)(5.1, period=it.sent()) is None
        assert sent_at_once(it, 5.1) == 20


def test_a_changed_key_is_tried_at_once_and_answers_to_the_old_one_do_not_count() -> None:
    it = breaker()
    it.refused(0.0, period=it.sent())
    old = it.sent()
    assert it.refused(0.0, period=old) == Opened(Reason.KEY_REFUSED)
    old_probe = it.sent()
    it.key_changed(0.5)
    assert sent_at_once(it, 0.5) == 1
    assert it.refused(0.6, period=old_probe) is None
    assert it.delay(0.6) == math.inf
    assert it.succeeded(0.7, period=it._period) == Closed(0.7)


def test_a_success_with_the_old_key_does_not_close_it() -> None:
    it = breaker()
    late = it.sent()
    it.refused(0.0, period=it.sent())
    it.refused(0.1, period=it.sent())
    assert it.succeeded(0.2, period=late) is None
    assert it.reason is Reason.KEY_REFUSED


def test_an_outage_that_turns_out_to_be_the_key_says_so() -> None:
    it = breaker()
    fail(it, FAILURES_TO_OPEN)
    assert it.refused(1.0, period=it.sent()) == Opened(Reason.KEY_REFUSED)
    it.failed(2.0, period=it.sent())
    assert it.reason is Reason.KEY_REFUSED
    assert it.succeeded(5.0, period=it.sent()) == Closed(5.0)


def test_a_lost_probe_is_made_again() -> None:
    it = breaker()
    fail(it, FAILURES_TO_OPEN)
    it.lost(period=it.sent())
    assert it.delay(1.0) == 0


def test_with_half_of_the_answers_faulty_it_hardly_ever_stays_open() -> None:
    it, random, now, open_for = breaker(), Random(1), 0.0, 0.0
    for _ in range(10_000):
        delay = it.delay(now)
        open_for += delay
        now += delay + 0.05
        period = it.sent()
        (it.failed if random.random() < 0.5 else it.succeeded)(now, period=period)
    assert open_for / now < 0.05


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["succeeded", "failed", "refused", "lost", "key"]), st.integers(0, 50)), max_size=80
    )
)
def test_in_any_order_a_request_may_go_in_the_end_and_changes_alternate(steps: list[tuple[str, int]]) -> None:
    it, now, in_flight, changes = breaker(4), 0.0, [], []
    for what, number in steps:
        now += number / 10
        if it.delay(now) == 0:
            in_flight.append(it.sent())
        if what == "key":
            it.key_changed(now)
        elif in_flight and what == "lost":
            it.lost(period=in_flight.pop(number % len(in_flight)))
        elif in_flight and (change := getattr(it, what)(now, period=in_flight.pop(number % len(in_flight)))):
            changes.append(change)
        assert it._in_flight >= 0
    for period in in_flight:
        it.lost(period=period)
    assert it.delay(now) <= LONGEST_PROBE_SECONDS * 1.25
    for before, after in pairwise(changes):
        assert before != after
        assert not (isinstance(before, Closed) and isinstance(after, Closed))
