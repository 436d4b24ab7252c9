"""The breaker's states, by what became of requests."""

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.breaker import FAILURES_TO_OPEN, LONGEST_PROBE_SECONDS, Breaker, Change, Closed, Opened, Reason
from asset_worker.api.probes import FRESH_SECONDS
from asset_worker.api.subjects import WORKS_SECONDS, Endpoint, Subject

A = Subject(Endpoint.RETRIEVE, "a")


def breaker(concurrency: int = 20) -> Breaker:
    return Breaker(concurrency=concurrency, uniform=lambda: 0.5)


def fail(breaker: Breaker, times: int, now: float = 0.0) -> list[Change]:
    periods = [breaker.sent(A, 0.0) for _ in range(times)]
    return [change for period in periods if (change := breaker.failed(now, period=period, subject=A))]


def sent_at_once(breaker: Breaker, now: float) -> int:
    sent = 0
    while breaker.delay(now) == 0:
        breaker.sent(A, now)
        sent += 1
    return sent


def test_closed_it_lets_through_up_to_the_concurrency() -> None:
    assert sent_at_once(breaker(), 0.0) == 20


def test_failures_in_a_row_open_it_once() -> None:
    it = breaker()
    assert fail(it, FAILURES_TO_OPEN - 1) == []
    assert it.succeeded(0.0, period=it.sent(A, 0.0), subject=A) is None
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
        assert it.failed(now, period=1, subject=A) is None
    assert distances == [1, 2, 4, 8, 16, 30, 30, LONGEST_PROBE_SECONDS]


def test_a_second_outage_is_probed_as_soon_as_the_first() -> None:
    it, now = breaker(), 0.0
    fail(it, 20)
    for _ in range(8):
        now += it.delay(now)
        it.failed(now, period=it.sent(A, now), subject=A)
    now += it.delay(now)
    assert it.succeeded(now, period=it.sent(A, now), subject=A) == Closed(now)
    assert fail(it, FAILURES_TO_OPEN, now) == [Opened(Reason.UNAVAILABLE)]
    assert it.delay(now) == 1


def test_probes_are_spread_by_jitter() -> None:
    delays = []
    for number in (0.0, 0.5, 1.0):
        it = Breaker(concurrency=20, uniform=lambda number=number: number)  # type: ignore[misc]
        fail(it, FAILURES_TO_OPEN)
        delays.append(it.delay(0.0))
    assert delays == [0.75, 1.0, 1.25]


def test_a_probe_that_succeeds_closes_it_and_concurrency_comes_back_in_steps() -> None:
    it, steps = breaker(), []
    fail(it, 20)
    probe = it.sent(A, 0.0) if it.delay(1.0) == 0 else -1
    assert it.succeeded(1.5, period=probe, subject=A) == Closed(1.5)
    for _ in range(5):
        periods = [it.sent(A, 2.0) for _ in range(20) if it.delay(2.0) == 0]
        steps.append(len(periods))
        for period in periods:
            assert it.succeeded(2.0, period=period, subject=A) is None
    assert steps == [2, 4, 8, 16, 20]


def test_requests_without_an_answer_do_not_hold_up_the_others_while_concurrency_comes_back() -> None:
    it = breaker()
    fail(it, 20)
    it.succeeded(1.5, period=it.sent(A, 1.5), subject=A)
    assert sent_at_once(it, 2.0) == 2
    assert it.delay(2.5) == pytest.approx(0.5)
    assert [sent_at_once(it, float(second)) for second in range(3, 22)] == [1] * 18 + [0]


def test_a_failure_while_coming_back_takes_a_step_back() -> None:
    it = breaker()
    fail(it, 20)
    it.succeeded(1.5, period=it.sent(A, 1.5), subject=A)
    it.failed(1.6, period=it.sent(A, 1.6), subject=A)
    assert sent_at_once(it, 1.6) == 1


def test_a_late_success_shows_that_the_api_is_there() -> None:
    it = breaker()
    late = it.sent(A, 0.0)
    fail(it, FAILURES_TO_OPEN)
    assert it.succeeded(0.5, period=late, subject=A) == Closed(0.5)


