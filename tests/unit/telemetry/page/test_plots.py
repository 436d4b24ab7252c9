"""The plots of the last hour."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.measures import LONG_SECONDS
from asset_worker.telemetry.history import HOUR, Sample
from asset_worker.telemetry.page.plots import HEIGHT, WIDTH, path_of, rounded_up, x_of
from asset_worker.telemetry.page.plotting import plots_of


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (0.3, 1), (1, 1), (1.1, 2), (2, 2), (4.9, 5), (5.1, 10), (99, 100), (101, 200), (1_000_000, 1_000_000)],
)
def test_the_upper_edge_is_the_next_round_number(value, top):
    assert rounded_up(value) == top


@given(st.floats(0, 1e12))
def test_the_upper_edge_is_never_below_the_highest_value(value):
    assert rounded_up(value) >= value


def test_a_path_joins_values_in_a_row_and_leaves_gaps():
    values = [(HOUR, 0.0), (HOUR - 30, 10.0), (HOUR - 60, None), (60.0, 5.0), (0.0, 5.0)]
    assert path_of(values, top=10) == "M0 100 h0 L5 0 M590 50 h0 L600 50"


def test_values_that_are_far_apart_are_not_joined():
    """As after a suspend."""
    assert path_of([(3_000.0, 1.0), (0.0, 1.0)], top=1) == "M100 0 h0 M600 0 h0"


@given(st.lists(st.tuples(st.floats(-10, 2 * HOUR), st.one_of(st.none(), st.floats(0, 1e9))), max_size=30))
def test_a_path_stays_within_the_picture_and_has_nothing_but_places(values):
    path = path_of(values, top=rounded_up(max((value for _, value in values if value is not None), default=0.0)))
    assert re.fullmatch(r"(?:[ML](?:[0-9.]+) (?:[0-9.]+)(?: h0)?(?: |$))*", path)
    for x, y in re.findall(r"[ML]([0-9.]+) ([0-9.]+)", path):
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT


def test_a_worker_that_has_just_started_has_empty_plots_that_say_so():
    found = plots_of([Sample(100.0)], bounds=LONG_SECONDS)
    assert found.observed == "0 s"
    assert [each.since for each in found.each] == [600.0] * 4
    assert found.each[0].summary == "Detection lag: none yet."


def test_the_plots_show_lag_completions_requests_and_pending_assets():
    nothing = (0,) * (len(LONG_SECONDS) + 1)
    samples = [
        Sample(0.0, 5, 0, 0, nothing),
        Sample(30.0, 7, 10, 30, (10, *nothing[1:])),
        Sample(60.0, 4, 10, 45, (10, *nothing[1:])),
    ]
    found = plots_of(samples, bounds=LONG_SECONDS)
    assert [(each.key, [(line.name, line.now) for line in each.lines], each.top) for each in found.each] == [
        ("lag", [("p50", "0.5 s"), ("p95", "0.9 s")], "1.0 s"),
        ("completions", [("", "0")], "20"),
        ("requests", [("", "30")], "100"),
        ("pending", [("", "4")], "10"),
    ]
    assert found.each[2].summary == "Requests per minute: now 30; at most 60 in the last hour."
    assert found.observed == "1 min"
    assert found.each[0].since == x_of(60.0) == 590.0


def test_nothing_is_said_about_the_time_of_observation_once_it_is_the_whole_hour():
    assert plots_of([Sample(0.0), Sample(HOUR)], bounds=LONG_SECONDS).observed == ""
