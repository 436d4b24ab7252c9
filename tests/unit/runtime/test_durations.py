"""Durations as people write them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.durations import PATTERN, UNITS, seconds_of, seconds_or_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (" 5m ", 300),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0),
    ],
)
def test_text_with_units_is_their_sum(text: str, seconds: float):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "90", "1m30", "30m1h", "1h1h", "5 m", "5M", "5w", "-5s", "+5s", ".5s", "1e3s", "٣s", "5s\n5s"],
)
def test_text_that_is_no_duration_says_what_one_is(text: str):
    with pytest.raises(ValueError, match="text with units"):
        seconds_of(text)


@given(st.dictionaries(st.sampled_from([*UNITS]), st.integers(0, 10**6), min_size=1))
def test_units_from_the_longest_to_the_shortest_are_always_read(counts: dict[str, int]):
    text = "".join(f"{counts[unit]}{unit}" for unit in UNITS if unit in counts)
    assert seconds_of(text) == pytest.approx(sum(count * UNITS[unit] for unit, count in counts.items()))
    assert re.search(PATTERN, text)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5", 1.5), ("1e3", 1000), ("90s", 90)])
def test_a_flag_or_variable_may_leave_the_unit_out(text: str, seconds: float):
    assert seconds_or_duration(text) == seconds