def test_one_refusal_of_the_key_stops_all_but_a_probe_which_confirms_it() -> None:
    it = breaker()
    first, late = it.sent(A, 0.0), it.sent(A, 0.0)
    assert it.refused(5.0, period=first, subject=A) is None
    assert it.reason is None
    assert sent_at_once(it, 5.0) == 1
    assert it.refused(5.1, period=late, subject=A) is None
    assert it.refused(5.2, period=1, subject=A) == Opened(Reason.KEY_REFUSED)
    assert it.delay(5.2) == 1.0
    assert it.refused(6.3, period=it.sent(A, 6.3), subject=A) is None
    closed = it.succeeded(9.2, period=it.sent(A, 9.2), subject=A)
    assert isinstance(closed, Closed)
    assert closed.seconds == pytest.approx(4.0)


def test_a_suspicion_that_is_not_confirmed_is_forgotten() -> None:
    for verdict in ("succeeded", "failed"):
        it = breaker()
        it.refused(5.0, period=it.sent(A, 5.0), subject=A)
        assert getattr(it, verdict)(5.1, period=it.sent(A, 5.1), subject=A) is None
        assert sent_at_once(it, 5.1) == 20


def test_a_changed_key_is_tried_at_once_and_answers_to_the_old_one_do_not_count() -> None:
    it = breaker()
    it.refused(0.0, period=it.sent(A, 0.0), subject=A)
    old = it.sent(A, 0.0)
    assert it.refused(0.0, period=old, subject=A) == Opened(Reason.KEY_REFUSED)
    old_probe = it.sent(A, 0.0)
    it.key_changed(0.5)
    assert sent_at_once(it, 0.5) == 1
    assert it.refused(0.6, period=old_probe, subject=A) is None
    assert it.delay(0.6) == math.inf
    assert it.succeeded(0.7, period=it._period, subject=A) == Closed(0.7)


def test_a_success_with_the_old_key_does_not_close_it() -> None:
    it = breaker()
    late = it.sent(A, 0.0)
    it.refused(0.0, period=it.sent(A, 0.0), subject=A)
    it.refused(0.1, period=it.sent(A, 0.1), subject=A)
    assert it.succeeded(0.2, period=late, subject=A) is None
    assert it.reason is Reason.KEY_REFUSED


def test_an_outage_that_turns_out_to_be_the_key_says_so() -> None:
    it = breaker()
    fail(it, FAILURES_TO_OPEN)
    assert it.refused(1.0, period=it.sent(A, 1.0), subject=A) == Opened(Reason.KEY_REFUSED)
    it.failed(2.0, period=it.sent(A, 2.0), subject=A)
    assert it.reason is Reason.KEY_REFUSED
    assert it.succeeded(5.0, period=it.sent(A, 5.0), subject=A) == Closed(5.0)


def test_a_lost_probe_is_made_again() -> None:
    it = breaker()
    fail(it, FAILURES_TO_OPEN)
    it.lost(period=it.sent(A, 0.0))
    assert it.delay(1.0) == 0


def test_with_half_of_the_answers_faulty_it_hardly_ever_stays_open() -> None:
    it, random, now, open_for = breaker(), Random(1), 0.0, 0.0
    for _ in range(10_000):
        delay = it.delay(now)
        open_for += delay
        now += delay + 0.05
        period = it.sent(A, 0.0)
        (it.failed if random.random() < 0.5 else it.succeeded)(now, period=period, subject=A)
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
            in_flight.append(it.sent(A, now))
        if what == "key":
            it.key_changed(now)
        elif in_flight and what == "lost":
            it.lost(period=in_flight.pop(number % len(in_flight)))
        elif in_flight and (change := getattr(it, what)(now, period=in_flight.pop(number % len(in_flight)), subject=A)):
            changes.append(change)
        assert it._in_flight >= 0
    for period in in_flight:
        it.lost(period=period)
    assert it.delay(now) <= LONGEST_PROBE_SECONDS * 1.25
    for before, after in pairwise(changes):
        assert before != after
        assert not (isinstance(before, Closed) and isinstance(after, Closed))


def about(number: int) -> Subject:
    return Subject(Endpoint.RETRIEVE, f"{number}")


def fails(breaker: Breaker, subject: Subject, now: float, times: int = 1) -> list[Change]:
    return [
        each for _ in range(times) if (each := breaker.failed(now, period=breaker.sent(subject, now), subject=subject))
    ]


def is_answered(breaker: Breaker, subject: Subject, now: float) -> Change | None:
    return breaker.succeeded(now, period=breaker.sent(subject, now), subject=subject)


def is_refused(breaker: Breaker, subject: Subject, now: float) -> Change | None:
    return breaker.refused(now, period=breaker.sent(subject, now), subject=subject)


