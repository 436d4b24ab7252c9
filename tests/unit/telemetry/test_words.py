"""The words for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.problems import Problem, Reason
from asset_worker.telemetry.words import (
    about,
    by_outcome,
    clock_duration,
    counted,
    duration,
    precise_duration,
    problem_times,
    short_time_left,
    stage,
    stages,
    time_left,
)


@pytest.mark.parametrize(
    ("waiting_on", "words"),
    [
        (("visibility",), "not visible yet"),
        (("answer",), "no answer yet"),
        (("asset",), "processing"),
        (("hls", "thumbnail"), "hls + thumbnail"),
        ((), "first look"),
    ],
)
def test_what_an_asset_waits_for_is_said_in_words_that_people_know(waiting_on, words):
    assert stage(waiting_on) == words


def test_counts_of_what_is_waited_for_are_in_the_same_words():
    assert stages({"first look": 3, "asset": 2, "visibility": 1}) == [
        "processing 2",
        "first look 3",
        "not visible yet 1",
    ]


@pytest.mark.parametrize(("count", "text"), [(0, "0 requests"), (1, "1 request"), (2, "2 requests")])
def test_one_is_no_plural(count, text):
    assert counted(count, "request") == text


@pytest.mark.parametrize(
    ("seconds", "text", "on_a_stopwatch", "precise"),
    [
        (-1, "0 s", "0:00", "0.0 s"),
        (0.3, "0 s", "0:00", "0.3 s"),
        (12.34, "12 s", "0:12", "12.3 s"),
        (59.96, "59 s", "0:59", "59 s"),
        (60, "1 min", "1:00", "1 min"),
        (134.9, "2 min 14 s", "2:14", "2 min 14 s"),
        (3_600, "1 h", "1:00:00", "1 h"),
        (3_725, "1 h 2 min", "1:02:05", "1 h 2 min"),
        (273_600, "3 d 4 h", "76:00:00", "3 d 4 h"),
    ],
)
def test_a_duration(seconds, text, on_a_stopwatch, precise):
    assert (duration(seconds), clock_duration(seconds), precise_duration(seconds)) == (text, on_a_stopwatch, precise)


@pytest.mark.parametrize(
    ("p50", "p90", "long", "short"),
    [
        (0.2, 0.4, "~1 s", "~1 s"),
        (5.2, 9.1, "~5 s (up to 9 s)", "~5-9 s"),
        (41, 130, "~40 s (up to 2 min)", "~40 s-2 min"),
        (130, 290, "~2 min (up to 5 min)", "~2-5 min"),
        (130, 140, "~2 min", "~2 min"),
        (5_400, 16_000, "~1.5 h (up to 4.5 h)", "~1.5-4.5 h"),
        (3_569, 3_571, "~59 min (up to 1 h)", "~59 min-1 h"),
        (86_400, 260_000, "~1 d (up to 3 d)", "~1-3 d"),
    ],
)
def test_the_time_left_is_no_more_precise_than_it_is_known(p50, p90, long, short):
    assert (time_left(Forecast(p50, p90)), short_time_left(Forecast(p50, p90))) == (long, short)


@given(seconds=st.floats(0, 1e7))
def test_an_expected_duration_is_within_a_third_of_what_is_expected(seconds):
    count, unit = about(seconds).split()
    shown = float(count) * {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[unit]
    assert abs(shown - seconds) <= max(1.0, seconds / 3)
    assert shown > 0


def test_a_problem_says_since_when_and_when_it_is_tried_again():
    problem = Problem(Reason.API_UNAVAILABLE, "the API is unavailable", since=3_600.0, next_try=3_700.0)
    assert problem_times(problem, now=3_665.0, utc_offset=7_200.0) == ["since 03:00:00 (1 min 5 s)", "next try in 35 s"]
    assert problem_times(Problem(Reason.JOURNAL_FAILING, "the journal can't be written"), now=0.0, utc_offset=0.0) == []


def test_what_is_ready_comes_first():
    counts = {"failed": 1, "rejected": 2, "ready": 3, "another": 4}
    assert [name for name, _ in by_outcome(counts)] == ["ready", "failed", "rejected", "another"]
