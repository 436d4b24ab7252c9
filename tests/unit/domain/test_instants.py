from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.instants import seconds_of


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-27T06:53:46Z",
        "2026-11-27t06:53:46z",
        "2026-11-27 06:53:46+00:00",
        "2026-11-27T07:53:46+01:00",
        "2026-11-27T06:53:46",
    ],
)
def test_a_date_time_is_read_in_each_of_its_forms(text: str) -> None:
    assert seconds_of(text) == 1_795_762_426


def test_fractions_may_have_any_number_of_digits() -> None:
    for text in ("2026-11-27T06:53:46.5Z", "2026-11-27T06:53:46.500Z", "2026-11-27T06:53:46.500000000Z"):
        assert seconds_of(text) == 1_795_762_426.5


@pytest.mark.parametrize("odd", [None, 1_795_762_426, "", "yesterday", "2026-13-45T00:00:00Z", ["2026"], "9" * 5000])
def test_what_is_no_date_time_is_unknown(odd: object) -> None:
    assert seconds_of(odd) is None


def test_a_text_of_more_than_64_characters_is_no_date_time() -> None:
    """No server writes one, and a long number must not be read at length."""
    longest = f"2026-11-27T06:53:46.{'0' * 43}Z"
    assert (len(longest), seconds_of(longest)) == (64, 1_795_762_426)
    assert seconds_of(longest.replace("Z", "0Z")) is None


@given(st.text(max_size=70) | st.datetimes().map(str))
def test_no_text_raises(text: str) -> None:
    seconds_of(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_ends_of_the_calendar_can_be_read(text: str) -> None:
    assert abs(seconds_of(text) or 0) > 1e10
