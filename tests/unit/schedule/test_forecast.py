"""How long waits still last: quantiles of what was seen, given the age."""

from __future__ import annotations

from math import log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.schedule.forecast import Forecast, Outlook, Point, Step
from asset_worker.schedule.life_table import EDGES, WIDTHS, LifeTable, estimate, survival_from
from tests.doubles.optimal_schedule import Durations, exponential, log_normal

PRIOR = tuple(width / 60 for width in WIDTHS)
AGES = st.floats(0, 40_000)


def outlook(durations: Durations, *, count: int = 400, following: tuple[Point, ...] = (Point(0, 1),)) -> Outlook:
    """What so many waits show that were looked at every second."""
    random, table = Random(1), LifeTable()
    for _ in range(count):
        duration = durations.sample(random)
        table.survived(0, duration)
        table.ended(duration, duration, PRIOR)
    survival = survival_from(estimate([table], PRIOR))
    return Outlook(Step(survival, table.ends, table.exposure), following, least_ends=10)


@pytest.mark.parametrize("age", [0.0, 5.0, 11.0, 30.0])
def test_a_wait_that_does_not_age_has_as_long_to_go_at_every_age(age: float) -> None:
    found = outlook(exponential(20)).after(age)
    assert found is not None
    half, most = found
    assert half - age == pytest.approx(20 * log(2), rel=0.25)
    assert most - age == pytest.approx(20 * log(10), rel=0.25)


def test_the_quantiles_are_those_of_the_waits_that_lasted_to_the_age() -> None:
    durations = log_normal(100, 0.4)
    for age in (0.0, 60.0, 100.0, 140.0):
        found = outlook(durations).after(age)
        assert found is not None
        before = durations.cdf(age)
        expected = [durations.quantile(before + share * (1 - before)) for share in (0.5, 0.9)]
        assert list(found) == pytest.approx(expected, rel=0.1)


def test_what_follows_comes_on_top() -> None:
    sure = outlook(log_normal(100, 0.4), following=(Point(50, 1),)).after(0.0)
    perhaps = outlook(log_normal(100, 0.4), following=(Point(0, 0.8), Point(1000, 0.2))).after(0.0)
    alone = outlook(log_normal(100, 0.4)).after(0.0)
    assert alone is not None
    assert sure == pytest.approx([end + 50 for end in alone], abs=0.01)
    assert perhaps is not None
    assert perhaps[0] == pytest.approx(alone[0], rel=0.2)
    assert perhaps[1] == pytest.approx(1100, rel=0.1), "one in five takes so long"


@pytest.mark.parametrize(
    ("count", "age"),
    [
        pytest.param(0, 0.0, id="nothing-seen"),
        pytest.param(9, 0.0, id="too-few-seen"),
        pytest.param(400, 300.0, id="all-seen-were-faster"),
        pytest.param(400, 1e9, id="past-all-bins"),
    ],
)
def test_nothing_is_said_where_too_little_was_seen(count: int, age: float) -> None:
    assert outlook(log_normal(100, 0.4), count=count).after(age) is None


def test_nothing_is_said_about_ends_that_the_class_itself_has_not_shown() -> None:
    """The first of a burst have ended. How long the others take is the prior's guess."""
    table = LifeTable()
    for _ in range(30):
        table.survived(0, 10)
        table.ended(10, 11, PRIOR)
    for _ in range(170):
        table.survived(0, 12)
    survival = survival_from(estimate([table], PRIOR))
    assert Outlook(Step(survival, table.ends, table.exposure), (Point(0, 1),), least_ends=10).after(0.0) is None


@settings(max_examples=30)
@given(st.lists(st.tuples(AGES, AGES), min_size=10, max_size=30), AGES, AGES, st.floats(0, 1e4))
def test_ends_never_come_before_the_age_and_never_earlier_for_an_older_wait(
    seen: list[tuple[float, float]], one: float, other: float, following: float
) -> None:
    table = LifeTable()
    for a, b in seen:
        table.survived(0, min(a, b))
        table.ended(min(a, b), max(a, b), PRIOR)
    step = Step(survival_from(estimate([table], PRIOR)), table.ends, table.exposure)
    ahead = Outlook(step, (Point(0, 0.5), Point(following, 0.5)), least_ends=5)
    younger, older = ahead.after(min(one, other)), ahead.after(max(one, other))
    if younger is not None:
        assert min(one, other) - 1e-6 <= younger[0] <= younger[1] <= EDGES[-1] * 1.01 + following
    if younger is not None and older is not None:
        assert younger[0] <= older[0] + 1e-3
        assert younger[1] <= older[1] + 1e-3


def test_programs_are_shown_tenths_of_a_second() -> None:
    assert Forecast(1.2345, 6.789).rounded() == Forecast(1.2, 6.8)
