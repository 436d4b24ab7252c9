"""Quantiles of waits that are worked out by hand, and when nothing is said."""

from __future__ import annotations

from math import log

import pytest

from asset_worker.schedule.forecast import NOTHING_FOLLOWS, Outlook, Point, Step
from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, survival_from

END = EDGES[-1]
MANY = [100.0] * BINS
HALF_EACH = survival_from((log(2),) * BINS)


def rates(values: dict[int, float]) -> list[float]:
    """The share that is left at each edge, if these bins have a hazard."""
    return survival_from(tuple(values.get(bin_, 0.0) for bin_ in range(BINS)))


def by_bin(values: dict[int, float]) -> list[float]:
    return [values.get(bin_, 0.0) for bin_ in range(BINS)]


def ahead(
    survival: list[float],
    *following: Point,
    ends: list[float] = MANY,
    exposure: list[float] = MANY,
    least_ends: float = 1.0,
) -> Outlook:
    return Outlook(Step(survival, ends, exposure), following or NOTHING_FOLLOWS, least_ends=least_ends)


def test_half_of_a_wait_that_halves_in_each_bin_is_over_a_bin_later() -> None:
    """And nine tenths after log2(10) = 3.32 bins. Between edges, both are interpolated."""
    outlook = ahead(HALF_EACH)
    part = log(10) / log(2) - 3
    at_5 = (EDGES[6], EDGES[8] + part * WIDTHS[8])
    at_6 = (EDGES[7], EDGES[9] + part * WIDTHS[9])
    assert outlook.after(EDGES[5]) == pytest.approx(at_5, abs=1e-6)
    assert outlook.after(EDGES[6]) == pytest.approx(at_6, abs=1e-6)
    quarter = EDGES[5] + WIDTHS[5] / 4
    assert outlook.after(quarter) == pytest.approx(
        [start + (end - start) / 4 for start, end in zip(at_5, at_6, strict=True)], abs=1e-6
    )
    assert outlook.after(0.0) == pytest.approx((EDGES[1], EDGES[3] + part * WIDTHS[3]), abs=1e-6)


def test_what_follows_a_step_that_has_just_ended_is_all_that_is_left() -> None:
    """Nine in ten take a second after it, and one in ten a hundred: the step itself ends within a millisecond."""
    outlook = ahead(rates({0: 20_000.0}), Point(1.0, 0.8), Point(100.0, 0.2))
    found = outlook.after(0.0)
    assert found == pytest.approx((1.0, 100.0), abs=1e-3)


def test_what_follows_the_slowest_waits_may_end_days_later() -> None:
    """All end in the last bin, 29 of 30. Half are over when 3/8 of the steps go on, nine tenths of all when half of
    those are that a day and an hour follow.
    """
    found = ahead(rates({BINS - 1: log(30)}), Point(0.0, 0.8), Point(90_000.0, 0.2)).after(EDGES[5])
    half = EDGES[-2] + WIDTHS[-1] * log(8 / 3) / log(30)
    most = 90_000 + EDGES[-2] + WIDTHS[-1] * log(2) / log(30)
    assert found == pytest.approx((half, most), abs=1e-3)


def test_a_quantile_may_be_as_late_as_the_last_edge() -> None:
    left = 0.0999
    found = ahead(rates({BINS - 1: -log(left)})).after(EDGES[5])
    assert found is not None
    assert found[1] == pytest.approx(EDGES[-2] + WIDTHS[-1] * log(0.1) / log(left), abs=1e-3)
    assert found[1] > END - 1.5


def test_half_are_over_when_half_have_ended_and_not_when_the_next_one_does() -> None:
    """No wait ends for long after that."""
    found = ahead(rates({5: log(2), 50: 3.0})).after(0.0)
    assert found is not None
    assert found[0] == pytest.approx(EDGES[6], abs=1e-6)
    assert EDGES[50] < found[1] < EDGES[51]


