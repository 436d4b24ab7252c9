"""Plans against an exhaustive search over their own ages, against looks that follow them one by one, and by hand."""

from __future__ import annotations

from itertools import pairwise
from math import exp, inf, log

import pytest

from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, Rates, survival_at, survival_from
from asset_worker.schedule.plan import Plan, keller_interval, plan
from asset_worker.schedule.ramps import Ramp, follow

ALL_END = 30.0
"""A hazard that leaves so few waits that looks at them cost nothing."""


def first(*rates: float, rest: float = 0.0) -> Rates:
    """The hazard of the first bins."""
    return (*rates, *[rest] * (BINS - len(rates)))


def planned(
    rates: Rates,
    *,
    price: float = 0.05,
    floor: float = 0.1,
    ceiling: float = 2.0,
    until: float = EDGES[-1],
    growth: float = 0.5,
) -> Plan:
    usual = Ramp(2.0, 0.5, longest=30.0).scaled(1.0, shortest=floor, longest=ceiling)
    return plan(rates, price=price, floor=floor, ceiling=ceiling, until=until, usual=usual, growth=growth)


def lag_between(start: float, end: float, survival: list[float]) -> float:
    """The seconds from their ends to a look at `end` of the waits that end after `start`, in small pieces of time."""
    edges = [start, *(edge for edge in EDGES if start < edge < end), end]
    ages = [one + (other - one) * part / 50 for one, other in pairwise(edges) for part in range(50)]
    left = [survival_at(age, survival) for age in [*ages, end]]
    return sum(
        (before - after) * (end - (age + later) / 2)
        for (before, after), (age, later) in zip(pairwise(left), pairwise([*ages, end]), strict=True)
    )


def searched(found: Plan, rates: Rates, *, price: float, floor: float, ceiling: float) -> list[float]:
    """The next ages with the least cost, of all pairs of the plan's ages; that after the last one costs nothing."""
    ages, survival = found.ages, survival_from(rates)
    costs = [0.0] * len(ages)
    best = [0] * len(ages)
    for i in range(len(ages) - 2, -1, -1):
        options = {}
        for j in range(i + 1, len(ages)):
            # The last age is allowed for every look: the delay is the shortest there, too.
            if ages[j] - ages[i] <= ceiling and (ages[j] - ages[i] >= floor or j == len(ages) - 1):
                lag = lag_between(ages[i], ages[j], survival)
                options[j] = price * survival_at(ages[i], survival) + lag + costs[j]
        best[i] = min(options, key=lambda j: options[j])
        costs[i] = options[best[i]]
    return [ages[j] for j in best[:-1]]


@pytest.mark.parametrize(
    ("rates", "price", "floor", "until"),
    [
        pytest.param(first(0.5, 0.7, 0.2, ALL_END), 0.02, 0.01, EDGES[4], id="growing"),
        pytest.param(first(1.0, 0.0, 0.0, 0.0, 0.0, 2.0, ALL_END), 0.05, 0.01, EDGES[7], id="two-peaks"),
        pytest.param(first(2.0, 1.0, 0.5, 0.25, 0.1, ALL_END), 0.01, 0.095, EDGES[6], id="falling-and-floor"),
        pytest.param(first(0.0, 0.0, 0.0, 0.0, 3.0, ALL_END), 0.03, 0.02, EDGES[6], id="late"),
        pytest.param(first(1.0, 1.0, ALL_END), 0.001, 0.07, EDGES[3], id="floor"),
        pytest.param(first(ALL_END), 1e-3, 0.0005, EDGES[1], id="from-age-to-age"),
    ],
)
def test_the_next_looks_are_those_of_an_exhaustive_search(
    rates: Rates, price: float, floor: float, until: float
) -> None:
    """Without a longest delay that matters, the search has only ages of the plan to choose from."""
    found = planned(rates, price=price, floor=floor, ceiling=50.0, until=until)
    expected = searched(found, rates, price=price, floor=floor, ceiling=50.0)
    delays = [max(after - age, floor) for age, after in zip(found.ages, expected, strict=False)]
    assert [after - age for age, after in zip(found.ages, found.next_ages, strict=True)][:-1] == pytest.approx(delays)


