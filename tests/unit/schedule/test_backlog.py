"""How scarce requests are taken to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.schedule.backlog import LONGEST_CEILING, MOST, STEP, eased, noted, stretched

FACTORS = st.floats(1, MOST)
SECONDS = st.floats(0, 1e9)


@pytest.mark.parametrize(
    ("lateness", "since", "expected"),
    [
        pytest.param(20.1, 9.0, 4 * (1 + STEP), id="late"),
        pytest.param(20.1, 0.5, 4 * 1.005, id="late-again-at-once"),
        pytest.param(20.1, 0.0, 4.0, id="late-with-another"),
        pytest.param(15.0, 9.0, 4.0, id="a-little-late"),
        pytest.param(9.9, 9.0, 4 / (1 + STEP), id="in-time"),
        pytest.param(-5.0, 0.5, 4 / 1.005, id="early"),
    ],
)
def test_a_look_changes_the_factor_by_how_late_it_was_beside_the_usual_delay(
    lateness: float, since: float, expected: float
) -> None:
    """Of 100 s here."""
    assert noted(4.0, lateness=lateness, since=since, usual_delay=100.0) == pytest.approx(expected)


@pytest.mark.parametrize("per_second", [3, 10, 500])
def test_while_all_looks_are_late_the_usual_delay_grows_by_a_second_each_second(per_second: int) -> None:
    """However many there are: when one round over all has been made, it is as long as that round."""
    backlog_factor = 1.0
    for _ in range(200 * per_second):
        backlog_factor = noted(backlog_factor, lateness=1e6, since=1 / per_second, usual_delay=20 * backlog_factor)
    assert 20 * backlog_factor == pytest.approx(20 + 200, rel=0.02)


@given(FACTORS, SECONDS, SECONDS, st.floats(0.01, 1e6))
def test_one_look_changes_little(backlog_factor: float, lateness: float, since: float, usual: float) -> None:
    after = noted(backlog_factor, lateness=lateness, since=since, usual_delay=usual)
    assert 1 <= after <= MOST
    assert backlog_factor / (1 + STEP) - 1e-9 <= after <= backlog_factor * (1 + STEP) + 1e-9


def test_idle_time_eases_however_high_the_factor_is() -> None:
    assert eased(8.0, idle=30.0) == pytest.approx(4.0)
    assert eased(MOST, idle=300.0) == 1.0
    assert eased(MOST, idle=1e9) == 1.0
    assert eased(8.0, idle=0.0) == 8.0


@given(FACTORS, st.floats(0, 1e4), st.integers(1, 20))
def test_idle_time_counts_the_same_in_parts(backlog_factor: float, idle: float, parts: int) -> None:
    in_parts = backlog_factor
    for _ in range(parts):
        in_parts = eased(in_parts, idle=idle / parts)
    assert in_parts == pytest.approx(eased(backlog_factor, idle=idle))


@pytest.mark.parametrize(
    ("ceiling", "backlog_factor", "longest"),
    [
        pytest.param(30, 1, 30, id="not-scarce"),
        pytest.param(30, 8, 240, id="scarce"),
        pytest.param(30, MOST, LONGEST_CEILING, id="an-hour-at-most"),
        pytest.param(7200, 8, 7200, id="a-longer-poll-max-as-it-is"),
    ],
)
def test_the_ceiling_is_stretched_to_an_hour_at_most(ceiling: float, backlog_factor: float, longest: float) -> None:
    assert stretched(ceiling, backlog_factor) == longest