@pytest.mark.parametrize(
    ("ends", "age", "after"),
    [
        pytest.param({}, 0.0, 0.0, id="none"),
        pytest.param({0: 3.0, 5: 4.0, 100: 2.0}, 0.0, 9.0, id="all"),
        pytest.param({0: 3.0, 5: 4.0, 100: 2.0}, EDGES[1], 6.0, id="past-the-first-bin"),
        pytest.param({0: 3.0, 5: 4.0, 100: 2.0}, EDGES[5] + WIDTHS[5] / 2, 6.0, id="its-bin-included"),
        pytest.param({0: 3.0, 5: 4.0, 100: 2.0}, EDGES[100], 2.0, id="the-last-bin"),
        pytest.param({0: 3.0, 5: 4.0, 100: 2.0}, END, 0.0, id="past-all-bins"),
    ],
)
def test_the_ends_after_an_age_are_those_of_its_bin_and_of_later_ones(
    ends: dict[int, float], age: float, after: float
) -> None:
    assert Step(HALF_EACH, by_bin(ends), MANY).ends_after(age) == after


@pytest.mark.parametrize(
    ("exposure", "age", "waits"),
    [
        pytest.param({0: 3.0, 1: 2.0}, 0.0, 3.0, id="the-first-bin"),
        pytest.param({0: 3.0, 1: 2.0, 2: 9.0}, EDGES[1], 3.0, id="and-the-bin-before"),
        pytest.param({0: 3.0, 1: 2.0, 2: 1.0}, EDGES[2], 2.0, id="but-no-earlier-one"),
        pytest.param({4: 3.0, 5: 7.0}, EDGES[5], 7.0, id="its-own-bin"),
        pytest.param({4: 3.0, 6: 7.0}, EDGES[5], 3.0, id="no-later-one"),
        pytest.param({99: 4.0, 100: 5.0}, EDGES[100], 5.0, id="the-last-bin"),
        pytest.param({99: 4.0, 100: 3.0}, 1e9, 4.0, id="past-all-bins"),
        pytest.param({98: 4.0, 100: 3.0}, 1e9, 3.0, id="past-all-bins-too"),
    ],
)
def test_the_waits_at_an_age_are_those_of_its_bin_or_of_the_one_before(
    exposure: dict[int, float], age: float, waits: float
) -> None:
    assert Step(HALF_EACH, MANY, by_bin(exposure)).waits_at(age) == waits


@pytest.mark.parametrize(
    ("ends", "age", "is_known"),
    [
        pytest.param({5: 10.0}, EDGES[3], True, id="enough"),
        pytest.param({5: 9.9}, EDGES[3], False, id="too-few"),
        pytest.param({4: 90.0, 5: 10.0}, EDGES[4], True, id="enough-at-both-edges-of-the-bin"),
        pytest.param({4: 90.0, 5: 9.9}, EDGES[4], False, id="too-few-after-the-bin"),
        pytest.param({100: 90.0}, EDGES[100], False, id="none-after-the-last-bin"),
        pytest.param({100: 90.0}, END, False, id="past-all-bins"),
        pytest.param({100: 90.0}, 1e9, False, id="long-past-all-bins"),
    ],
)
def test_nothing_is_said_of_fewer_ends_after_the_age_than_asked_for(
    ends: dict[int, float], age: float, *, is_known: bool
) -> None:
    outlook = ahead(HALF_EACH, ends=by_bin(ends), least_ends=10.0)
    assert (outlook.after(age) is not None) is is_known


@pytest.mark.parametrize(("waits", "is_known"), [(1.0, True), (1.5, True), (0.9, False)])
def test_nothing_is_said_unless_one_wait_lasted_to_the_ninetieth_percentile(waits: float, *, is_known: bool) -> None:
    """That of age 0 is in bin 3, and that of the next edge in bin 4."""
    exposure = by_bin(dict.fromkeys(range(3), 50.0) | {3: waits, 4: waits})
    exposure[2] = waits
    assert (ahead(HALF_EACH, exposure=exposure).after(0.0) is not None) is is_known


@pytest.mark.parametrize(("left", "is_known"), [(0.099, True), (0.101, False)])
def test_nothing_is_said_if_more_than_a_tenth_last_past_all_bins(left: float, *, is_known: bool) -> None:
    """Of those that last to an age: nobody has seen when they end."""
    outlook = ahead(rates({BINS - 2: -log(left)}))
    assert (outlook.after(EDGES[5]) is not None) is is_known