@pytest.mark.parametrize(
    ("rates", "price", "floor", "ceiling", "until", "growth"),
    [
        pytest.param(first(0.5, 0.7, 0.2, 0.4), 0.02, 0.01, 50.0, EDGES[4], 0.5, id="and-goes-on"),
        pytest.param(first(0.2), 0.3, 0.05, 40.0, EDGES[1], 0.5, id="one-bin-and-goes-on"),
        pytest.param(first(*[0.02] * 30), 50.0, 0.01, 0.37, EDGES[30], 0.0, id="longest-delay"),
        pytest.param(first(*[0.02] * 30), 50.0, 0.01, 0.37, EDGES[30], 0.05, id="longest-delay-and-grows"),
        pytest.param(first(*[1e-4] * 20, *[0.3] * 20), 1.0, 0.1, 0.9, EDGES[40], 0.1, id="longest-delay-and-a-peak"),
        pytest.param(first(*[0.8] * 8), 1e-4, 0.06, 9.0, EDGES[8], 0.2, id="shortest-delay"),
    ],
)
def test_the_expected_looks_and_lag_are_those_of_following_the_plan(
    rates: Rates, price: float, floor: float, ceiling: float, until: float, growth: float
) -> None:
    """To its last age one by one; from there on as `follow` says, at the age that the plan's looks come to."""
    found = planned(rates, price=price, floor=floor, ceiling=ceiling, until=until, growth=growth)
    survival = survival_from(rates)
    ages = [0.0]
    while ages[-1] < found.tail_age - 1e-9:
        ages.append(ages[-1] + found.delay(ages[-1]))
    looks = sum(survival_at(age, survival) for age in ages[:-1])
    lag = sum(lag_between(start, end, survival) for start, end in pairwise(ages))
    tail_looks, tail_lag = follow(found.delay, longest=found.usual.longest, age=ages[-1], survival=survival)
    assert found.looks == pytest.approx(looks + tail_looks, rel=2e-3)
    assert found.lag == pytest.approx(lag + tail_lag, rel=0.01)


def test_while_hardly_any_end_each_delay_is_the_longest() -> None:
    """Also where it ends between two of the ages: those are an eighth of it apart at most."""
    found = planned(first(*[0.002] * 20), price=50.0, floor=0.01, ceiling=0.37, until=EDGES[20])
    delays = [found.delay(age) for age in found.ages if age < found.tail_age - 0.37]
    assert delays == pytest.approx([0.37] * len(delays))
    assert len(delays) > 40
    assert found.first_looks(4) == pytest.approx([0, 0.37, 0.74, 1.11])


def test_nothing_is_planned_where_nothing_was_seen() -> None:
    """The delays are the usual ones, and so are their looks and their lag."""
    rates = first(*[0.1] * 30)
    found = planned(rates, until=0.0)
    assert (found.ages, found.next_ages, found.tail_age) == ((0.0,), (2.0,), 0.0)
    assert (found.first_tail_delay, found.price) == (inf, 0.05)
    looks, lag = follow(found.usual.delay, longest=2.0, age=0.0, survival=survival_from(rates))
    assert (found.looks, found.lag) == pytest.approx((looks, lag))


def test_ages_are_an_eighth_of_kellers_interval_apart() -> None:
    """At a price of 0.02 s: √(2 · 0.02 / 4) = 0.1 s where one wait ends in 0.25 s on average, so a step of 0.0125 s.

    In the second bin nothing ends: steps are an eighth of the longest delay, 2 s, and the bin is not divided. Nor is it
    into more than 64 parts: in the third, √(2 · 0.02 / h) is less than the shortest delay, 0.005 s and then 0.004 s.
    """
    rates = first(1.0, 0.0, 3000 * WIDTHS[2], 1.0)
    found = planned(rates, price=0.02, floor=0.005, until=EDGES[3])
    assert list(found.ages) == pytest.approx(
        [
            *(0.25 * part / 20 for part in range(20)),
            EDGES[1],
            *(EDGES[2] + WIDTHS[2] * part / 55 for part in range(56)),
        ]
    )
    fine = planned(rates, price=0.02, floor=0.004, until=EDGES[3])
    assert list(fine.ages[22:]) == pytest.approx([EDGES[2] + WIDTHS[2] * part / 64 for part in range(1, 65)])


