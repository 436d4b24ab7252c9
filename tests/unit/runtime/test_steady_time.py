"""Steady time: what a stored mark and the present reading of the clocks make of it, whatever happened in between."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.clock import SystemClock, wall_time
from asset_worker.runtime.steady_time import Mark, Reading, seconds_between, steady_at, step_between
from tests.doubles.clocks import ManualClock

HOUR = 3600.0
WALL = 1_795_000_000.0
"""In 2026."""
YEAR_2026 = 1_767_225_600.0
"""Its start: a wall clock that shows an earlier time has not been set."""
UNSET = 60.0
"""What the wall clock of a machine without a battery shows a minute after its start: 1970."""

INSTANTS = st.floats(0, 4e9)
UPTIMES = st.floats(0, 1e8)
PASSED = st.floats(0, 1e8)
BOOTS = st.none() | st.sampled_from(["a", "b"])
READINGS = st.builds(Reading, BOOTS, UPTIMES, INSTANTS)
MARKS = st.builds(Mark, INSTANTS, READINGS)


def reading(boot="a", elapsed=0.0, wall=0.0):
    return Reading(boot, 1000.0 + elapsed, WALL + wall)


@pytest.mark.parametrize(
    ("earlier", "later", "passed"),
    [
        pytest.param(reading(), reading("a", 10.0, 10.0), 10.0, id="a restart"),
        pytest.param(reading(), reading("a", 10.0, 10.0 + 5 * HOUR), 10.0, id="the wall clock was 5 h behind"),
        pytest.param(reading(), reading("a", 10.0, 10.0 - 5 * HOUR), 10.0, id="the wall clock was 5 h ahead"),
        pytest.param(reading(), reading("a", 3 * HOUR, 3 * HOUR), 3 * HOUR, id="three hours in suspend"),
        pytest.param(reading(), reading("b", -990.0, 2 * HOUR), 2 * HOUR, id="another boot"),
        pytest.param(reading(), reading("b", 500.0, 2 * HOUR), 2 * HOUR, id="another boot, up for longer"),
        pytest.param(reading(), reading("b", -990.0, -5 * HOUR), 0.0, id="another boot, and the wall clock is behind"),
        pytest.param(reading(), reading("a", -500.0, HOUR), HOUR, id="a snapshot of a virtual machine"),
        pytest.param(reading(), reading("a", -500.0, -HOUR), 0.0, id="a snapshot, and the wall clock is behind"),
        pytest.param(reading(), reading(None, 10.0, 5 * HOUR), 10.0, id="boot unknown, the wall clock was set forward"),
        pytest.param(reading(), reading(None, HOUR, 10.0), 10.0, id="boot unknown, and the wall clock says less"),
        pytest.param(reading(None), reading(None, -500.0, HOUR), HOUR, id="boot unknown, but it is another"),
        pytest.param(Reading("a", 60.0, UNSET), reading("b", 0.0), 0.0, id="the wall clock had not been set before"),
        pytest.param(Reading("a", 60.0, UNSET), Reading("a", 90.0, WALL), 30.0, id="it was set within the boot"),
        pytest.param(reading(), Reading("b", 60.0, UNSET), 0.0, id="the wall clock is not set now"),
        pytest.param(reading(None), reading("b", 10.0, HOUR), 10.0, id="boot unknown before, set forward since"),
        pytest.param(Reading("a", 9.0, YEAR_2026), Reading("b", 0.0, YEAR_2026 + 5), 5.0, id="set to the first second"),
        pytest.param(Reading("a", 9.0, YEAR_2026 - 5), Reading("b", 0.0, YEAR_2026), 0.0, id="not set until now"),
    ],
)
def test_how_much_time_has_passed(earlier, later, passed):
    assert seconds_between(earlier, later) == passed


@given(MARKS, READINGS)
def test_steady_time_never_goes_back(mark, present):
    assert steady_at(present, mark) >= mark.steady


@given(MARKS, PASSED, INSTANTS)
def test_within_a_boot_it_is_what_passed_since_the_boot_whatever_the_wall_clock_shows(mark, passed, wall):
    boot = mark.reading.boot or "a"
    mark = Mark(mark.steady, Reading(boot, mark.reading.elapsed, mark.reading.wall))
    later = steady_at(Reading(boot, mark.reading.elapsed + passed, wall), mark)
    assert later - mark.steady == pytest.approx(passed, abs=1e-5)


@given(MARKS, st.lists(st.tuples(PASSED, INSTANTS), min_size=1, max_size=5))
def test_restarts_within_a_boot_add_up(mark, restarts):
    boot = mark.reading.boot or "a"
    mark = Mark(mark.steady, Reading(boot, mark.reading.elapsed, mark.reading.wall))
    found = mark
    for passed, wall in restarts:
        present = Reading(boot, found.reading.elapsed + passed, wall)
        found = Mark(steady_at(present, found), present)
    assert found.steady == pytest.approx(steady_at(found.reading, mark), abs=1e-5)


@given(MARKS, PASSED, st.floats(-1e8, 1e8))
def test_over_a_boot_it_is_what_the_wall_clock_says_and_never_less_than_nothing(mark, uptime, passed):
    mark = Mark(mark.steady, Reading("a", mark.reading.elapsed, max(mark.reading.wall, WALL)))
    later = steady_at(Reading("another", uptime, mark.reading.wall + passed), mark)
    assert later - mark.steady == pytest.approx(max(0.0, passed), abs=1e-5)


def test_the_first_start_begins_with_the_wall_clock():
    assert steady_at(reading(), None) == WALL


@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf])
def test_a_damaged_mark_counts_as_none(damage):
    for mark in (
        Mark(damage, reading()),
        Mark(WALL, Reading("a", damage, WALL)),
        Mark(WALL, Reading("a", 1.0, damage)),
    ):
        assert steady_at(reading(), mark) == WALL


@pytest.mark.parametrize(
    ("elapsed", "wall", "step"),
    [
        pytest.param(60.0, 60.0, 0.0, id="not set"),
        pytest.param(60.0, 60.5, 0.0, id="adjusted little by little"),
        pytest.param(60.0, 61.0, 0.0, id="by a second: that may be adjusted, too"),
        pytest.param(60.0, 61.25, 1.25, id="set forward a little"),
        pytest.param(60.0, 58.75, -1.25, id="set back a little"),
        pytest.param(60.0, 60.0 + 5 * HOUR, 5 * HOUR, id="set forward"),
        pytest.param(60.0, 60.0 - 5 * HOUR, -5 * HOUR, id="set back"),
        pytest.param(3 * HOUR, 3 * HOUR, 0.0, id="suspended"),
    ],
)
def test_when_the_wall_clock_was_set(elapsed, wall, step):
    before, after = Mark(WALL, reading()), Mark(WALL + elapsed, reading("a", elapsed, wall))
    assert step_between(before, after) == pytest.approx(step)


def test_when_a_wall_clock_that_was_wrong_all_the_time_is_set():
    before, after = Mark(WALL - 500.0, reading()), Mark(WALL - 440.0, reading("a", 60.0, 160.0))
    assert step_between(before, after) == 100.0


def test_the_system_clock_starts_with_the_wall_clock_and_follows_the_time_since_boot():
    clock = SystemClock()
    assert clock.steady() == pytest.approx(time.time(), abs=1)
    before, after = clock.steady(), clock.mark()
    assert before <= after.steady <= clock.steady()
    assert after.reading.wall == pytest.approx(time.time(), abs=1)


def test_the_system_clock_resumes_what_was_stored():
    stored = SystemClock().mark()
    set_since = Mark(stored.steady - 1e6, Reading(stored.reading.boot, stored.reading.elapsed, 1.0))
    clock = SystemClock()
    clock.resume(set_since)
    assert clock.steady() == pytest.approx(stored.steady - 1e6, abs=1)
    clock.resume(None)
    assert clock.steady() == pytest.approx(stored.steady, abs=1)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="CLOCK_MONOTONIC counts the time in suspend here")
def test_the_system_clock_counts_the_time_in_suspend(monkeypatch):
    shown = {time.CLOCK_BOOTTIME: 100.0, time.CLOCK_MONOTONIC: 100.0}
    monkeypatch.setattr(time, "clock_gettime", shown.__getitem__)
    clock = SystemClock()
    before = clock.steady()
    shown[time.CLOCK_BOOTTIME] += 3 * HOUR
    assert clock.steady() - before == pytest.approx(3 * HOUR)
    assert clock.mark().reading.elapsed == pytest.approx(100.0 + 3 * HOUR)


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="a boot has no ID here")
def test_the_boot_and_the_time_namespace_are_known():
    boot = SystemClock().mark().reading.boot
    assert boot is not None
    assert boot.startswith(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    assert SystemClock().mark().reading.boot == boot


def test_an_instant_is_shown_by_the_wall_clock_as_it_is_set_now():
    clock = ManualClock(1_000.0)
    instant = clock.steady()
    clock.move(60.0)
    assert wall_time(clock, instant) == 1_000.0
    clock.wall += 500.0  # somebody sets it
    assert wall_time(clock, instant) == 1_500.0
