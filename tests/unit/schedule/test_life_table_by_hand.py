"""Life tables of a few waits, worked out by hand. The last bins, and bins of which nothing is known, are the hard ones.

The edges of the bins follow from `_SHORTEST`, `_BINS_PER_DECADE` and `_DECADES`. Most cases have waits in the first
bins, or in the last ones: the rest is 0.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, log

import pytest

from asset_worker.schedule.life_table import (
    BINS,
    EDGES,
    PRIOR_WEIGHT,
    WIDTHS,
    LifeTable,
    estimate,
    pool,
    quantile,
    rates_of_last,
    seen_until,
    survival_at,
    survival_bounds,
    survival_from,
)

NO_HAZARD = (0.0,) * BINS
HALF_EACH = (log(2),) * BINS
"""Half of the waits that last to a bin end in it."""
ONE = 2 ** (-1 / 400)
"""What an end counts at once: it decays with itself."""
NEVER_LAST = (800.0, *[0.0] * (BINS - 1))
"""So high a hazard that the share of waits that last through the first bin is less than a float can hold."""


def by_bin(first: list[float], last: list[float] | None = None) -> list[float]:
    """Return these for the first and the last bins, and 0 for those between them."""
    last = last or []
    return [*first, *[0.0] * (BINS - len(first) - len(last)), *last]


def near(values: list[float]) -> object:
    return pytest.approx(values, rel=1e-12, abs=1e-12)


def test_bins_are_a_twentieth_of_a_decade_from_a_quarter_of_a_second_to_seven_hours() -> None:
    assert (len(EDGES), len(WIDTHS), BINS) == (102, 101, 101)
    assert EDGES[0] == 0
    assert [EDGES[1 + 20 * decade] for decade in range(6)] == pytest.approx([0.25, 2.5, 25, 250, 2500, 25_000])
    assert [end / start for start, end in pairwise(EDGES[1:])] == pytest.approx([10**0.05] * 100)
    assert list(WIDTHS) == pytest.approx([EDGES[i + 1] - EDGES[i] for i in range(BINS)])


@pytest.mark.parametrize(
    ("since", "until", "exposure", "updates"),
    [
        pytest.param(0.0, 0.125, by_bin([0.5]), 0.025, id="half-a-bin"),
        pytest.param(0.0, 0.25, by_bin([1.0]), 0.05, id="one-bin"),
        pytest.param(0.125, EDGES[3], by_bin([0.5, 1.0, 1.0]), 0.05, id="several"),
        pytest.param(EDGES[3], EDGES[3] + WIDTHS[3] / 4, by_bin([0, 0, 0, 0.25]), 0.0125, id="one-from-its-start"),
        pytest.param(EDGES[-2], EDGES[-1], by_bin([], [1.0]), 0.05, id="the-last-bin"),
        pytest.param(EDGES[-3], 1e9, by_bin([], [1.0, 1.0]), 0.05, id="past-all-bins"),
        pytest.param(30_000.0, 40_000.0, by_bin([]), 0.0, id="only-past-all-bins"),
    ],
)
def test_a_wait_that_goes_on_counts_in_each_bin_by_the_share_that_it_lasted(
    since: float, until: float, exposure: list[float], updates: float
) -> None:
    """The estimate is out of date the sooner, the more bins a wait has lasted through, up to one."""
    table = LifeTable()
    table.survived(since, until)
    assert table.exposure == near(exposure)
    assert table.ends == by_bin([])
    assert table.updates == pytest.approx(updates)
    table.survived(since, until)
    assert table.exposure == near([2 * each for each in exposure])
    assert table.updates == pytest.approx(2 * updates)


@pytest.mark.parametrize(
    ("since", "until", "rates", "ends", "exposure"),
    [
        # Half end in the first bin, and a quarter in the second: two thirds and one third of those that have ended.
        # The wait lasts through the first bin in a third of the cases, and through half of it in the others.
        pytest.param(0.0, EDGES[2], HALF_EACH, by_bin([2 / 3, 1 / 3]), by_bin([2 / 3, 1 / 6]), id="two-bins"),
        pytest.param(0.0, 0.125, HALF_EACH, by_bin([1.0]), by_bin([0.25]), id="half-a-bin"),
        # Where no end is expected, bins count alike: only the one in which the wait was seen to begin, and the next.
        pytest.param(EDGES[3], EDGES[5], NO_HAZARD, by_bin([0, 0, 0, 0.5, 0.5]), by_bin([0, 0, 0, 0.75, 0.25]), id="0"),
        pytest.param(EDGES[-2], 1e9, HALF_EACH, by_bin([], [1.0]), by_bin([], [0.5]), id="the-last-bin"),
        pytest.param(30_000.0, 40_000.0, HALF_EACH, by_bin([], [1.0]), by_bin([]), id="past-all-bins"),
        pytest.param(0.0, 0.0, HALF_EACH, by_bin([1.0]), by_bin([]), id="no-time"),
    ],
)
def test_an_end_is_spread_over_the_bins_between_two_looks_as_the_estimate_says(
    since: float, until: float, rates: tuple[float, ...], ends: list[float], exposure: list[float]
) -> None:
    table = LifeTable()
    table.ended(since, until, rates)
    assert table.ends == near([each * ONE for each in ends])
    assert table.exposure == near([each * ONE for each in exposure])
    assert table.evidence == pytest.approx(ONE)
    assert table.updates == 1
    table.ended(since, until, rates)
    assert table.evidence == pytest.approx(ONE + ONE**2)
    assert table.updates == 2


def test_a_pool_has_the_counts_of_its_tables() -> None:
    one = LifeTable(by_bin([1, 2]), by_bin([3, 4], [5]))
    other = LifeTable(by_bin([10], [20]), by_bin([30], [50]))
    both = pool([one, other])
    assert (both.ends, both.exposure) == (by_bin([11, 2], [20]), by_bin([33, 4], [55]))


def test_an_estimate_is_the_ends_over_the_waits_each_bin_averaged_with_its_neighbours() -> None:
    """The bin itself counts twice, and one at the border is its own neighbour. Two waits without an end are added.

    Ends, of first bins with 4, 0, 8, 0: (4+8+0)/4, (4+0+8)/4, (0+16+0)/4, (8+0+0)/4. Waits, of 12, 4, 0, 0:
    (12+24+4)/4, (12+8+0)/4, (4+0+0)/4, 0. In the last bins, ends of 0, 0, 4: 0, 4/4, (0+8+4)/4; waits of 0, 4, 8:
    4/4, (0+8+8)/4, (4+16+8)/4.
    """
    table = LifeTable(by_bin([4, 0, 8], [4]), by_bin([12, 4], [4, 8]))
    rates = estimate([table], NO_HAZARD)
    assert list(rates) == near(by_bin([3 / 12, 3 / 7, 4 / 3, 2 / 2], [0 / 3, 1 / 6, 3 / 9]))


def test_what_is_assumed_counts_for_two_of_the_waits_that_it_leaves_in_a_bin() -> None:
    """In the middle of a bin: of all waits, 3/4 are still on in the first one, 3/8 in the second, and so on."""
    table = LifeTable(exposure=[4.0] * BINS)
    waits = [2 * 0.75 * 0.5**bin_ for bin_ in range(BINS)]
    assert list(estimate([table], HALF_EACH)) == near([log(2) * each / (4 + each) for each in waits])


def test_each_table_refines_the_estimate_of_the_one_before() -> None:
    general, own = LifeTable(by_bin([4, 4]), [8.0] * BINS), LifeTable(by_bin([0, 0, 5]), [3.0] * BINS)
    refined = estimate([general, own], HALF_EACH)
    assert refined == estimate([own], estimate([general], HALF_EACH))
    assert refined != estimate([own, general], HALF_EACH)


def test_at_ages_that_none_should_reach_only_what_was_seen_counts() -> None:
    """And where none was seen either, the hazard is the assumed one."""
    assert survival_from(NEVER_LAST)[1] == 0
    table = LifeTable(by_bin([0, 0, 0.25]), by_bin([0, 0, 0.5]))
    assert list(estimate([table], NEVER_LAST)) == near([800.0, 0.5, 0.5, 0.5, *[0.0] * (BINS - 4)])
    assert estimate([LifeTable()], NEVER_LAST) == NEVER_LAST


def test_ends_past_all_bins_raise_the_hazard_of_the_last_one() -> None:
    """An end that is found when the last bin is over tells nothing about how long that wait was on in it.

    Of the waits, 3/5 are on before that bin, and 2/5 after it, so what is assumed counts for 2 · ½ of them.
    """
    table = LifeTable(by_bin([], [4.0]))
    prior = (log(5 / 3), *[0.0] * (BINS - 2), log(3 / 2))
    assert estimate([table], prior)[-1] == pytest.approx(3 + log(3 / 2))
    assert estimate([table], prior)[:-2] == pytest.approx(prior[:-2])


@pytest.mark.parametrize(
    ("exposure", "until"),
    [
        pytest.param([by_bin([200, 1, 0.999])], EDGES[2], id="one-in-200-is-enough"),
        pytest.param([by_bin([0.4])], EDGES[1], id="part-of-one-wait"),
        pytest.param([by_bin([1, 0, 1])], EDGES[3], id="the-last-of-them"),
        pytest.param([by_bin([], [1])], EDGES[-1], id="to-the-last-bin"),
        pytest.param([by_bin([])], 0.0, id="none"),
        pytest.param([], 0.0, id="no-table"),
        # 2 of the general waits are added: 2 · 1/200 and 1.99 of 400 are one in 200 of 400; without one of them, less.
        pytest.param([by_bin([200, 1]), by_bin([398, 1.99])], EDGES[2], id="two-general-ones-count"),
        pytest.param([by_bin([200, 1]), by_bin([398, 1.98])], EDGES[1], id="and-no-more"),
        pytest.param([by_bin([7, 7]), by_bin([])], EDGES[2], id="only-general-ones"),
    ],
)
def test_an_age_was_seen_if_one_wait_in_200_was_on(exposure: list[list[float]], until: float) -> None:
    assert seen_until([LifeTable(exposure=each) for each in exposure]) == until


SURVIVAL = [1.0, 0.8, 0.4, 0.4, 0.2, *[0.1] * (BINS - 4)]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.1, 0.125, id="half-of-the-first-bin"),
        pytest.param(0.2, EDGES[1], id="at-an-edge"),
        pytest.param(0.3, EDGES[1] + WIDTHS[1] / 4, id="a-quarter-of-a-bin"),
        pytest.param(0.6, EDGES[2], id="not-a-bin-later-in-which-none-ends"),
        pytest.param(0.75, EDGES[3] + 0.75 * WIDTHS[3], id="past-that-bin"),
        pytest.param(0.95, EDGES[-1], id="so-many-never-end"),
    ],
)
def test_a_quantile_lies_where_that_share_has_ended(share: float, expected: float) -> None:
    assert quantile(share, SURVIVAL) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("age", "left"),
    [
        pytest.param(0.0, 1.0, id="at-the-start"),
        pytest.param(0.125, 0.8**0.5, id="half-of-the-first-bin"),
        pytest.param(EDGES[2], 0.4, id="at-an-edge"),
        pytest.param(EDGES[1] + WIDTHS[1] / 4, 0.8 * 0.5**0.25, id="a-quarter-of-a-bin"),
        pytest.param(EDGES[-1], 0.1, id="at-the-last-edge"),
    ],
)
def test_within_a_bin_waits_end_at_a_constant_hazard(age: float, left: float) -> None:
    assert survival_at(age, SURVIVAL) == pytest.approx(left)


def test_past_all_bins_waits_end_as_in_the_last_one_and_of_none_none_is_left() -> None:
    survival = survival_from((*[0.0] * (BINS - 1), log(2)))
    assert survival_at(EDGES[-1] + WIDTHS[-1], survival) == pytest.approx(0.25)
    assert survival_at(1.0, survival_from(NEVER_LAST)) == 0


def test_bounds_are_the_more_apart_the_fewer_waits_an_estimate_rests_on() -> None:
    """Greenwood's formula: the log of the share has a variance of 0.5/50 after one bin, and 0.5/50 + 0.3/10 after two.

    Their roots are 0.1 and 0.2. Where no wait was on, nothing is added.
    """
    rates = (0.5, 0.3, 0.1, *[0.0] * (BINS - 3))
    lower, upper = survival_bounds(rates, [50.0, 10.0, *[0.0] * (BINS - 2)])
    assert lower == near([1, exp(-0.5 - 0.196), exp(-0.8 - 0.392), *[exp(-0.9 - 0.392)] * (BINS - 2)])
    assert upper == near([1, exp(-0.5 + 0.196), exp(-0.8 + 0.392), *[exp(-0.9 + 0.392)] * (BINS - 2)])


@pytest.mark.parametrize("waits", [1e-6, 1e-20, 1e-300])
def test_where_almost_no_wait_was_on_the_upper_bound_is_that_all_last(waits: float) -> None:
    """Also where an estimate leaves next to none: a bound never says more than was seen."""
    lower, upper = survival_bounds((60.0,) * BINS, [waits] * BINS)
    assert upper == [1.0] * (BINS + 1)
    assert lower == near([1.0, *[0.0] * BINS])


def test_an_upper_bound_does_not_rise_with_age() -> None:
    """What is seen of few waits at a later age does not say that more last to it than to an earlier one."""
    _, upper = survival_bounds((0.5, 0.1, *[0.0] * (BINS - 2)), [50.0, 0.1, *[1.0] * (BINS - 2)])
    assert upper == near([1.0, *[exp(-0.5 + 0.196)] * BINS])


def test_the_last_of_two_has_ended_when_both_have() -> None:
    """Half of each end in the first bin, so both in a quarter of the cases; by the end of the second, 9/16."""
    left = survival_from(rates_of_last([HALF_EACH, HALF_EACH]))
    assert left[:3] == near([1, 3 / 4, 7 / 16])
    assert rates_of_last([HALF_EACH]) == HALF_EACH
    assert PRIOR_WEIGHT == 2, "as in the figures above"


def test_where_none_is_left_of_either_the_last_of_two_ends_at_the_hazard_of_the_slower() -> None:
    one = (800.0, 3.0, *[1.0] * (BINS - 2))
    other = (900.0, 2.0, *[4.0] * (BINS - 2))
    assert rates_of_last([one, other])[1:] == (2.0, *[1.0] * (BINS - 2))