def test_a_few_assets_that_always_fail_do_not_open_it_beside_one_that_works() -> None:
    it = breaker()
    for round_ in range(100):
        now = 30.0 * round_
        assert is_answered(it, A, now) is None
        for number in range(FAILURES_TO_OPEN - 1):
            assert fails(it, about(number), now + 1, times=4) == []
    assert not it.is_open


def test_as_many_assets_that_fail_in_a_row_open_it_even_beside_one_that_works() -> None:
    it = breaker()
    is_answered(it, A, 0.0)
    assert [fails(it, about(number), 1.0) for number in range(FAILURES_TO_OPEN)][-1] == [Opened(Reason.UNAVAILABLE)]


@pytest.mark.parametrize("count", [1, 2, 5, 11])
def test_in_an_outage_few_assets_open_it_once_all_that_worked_have_failed(count: int) -> None:
    it = breaker()
    for number in range(count):
        is_answered(it, about(number), 0.0)
    changes = [fails(it, about(number % count), 1.0) for number in range(FAILURES_TO_OPEN)]
    assert changes[-1] == [Opened(Reason.UNAVAILABLE)]
    assert changes[:-1] == [[]] * (FAILURES_TO_OPEN - 1)


def test_an_asset_that_worked_and_is_gone_puts_the_opening_off_for_a_while_only() -> None:
    it = breaker()
    is_answered(it, A, 0.0)
    assert fails(it, about(1), WORKS_SECONDS, times=30) == []
    assert fails(it, about(1), WORKS_SECONDS + 0.1) == [Opened(Reason.UNAVAILABLE)]


def test_only_a_new_failure_is_a_step_back_after_an_outage() -> None:
    it = breaker()
    fails(it, about(1), 0.0, times=20)
    is_answered(it, A, 1.5)
    for _ in range(10):
        is_answered(it, A, 2.0)
        fails(it, about(1), 2.0)
    assert sent_at_once(it, 2.0) > 8


def test_a_fresh_probe_goes_besides_those_in_turn_and_does_not_put_them_off() -> None:
    it, now = breaker(), 0.0
    fail(it, 20)
    for _ in range(6):
        now += it.delay(now)
        fails(it, A, now)
    assert it.delay(now) == LONGEST_PROBE_SECONDS
    first = it.next_probe([A, about(1)], now)
    assert (first.place, first.at <= now) == (1, True)
    fails(it, about(1), now)
    second = it.next_probe([A, about(1), about(2)], now)
    assert (second.place, second.at) == (2, now + FRESH_SECONDS)
    assert it.delay(now) == LONGEST_PROBE_SECONDS
    assert it.next_probe([A, about(1)], now).at == now + LONGEST_PROBE_SECONDS


def test_what_fails_alone_is_not_repeated_at_once() -> None:
    it = breaker()
    is_answered(it, A, 0.0)
    repeated = [it.may_repeat(about(1), 0.0) for _ in range(5) if fails(it, about(1), 0.0) == []]
    assert repeated == [True, True, True, False, False]
    assert it.may_repeat(A, 0.0)
    fails(it, A, 0.0)
    assert it.may_repeat(about(1), 0.0), "nothing else is known to work"


def test_an_asset_that_alone_is_refused_holds_nothing_up() -> None:
    it = breaker()
    assert is_refused(it, about(1), 0.0) is None
    assert it.is_open
    assert is_answered(it, A, 0.1) is None
    for second in range(1, 20):
        assert is_refused(it, about(1), float(second)) is None
        assert not it.is_open


def test_one_asset_does_not_confirm_its_own_suspicion_while_another_is_known_that_works() -> None:
    it = breaker()
    is_answered(it, A, 0.0)
    assert [is_refused(it, about(1), 1.0), is_refused(it, about(1), 2.0)] == [None, None]
    assert it.reason is None
    assert is_refused(it, A, 3.0) == Opened(Reason.KEY_REFUSED)


@given(
    good=st.integers(1, 4),
    bad=st.integers(1, FAILURES_TO_OPEN - 1),
    looks=st.lists(st.tuples(st.integers(0, 15), st.floats(0.0, 2.0)), max_size=200),
)
def test_whatever_the_order_few_bad_assets_open_nothing_while_good_ones_are_looked_at(
    good: int, bad: int, looks: list[tuple[int, float]]
) -> None:
    it, now, answered_at = breaker(), 0.0, 0.0
    is_answered(it, about(0), now)
    for number, seconds in looks:
        now += seconds
        place = number % (good + bad)
        if place < good or now - answered_at > 30.0:
            is_answered(it, about(place % good), now)
            answered_at = now
        else:
            fails(it, about(place), now)
        assert not it.is_open
