"""How the backlog factor follows late looks and idle time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.schedule.backlog import LONGEST_CEILING, MAX_FACTOR, MAX_STEP, after_idle, after_look, stretch_ceiling

FACTORS = st.floats(1, MAX_FACTOR)
SECONDS = st.floats(0, 1e9)


@pytest.mark.parametrize(
    ("lateness", "since", "expected"),
    [
        pytest.param(20.1, 9.0, 4 * (1 + MAX_STEP), id="late"),
        pytest.param(20.1, 0.5, 4 * 1.005, id="late-again-at-once"),
        pytest.param(20.1, 0.0, 4.0, id="late-with-another"),
        pytest.param(20.0, 9.0, 4.0, id="as-late-as-a-look-may-be"),
        pytest.param(15.0, 9.0, 4.0, id="a-little-late"),
        pytest.param(10.0, 9.0, 4.0, id="not-quite-in-time"),
        pytest.param(9.9, 9.0, 4 / (1 + MAX_STEP), id="in-time"),
        pytest.param(-5.0, 0.5, 4 / 1.005, id="early"),
    ],
)
def test_a_look_changes_the_factor_by_its_lateness_relative_to_the_usual_delay(
    lateness: float, since: float, expected: float
) -> None:
    """The usual delay is 100 s here."""
    assert after_look(4.0, lateness=lateness, since=since, usual_delay=100.0) == pytest.approx(expected)


@pytest.mark.parametrize("per_second", [3, 10, 500])
def test_while_all_looks_are_late_the_usual_delay_grows_by_a_second_each_second(per_second: int) -> None:
    """Whatever their number: after one round over all pending assets, it is as long as that round."""
    backlog_factor = 1.0
    for _ in range(200 * per_second):
        backlog_factor = after_look(backlog_factor, lateness=1e6, since=1 / per_second, usual_delay=20 * backlog_factor)
    assert 20 * backlog_factor == pytest.approx(20 + 200, rel=0.02)


@given(FACTORS, SECONDS, SECONDS, st.floats(0.01, 1e6))
def test_one_look_changes_the_factor_by_a_small_step_at_most(
    backlog_factor: float, lateness: float, since: float, usual: float
) -> None:
    after = after_look(backlog_factor, lateness=lateness, since=since, usual_delay=usual)
    assert 1 <= after <= MAX_FACTOR
    assert backlog_factor / (1 + MAX_STEP) - 1e-9 <= after <= backlog_factor * (1 + MAX_STEP) + 1e-9


def test_idle_time_lowers_the_factor_from_any_height() -> None:
    assert after_idle(8.0, idle=30.0) == pytest.approx(4.0)
    assert after_idle(MAX_FACTOR, idle=300.0) == 1.0
    assert after_idle(MAX_FACTOR, idle=1e9) == 1.0
    assert after_idle(8.0, idle=0.0) == 8.0


@given(FACTORS, st.floats(0, 1e4), st.integers(1, 20))
def test_idle_time_in_parts_counts_like_the_whole(backlog_factor: float, idle: float, parts: int) -> None:
    in_parts = backlog_factor
    for _ in range(parts):
        in_parts = after_idle(in_parts, idle=idle / parts)
    assert in_parts == pytest.approx(after_idle(backlog_factor, idle=idle))


@pytest.mark.parametrize(
    ("ceiling", "backlog_factor", "longest"),
    [
        pytest.param(30, 1, 30, id="no-backlog"),
        pytest.param(30, 8, 240, id="backlog"),
        pytest.param(30, MAX_FACTOR, LONGEST_CEILING, id="an-hour-at-most"),
        pytest.param(7200, 8, 7200, id="a-longer-poll-max-as-it-is"),
    ],
)
def test_the_ceiling_is_stretched_to_an_hour_at_most(ceiling: float, backlog_factor: float, longest: float) -> None:
    assert stretch_ceiling(ceiling, backlog_factor) == longest
