from __future__ import annotations

from itertools import pairwise
from math import exp, log, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, Rates, survival_from
from asset_worker.schedule.plan import Plan, keller_interval, plan
from asset_worker.schedule.ramps import Ramp, follow
from tests.doubles.optimal_schedule import (
    Durations,
    best_ages,
    exponential,
    log_normal,
    measure_ages,
    mixture,
    uniform,
    weibull,
)

KNOWN = [
    log_normal(10, 0.15),
    log_normal(60, 1.0),
    mixture((0.6, log_normal(4, 0.3)), (0.4, log_normal(300, 0.4))),
    uniform(20, 40),
    weibull(30, 2),
    weibull(30, 0.7),
    exponential(45),
]


def planned(rates: Rates, *, price: float, floor: float, ceiling: float, until: float = EDGES[-1]) -> Plan:
    usual = Ramp(2.0, 0.5, longest=30.0).scaled(1.0, shortest=floor, longest=ceiling)
    return plan(rates, price=price, floor=floor, ceiling=ceiling, until=until, usual=usual, growth=0.5)


def rates_of(durations: Durations) -> Rates:
    left = [max(1 - durations.cdf(edge), 1e-12) for edge in EDGES]
    return tuple(log(start / end) for start, end in pairwise(left))


@pytest.mark.parametrize("durations", KNOWN, ids=lambda known: known.name)
@pytest.mark.parametrize("price", [0.3, 3.0])
def test_a_plan_for_a_known_distribution_costs_what_the_exact_optimum_does(durations: Durations, price: float) -> None:
    ages = planned(rates_of(durations), price=price, floor=0.5, ceiling=60).first_looks(400)
    best = best_ages(durations, price, floor=0.5, ceiling=60)
    assert measure_ages(ages, durations).cost(price) <= 1.05 * measure_ages(best, durations).cost(price)


@pytest.mark.parametrize("durations", KNOWN, ids=lambda known: known.name)
def test_a_plan_predicts_its_looks_and_its_lag(durations: Durations) -> None:
    found = planned(rates_of(durations), price=1, floor=0.5, ceiling=60)
    measured = measure_ages(found.first_looks(400), durations)
    assert 1 + found.looks == pytest.approx(measured.mean_looks, rel=0.05)
    assert found.lag == pytest.approx(measured.mean_lag, rel=0.1)


def test_with_a_constant_hazard_looks_are_even_and_close_to_kellers_interval() -> None:
    """The exact condition is e^x - 1 - x = hazard * price, where x is hazard * interval; Keller stops at x²/2."""
    hazard, price = 1 / 100, 1.0
    found = planned(tuple(hazard * width for width in WIDTHS), price=price, floor=0.1, ceiling=1000)
    interval = keller_interval(hazard, price)
    assert interval == pytest.approx(sqrt(2 * price / hazard))
    assert found.delay(50) == pytest.approx(interval, rel=0.15)
    x = hazard * found.delay(50)
    assert exp(x) - 1 - x == pytest.approx(hazard * price, rel=0.3)


def test_no_look_is_planned_while_nothing_can_have_ended() -> None:
    second = planned(rates_of(uniform(100, 110)), price=1, floor=0.5, ceiling=1000).first_looks(2)[1]
    assert 95 < second < 110


def test_at_a_higher_price_fewer_looks_are_planned() -> None:
    rates = rates_of(log_normal(60, 0.5))
    looks = [planned(rates, price=price, floor=0.5, ceiling=300).looks for price in (0.1, 1, 10, 100)]
    assert looks == sorted(looks, reverse=True)


RATES = st.lists(st.floats(0, 5), min_size=BINS, max_size=BINS).map(tuple)


@settings(max_examples=60, deadline=None)
@given(RATES, st.floats(0.01, 100), st.floats(0.1, 2), st.floats(5, 600), st.floats(0, 30_000))
def test_delays_stay_between_floor_and_ceiling_whatever_the_hazard(
    rates: Rates, price: float, floor: float, ceiling: float, age: float
) -> None:
    found = planned(rates, price=price, floor=floor, ceiling=ceiling)
    assert floor * 0.999 <= found.delay(age) <= ceiling * 1.001
    assert found.lag >= -1e-6


def test_looks_at_even_spacing_are_counted_as_a_geometric_series() -> None:
    survival = survival_from(tuple(width / 100 for width in WIDTHS))
    looks, lag = follow(lambda _: 10.0, longest=10.0, age=0.0, survival=survival)
    assert looks == pytest.approx(1 / (1 - exp(-0.1)), rel=0.01)
    assert lag == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("durations", KNOWN, ids=lambda known: known.name)
def test_growing_delays_cost_what_they_measure(durations: Durations) -> None:
    ramp = Ramp(2.0, 0.5, longest=30.0)
    ages = [0.0]
    while len(ages) < 400:
        ages.append(ages[-1] + ramp.delay(ages[-1]))
    measured = measure_ages(ages, durations)
    looks, lag = follow(ramp.delay, longest=30.0, age=0.0, survival=survival_from(rates_of(durations)))
    assert 1 + looks == pytest.approx(measured.mean_looks, rel=0.05)
    assert lag == pytest.approx(measured.mean_lag, rel=0.1)


def test_exponential_delays_are_a_ramp() -> None:
    ramp = Ramp(2.0, 0.5, longest=30.0)
    assert [ramp.delay(age) for age in (0, 2, 5, 9.5, 16.25, 26.375, 1e9)] == [2, 3, 4.5, 6.75, 10.125, 15.1875, 30]


@settings(max_examples=60, deadline=None)
@given(RATES, st.floats(0.01, 100), st.floats(0, 3000), st.floats(0, 5000), st.floats(0, 5000))
def test_beyond_the_ages_seen_delays_grow_to_the_usual_ones(
    rates: Rates, price: float, until: float, one: float, other: float
) -> None:
    found = planned(rates, price=price, floor=0.5, ceiling=30, until=until)
    sooner, later = sorted((found.tail_age + one, found.tail_age + other))
    assert found.delay(sooner) <= found.delay(later) <= found.usual.delay(later)
    assert found.delay(found.tail_age + 60) == found.usual.delay(found.tail_age + 60), "from 0.5 s to 30 s in 59 s"


def test_without_a_known_hazard_the_delays_are_the_usual_ones() -> None:
    found = planned(rates_of(log_normal(3, 0.2)), price=0.01, floor=0.5, ceiling=30, until=0.0)
    assert found.first_looks(6) == pytest.approx([0, 2, 5, 9.5, 16.25, 26.375])
