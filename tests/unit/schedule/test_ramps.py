"""Delays that grow with age, and what such delays cost: against sums over every look, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import exp, log

import pytest

from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, Rates, survival_at, survival_from
from asset_worker.schedule.ramps import Ramp, follow

END = EDGES[-1]


def even(hazard: float) -> Rates:
    return tuple(hazard * width for width in WIDTHS)


def only(bin_: int, rate: float) -> Rates:
    """A hazard in one bin."""
    return tuple(rate if index == bin_ else 0.0 for index in range(BINS))


def summed(delay: Callable[[float], float], rates: Rates, start: float = 0.0) -> tuple[float, float]:
    """The looks and the lag of looks one by one, to the last edge, with the lag summed over small pieces of time."""
    survival = survival_from(rates)
    looks = lag = 0.0
    age = start
    while age < END:
        step = delay(age)
        looks += survival_at(age, survival)
        left = [survival_at(age + step * part / 100, survival) for part in range(101)]
        lag += sum((before - after) * step * (99.5 - part) / 100 for part, (before, after) in enumerate(pairwise(left)))
        age += step
    return looks, lag


@pytest.mark.parametrize(
    ("age", "delay"),
    [
        pytest.param(0.0, 3.0, id="the-shortest"),
        pytest.param(2.0, 3.0, id="reaches-the-shortest"),
        pytest.param(4.0, 4.0, id="grows"),
        pytest.param(15.0, 9.5, id="grows-more"),
        pytest.param(16.0, 10.0, id="reaches-the-longest"),
        pytest.param(1e9, 10.0, id="the-longest"),
    ],
)
def test_delays_grow_evenly_between_the_shortest_and_the_longest(age: float, delay: float) -> None:
    assert Ramp(2.0, 0.5, longest=10.0, shortest=3.0).delay(age) == delay


def test_there_is_no_shortest_delay_unless_it_is_given() -> None:
    assert Ramp(0.01, 0.5, longest=10.0).delay(0.0) == 0.01


@pytest.mark.parametrize(
    ("factor", "shortest", "longest", "scaled"),
    [
        pytest.param(3.0, 1.0, 99.0, Ramp(6.0, 1.5, longest=30.0, shortest=1.0), id="between"),
        pytest.param(3.0, 1.0, 20.0, Ramp(6.0, 1.5, longest=20.0, shortest=1.0), id="too-long"),
        pytest.param(0.25, 4.0, 20.0, Ramp(0.5, 0.125, longest=4.0, shortest=4.0), id="too-short"),
    ],
)
def test_scaled_delays_are_multiples_within_new_bounds(
    factor: float, shortest: float, longest: float, scaled: Ramp
) -> None:
    assert Ramp(2.0, 0.5, longest=10.0).scaled(factor, shortest=shortest, longest=longest) == scaled


@pytest.mark.parametrize("age", [0.0, 77.0])
@pytest.mark.parametrize(
    ("ramp", "rates"),
    [
        pytest.param(Ramp(100.0, 0.0, longest=100.0), even(1 / 3000), id="even"),
        pytest.param(Ramp(10.0, 0.0, longest=10.0), even(1 / 20), id="even-and-few"),
        pytest.param(Ramp(2.0, 0.5, longest=30.0), even(1 / 100), id="growing"),
        pytest.param(Ramp(10.0, 0.02, longest=100.0), even(1 / 3000), id="growing-slowly"),
        pytest.param(Ramp(10.0, 0.02, longest=100.0), (0.3, *even(1 / 2000)[1:]), id="growing-and-many-end-at-once"),
    ],
)
def test_looks_and_lag_are_those_of_all_looks_one_by_one(ramp: Ramp, rates: Rates, age: float) -> None:
    looks, lag = follow(ramp.delay, longest=ramp.longest, age=age, survival=survival_from(rates))
    expected_looks, expected_lag = summed(ramp.delay, rates, age)
    assert looks == pytest.approx(expected_looks, rel=4e-3)
    assert lag == pytest.approx(expected_lag, rel=4e-3)


def test_a_wait_that_never_ends_is_looked_at_until_seven_hours_have_passed() -> None:
    """At 100 s, 250 looks fall into 25,000 s, or 251, depending on how they fall. None of them finds anything."""
    found = follow(lambda _: 100.0, longest=100.0, age=0.0, survival=survival_from((0.0,) * BINS))
    assert found == pytest.approx((250.5, 0.0))


def test_an_end_that_is_due_at_once_takes_one_look() -> None:
    """All end within the first quarter of a second, at a constant hazard: after 1/80 s on average."""
    looks, lag = follow(lambda _: 100.0, longest=100.0, age=0.0, survival=survival_from(only(0, 20.0)))
    assert looks == pytest.approx(1)
    assert lag == pytest.approx(100 - 0.25 / 20)


def test_many_even_looks_count_by_the_waits_that_are_on_in_each_bin() -> None:
    """40 looks, to 4,000 s, count one by one. That is in bin 85, in which half of the waits end.

    From there on there is half a look, the mean of the waits left at both ends of a bin per 100 s, and half a delay of
    lag for each end. Of the time to 4,000 s, waits live through all but the part in which some have ended.
    """
    start, end = EDGES[85], EDGES[86]
    assert start < 4000 < end
    part = (4000 - start) / (end - start)
    left = 0.5**part
    looks, lag = follow(lambda _: 100.0, longest=100.0, age=0.0, survival=survival_from(only(85, log(2))))
    assert looks == pytest.approx(40 + left / 2 + (left + 0.5) / 2 * (end - 4000) / 100 + 0.5 * (END - end) / 100)
    lived = start + (4000 - start) * (1 - left) / (log(2) * part)
    assert lag == pytest.approx(4000 - lived + (left - 0.5) * 50)


def test_from_a_later_age_only_later_looks_count() -> None:
    """Per wait that began: of those, half have ended before the first of these looks."""
    looks, lag = follow(lambda _: 100.0, longest=100.0, age=EDGES[2], survival=survival_from(only(0, log(2))))
    assert looks == pytest.approx(0.5 * (40 + 0.5 + (END - 4000 - EDGES[2]) / 100))
    assert lag == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("rate", [1e-12, 1e-7, 1e-3, 1.0, 30.0])
def test_the_lag_of_one_look_is_the_time_that_waits_were_over_before_it(rate: float) -> None:
    """The look is at 1 s. Ends in the first quarter of a second wait for it, and the others come soon after that."""
    looks, lag = follow(lambda _: 1.0, longest=1.0, age=0.0, survival=survival_from((rate, *[30.0] * (BINS - 1))))
    mean = 0.25 / rate * (1 - exp(-rate)) if rate > 1e-6 else 0.25
    after = exp(-rate) * WIDTHS[1] / 30
    assert looks == pytest.approx(1, abs=1e-4)
    assert lag == pytest.approx(1 - mean - after, rel=1e-6)


def test_ends_at_a_hazard_that_is_too_high_for_floats_count_as_in_the_middle_of_their_bin() -> None:
    assert follow(lambda _: 1.0, longest=1.0, age=0.0, survival=survival_from(only(0, 800.0))) == (1.0, 1 - 0.125)


def test_of_two_hundred_looks_and_more_the_others_count_as_the_longest_delays() -> None:
    """So slowly growing delays are not followed for ever: 2,000 s of looks each 10 s, and then one each 100 s."""
    found = follow(lambda _: 10.0, longest=100.0, age=0.0, survival=survival_from((0.0,) * BINS))
    assert found == pytest.approx((200.5 + (END - 2000) / 100, 0.0))


@pytest.mark.parametrize(("left", "counted"), [(1.5e-5, 249.5), (0.9e-5, 0.5)])
def test_the_looks_at_less_than_one_wait_in_a_hundred_thousand_do_not_count(left: float, counted: float) -> None:
    looks, _ = follow(lambda _: 100.0, longest=100.0, age=0.0, survival=survival_from(only(0, -log(left))))
    assert looks - 1 == pytest.approx(left * counted, rel=1e-6)


def test_the_looks_do_not_count_either_from_when_so_few_are_left() -> None:
    """Past 4,000 s, where looks are no longer followed one by one, all but one in 200,000 end in bin 90."""
    looks, _ = follow(lambda _: 100.0, longest=100.0, age=0.0, survival=survival_from(only(90, log(2e5))))
    assert looks == pytest.approx(40.5 + (EDGES[90] - 4000) / 100 + (1 + 5e-6) / 2 * WIDTHS[90] / 100, rel=1e-9)


def test_past_all_bins_nothing_is_counted() -> None:
    """But the looks that begin there, one by one: delays of an hour leave few of them."""
    looks, lag = follow(lambda _: 3600.0, longest=3600.0, age=30_000.0, survival=survival_from((0.0,) * BINS))
    assert looks == pytest.approx(40.5)
    assert lag == pytest.approx(0.0, abs=1e-6)
