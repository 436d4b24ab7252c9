from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity.wait import wait_chain, wait_fixed

from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.waits import JITTER, exponential, fixed, from_tenacity, spread

ATTEMPTS = st.integers(1, 10_000)
SHARES = st.floats(0, 1, exclude_max=True)


def look(attempt_number: int) -> WaitState:
    return WaitState(attempt_number=attempt_number)


def test_fixed_gives_the_same_delay_after_every_look() -> None:
    schedule = from_tenacity(fixed(interval=5, uniform=lambda: 0.0))
    assert [schedule(look(n)) for n in (1, 2, 50)] == [5, 5, 5]


def test_exponential_grows_from_initial_to_the_ceiling() -> None:
    schedule = from_tenacity(exponential(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.0))
    assert [schedule(look(n)) for n in (1, 2, 3, 4, 8, 100)] == [2, 3, 4.5, 6.75, 30, 30]


def test_a_growth_beyond_the_range_of_floats_ends_at_the_ceiling() -> None:
    schedule = from_tenacity(exponential(initial=2, multiplier=1e4, maximum=30, uniform=lambda: 0.0))
    assert [schedule(look(n)) for n in (2, 79, 100_000)] == [30, 30, 30]


@given(ATTEMPTS, SHARES)
def test_jitter_only_shortens_a_delay_and_by_its_share_at_most(attempt: int, chance: float) -> None:
    plain = from_tenacity(exponential(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.0))(look(attempt))
    jittered = from_tenacity(exponential(initial=2, multiplier=1.5, maximum=30, uniform=lambda: chance))(look(attempt))
    assert plain * (1 - JITTER) <= jittered <= plain <= 30


def test_at_the_ceiling_assets_still_drift_apart() -> None:
    chances = iter([0.1, 0.9])
    schedule = from_tenacity(exponential(initial=2, multiplier=1.5, maximum=30, uniform=lambda: next(chances)))
    assert schedule(look(100)) != schedule(look(100))


@pytest.mark.parametrize(
    ("wait", "delays"),
    [
        pytest.param(
            wait_chain(wait_fixed(1), wait_fixed(2), fixed(interval=5, uniform=lambda: 0.0)), [1, 2, 5, 5], id="chain"
        ),
        pytest.param(fixed(interval=5, uniform=lambda: 0.0) + wait_fixed(1), [6, 6, 6, 6], id="plus"),
        pytest.param(
            wait_fixed(1) + exponential(initial=1, multiplier=2, maximum=60, uniform=lambda: 0.0),
            [2, 3, 5, 9],
            id="plus-exponential",
        ),
    ],
)
def test_strategies_of_tenacity_compose(wait: wait_fixed, delays: list[float]) -> None:
    schedule = from_tenacity(wait)
    assert [schedule(look(n)) for n in (1, 2, 3, 4)] == delays


@given(st.integers(0, 200), st.floats(0.001, 1e5), SHARES)
def test_spread_puts_one_look_into_each_equal_part_of_the_span(count: int, span: float, chance: float) -> None:
    delays = spread(count, span=span, uniform=lambda: chance)
    assert len(delays) == count
    assert all(0 <= delay <= span * (1 + 1e-9) for delay in delays)
    assert all(later - earlier == pytest.approx(span / count) for earlier, later in pairwise(delays))