@pytest.mark.parametrize(
    ("left", "until", "last"),
    [
        pytest.param(0.9e-3, EDGES[9], EDGES[2], id="only-one-in-a-thousand-is-left"),
        pytest.param(1.1e-3, EDGES[9], EDGES[9], id="more-are-left"),
        pytest.param(1.0, EDGES[2], EDGES[2], id="to-an-edge"),
        pytest.param(1.0, EDGES[2] + 0.001, EDGES[3], id="past-an-edge"),
    ],
)
def test_planning_ends_where_too_few_are_left_or_were_seen(left: float, until: float, last: float) -> None:
    rates = first(0.0, -log(left))
    assert planned(rates, until=until).tail_age == pytest.approx(last)


@pytest.mark.parametrize(
    ("hazard", "growth", "delays"),
    [
        # √(2 · 0.05 / 0.4) = 0.5 s, and usually 2 s at most.
        pytest.param(0.4, 0.5, [0.5, 0.75, 1.0, 2.0, 2.0], id="kellers-interval"),
        pytest.param(0.4, 0.1, [0.5, 0.55, 0.6, 0.8, 1.5], id="grows-slowly"),
        pytest.param(1e3, 0.5, [0.1, 0.35, 0.6, 1.6, 2.0], id="the-shortest"),
        pytest.param(0.0, 0.5, [2.0, 2.0, 2.0, 2.0, 2.0], id="the-usual"),
    ],
)
def test_beyond_the_last_age_delays_grow_from_that_at_the_last_hazard(
    hazard: float, growth: float, delays: list[float]
) -> None:
    found = planned(first(0.0, hazard * WIDTHS[1]), until=EDGES[2], growth=growth)
    assert [found.delay(EDGES[2] + later) for later in (0, 0.5, 1, 3, 10)] == pytest.approx(delays)
    assert found.next_ages[-1] == pytest.approx(EDGES[2] + delays[0])


def test_delays_between_two_ages_lead_to_an_age_between_their_next_ones() -> None:
    """A quarter on the way from 1 to 3, the next look is a quarter on the way from 4 to 8."""
    usual = Ramp(2.0, 0.5, longest=30.0)
    found = Plan([0.0, 1.0, 3.0], [2.0, 4.0, 8.0], usual, 2.0, 0.5, looks=1.0, lag=1.0, price=1.0)
    assert [found.delay(age) for age in (0.0, 0.5, 1.0, 1.5, 3.0, 4.0, 5.0)] == [2.0, 2.5, 3.0, 3.5, 2.0, 2.5, 3.0]
    assert found.first_looks(4) == [0.0, 2.0, 6.0, 9.5]
    assert found.first_looks(1) == [0.0]


@pytest.mark.parametrize(("hazard", "interval"), [(0.5, 4.0), (2.0, 2.0), (8.0, 1.0), (0.0, inf)])
def test_kellers_interval_at_a_price_of_four_seconds(hazard: float, interval: float) -> None:
    assert keller_interval(hazard, 4.0) == interval


def test_a_wait_that_is_about_to_end_is_looked_at_when_it_has() -> None:
    """All end at a time within a fiftieth of a bin that begins at 1.12 s: the first look is there."""
    edge = EDGES[14]
    found = planned(first(*[0.0] * 14, 50.0), price=0.5, floor=0.1, ceiling=30.0, until=EDGES[15])
    assert edge < found.next_ages[0] < edge + 0.2 * WIDTHS[14]
    assert found.looks == pytest.approx(1 + exp(-50.0 * (found.next_ages[0] - edge) / WIDTHS[14]), abs=0.01)
