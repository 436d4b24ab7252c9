from __future__ import annotations

from math import exp, inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.schedule.life_table import (
    BINS,
    EDGES,
    HALF_LIFE,
    PRIOR_WEIGHT,
    WIDTHS,
    LifeTable,
    estimate,
    pool,
    rates_of_last,
    seen_until,
    survival_at,
    survival_from,
)
from tests.doubles.optimal_schedule import exponential, log_normal

PRIOR = tuple(width / 60 for width in WIDTHS)
AGES = st.floats(0, 40_000)


def median(table: LifeTable) -> float:
    survival = survival_from(estimate([table], PRIOR))
    return next(edge for edge, left in zip(EDGES, survival, strict=True) if left <= 0.5)


@given(AGES, AGES)
def test_an_end_counts_once_and_its_wait_as_lasting_until_about_then(one: float, other: float) -> None:
    since, until = min(one, other), max(one, other)
    table = LifeTable()
    table.ended(since, until, PRIOR)
    assert sum(table.ends) == pytest.approx(1 / 2 ** (1 / HALF_LIFE))
    assert all(part >= 0 for part in table.exposure)
    assert all(part <= 1 + 1e-9 for part in table.exposure)


@given(st.integers(0, BINS - 1), st.integers(0, BINS - 1))
def test_an_end_between_two_looks_is_spread_over_all_bins_in_between(one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    table = LifeTable()
    table.ended(EDGES[first], EDGES[last + 1], PRIOR)
    has_ends = [bin_ for bin_, ends in enumerate(table.ends) if ends > 0]
    has_exposure = [bin_ for bin_, exposure in enumerate(table.exposure) if exposure > 0]
    assert has_ends == has_exposure == list(range(first, last + 1))


@given(AGES, AGES)
def test_survival_counts_as_exposure_in_just_the_bins_in_between(one: float, other: float) -> None:
    since, until = min(one, other), max(one, other)
    table = LifeTable()
    table.survived(since, until)
    lived = sum(part * width for part, width in zip(table.exposure, WIDTHS, strict=True))
    assert lived == pytest.approx(min(until, EDGES[-1]) - min(since, EDGES[-1]), abs=1e-6)
    assert sum(table.ends) == 0


def test_decay_bounds_the_evidence_and_lets_the_estimate_follow_a_drift() -> None:
    table = LifeTable()
    for _ in range(20 * HALF_LIFE):
        table.survived(0, 9)
        table.ended(9, 11, PRIOR)
    assert table.evidence == pytest.approx(HALF_LIFE / 0.693, rel=0.01)
    assert 9 <= median(table) <= 11.5
    for _ in range(2 * HALF_LIFE):
        table.survived(0, 90)
        table.ended(90, 110, PRIOR)
    assert 85 <= median(table) <= 120


def test_rescaling_keeps_the_decay() -> None:
    table = LifeTable()
    for _ in range(50 * HALF_LIFE):
        table.ended(9, 11, PRIOR)
    assert table.evidence < HALF_LIFE / 0.69


def test_coarse_looks_still_show_where_the_ends_are() -> None:
    """Each look shows only that the end was in the last twenty seconds, but never in the same twenty."""
    random, table = Random(1), LifeTable()
    durations = log_normal(60, 0.1)
    for _ in range(HALF_LIFE):
        duration = durations.sample(random)
        age = random.uniform(0, 20)
        while age + 20 < duration:
            age += 20
        table.survived(0, age)
        table.ended(age, age + 20, estimate([table], PRIOR))
    survival = survival_from(estimate([table], PRIOR))
    assert survival_at(48, survival) > 0.85
    assert survival_at(75, survival) < 0.15


def test_waits_that_go_on_count_before_any_has_ended() -> None:
    """The first to end are not typical: without the exposure of the others, the whole burst would look fast."""
    durations, table = exponential(100), LifeTable()
    for duration in durations.quantiles[::5]:
        if duration < 20:
            table.ended(max(duration - 1, 0), duration + 1, PRIOR)
        else:
            table.survived(0, 20)
    survival = survival_from(estimate([table], PRIOR))
    assert survival_at(20, survival) == pytest.approx(exp(-0.2), abs=0.05)


@pytest.mark.parametrize(("still_on", "until"), [(3, 10), (7, 100)])
def test_an_age_was_seen_if_one_in_200_of_the_waits_lasted_to_it(still_on: int, until: float) -> None:
    table = LifeTable()
    for number in range(1000):
        table.survived(0, 100 if number < still_on else 10)
    assert seen_until([table]) == pytest.approx(until, rel=0.13), "a bin is 12 % wide"
    assert seen_until([LifeTable()]) == 0


def test_more_general_waits_count_for_a_few_where_a_class_was_not_seen() -> None:
    general, own = LifeTable(), LifeTable()
    for _ in range(100):
        general.survived(0, 100)
        own.survived(0, 10)
    assert seen_until([general, own]) == pytest.approx(100, rel=0.13), "2 of 102 lasted so long"
    for _ in range(400):
        own.survived(0, 10)
    assert seen_until([general, own]) == pytest.approx(10, rel=0.13), "2 of 502"


def test_without_evidence_the_more_general_estimate_holds() -> None:
    assert estimate([LifeTable(), LifeTable()], PRIOR) == pytest.approx(PRIOR)


def test_the_estimate_follows_the_class_at_ages_where_it_was_seen_and_its_kind_elsewhere() -> None:
    kind, own = LifeTable(), LifeTable()
    for _ in range(300):
        kind.survived(0, 100)
        kind.ended(100, 110, PRIOR)
        own.survived(0, 20)
    survival = survival_from(estimate([kind, own], PRIOR))
    assert survival_at(20, survival) > 1 - 2 * PRIOR_WEIGHT / 300
    assert survival_at(120, survival) < 0.1


def test_pooling_adds_the_evidence() -> None:
    tables = [LifeTable(), LifeTable()]
    for table in tables:
        table.ended(3, 5, PRIOR)
    assert pool(tables).evidence == pytest.approx(2 * tables[0].evidence)


def test_the_last_of_two_ends_after_either() -> None:
    rates = rates_of_last([PRIOR, PRIOR])
    survival = survival_from(rates)
    assert survival_at(60, survival) == pytest.approx(1 - (1 - exp(-1)) ** 2, abs=0.01)
    assert all(0 <= rate < inf for rate in rates)


@settings(max_examples=50)
@given(st.lists(st.tuples(AGES, AGES), max_size=50))
def test_hazards_are_finite_and_never_negative_whatever_was_seen(seen: list[tuple[float, float]]) -> None:
    table = LifeTable()
    for one, other in seen:
        table.survived(0, min(one, other))
        table.ended(min(one, other), max(one, other), estimate([table], PRIOR))
    rates = estimate([table], PRIOR)
    assert len(rates) == BINS
    assert all(0 <= rate < inf for rate in rates)
