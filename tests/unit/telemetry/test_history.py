"""The last hour in samples."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.telemetry.history import HOUR, SAMPLES, History, Sample, intervals, quantile

BOUNDS = (1.0, 2.0, 5.0)


def test_only_the_last_hour_is_kept():
    history = History()
    for number in range(3 * SAMPLES):
        history.add(Sample(30.0 * number))
    found = history.until(Sample(30.0 * 3 * SAMPLES))
    assert (found[0].at, found[-1].at, len(found)) == (30.0 * 3 * SAMPLES - HOUR, 30.0 * 3 * SAMPLES, SAMPLES)


def test_samples_from_before_a_long_suspend_are_left_out():
    history = History()
    history.add(Sample(0.0))
    history.add(Sample(10 * HOUR))
    assert [each.at for each in history.until(Sample(10 * HOUR + 5))] == [10 * HOUR, 10 * HOUR + 5]


def test_the_last_interval_is_never_so_short_that_its_rates_jump():
    """A second after a sample, ten requests are not six hundred in a minute."""
    history, requests = History(), 0
    for second in range(200):
        requests += 10 * (second % 30 == 0)
        now = Sample(float(second), requests=requests)
        if second % 30 == 0:
            history.add(now)
        found = history.until(now)
        assert (found[0].at, found[-1]) == (0.0, now)
        assert all(10 <= each.requests <= 20 for each in intervals(found, bounds=BOUNDS) if each.end >= 30)


def test_rates_are_per_minute_of_the_time_that_has_passed():
    before, after = Sample(0.0, 3, 10, 100, (0, 0, 0, 0)), Sample(20.0, 8, 15, 110, (2, 0, 0, 0))
    [found] = intervals([before, after], bounds=BOUNDS)
    assert (found.pending, found.completions, found.requests) == (8, 15.0, 30.0)
    assert (found.lag_p50, found.lag_p95) == (0.5, 0.95)


def test_two_samples_of_one_instant_are_no_interval():
    assert intervals([Sample(5.0), Sample(5.0)], bounds=BOUNDS) == []


def test_the_first_lags_are_those_since_there_was_none():
    [found] = intervals([Sample(0.0), Sample(30.0, lags=(0, 4, 0, 0))], bounds=BOUNDS)
    assert found.lag_p50 == 1.5


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, (0, 0, 0, 0), None),
        (0.5, (), None),
        (0.5, (4, 0, 0, 0), 0.5),
        (0.5, (1, 0, 1, 0), 1.0),
        (0.95, (0, 0, 10, 0), 2 + 3 * 0.95),
        (0.95, (0, 0, 0, 7), 5.0),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(share, counts, expected):
    assert quantile(share, counts, BOUNDS) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_that_holds_its_share(counts, share):
    found = quantile(share, counts, BOUNDS)
    assert found is not None
    edges, below = [0.0, *BOUNDS, BOUNDS[-1]], [0, *accumulate(counts)]
    bucket = next(i for i in range(4) if below[i + 1] >= share * sum(counts) and counts[i])
    assert edges[bucket] <= found <= edges[bucket + 1] + 1e-9
