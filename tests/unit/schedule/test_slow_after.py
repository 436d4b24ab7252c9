"""Past which age a wait is slower than 99 % of its class, and how many ends of the class it takes to know that."""

from __future__ import annotations

from random import Random

import pytest

from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState, from_bytes, to_bytes
from asset_worker.schedule.life_table import LifeTable, evidence_of
from asset_worker.schedule.ports import WaitState

VIDEO = WaitState(2, age=5.0, file_type="video/mp4", method="direct")
RENDITIONS = WaitState(
    2, phase="renditions", age=5.0, waiting_on=("hls", "thumbnail"), file_type="video/mp4", method="direct"
)


def learner(learned=None):
    return AdaptiveSchedule(learned, initial=2, multiplier=1.5, maximum=30, uniform=Random(1).random)


def see_ends(schedule, count, *, at=lambda random: random.uniform(10, 20), step="asset", like=VIDEO):
    """Let the schedule see so many waits, each looked at every second until it has ended."""
    random = Random(2)
    for _ in range(count):
        duration, age = at(random), 0.0
        while age + 1 < duration:
            schedule.observe(_look(like, age + 1, (step,)), since=age)
            age += 1
        schedule.observe(_look(like, age + 1, ()), since=age, ended=(step,))


def _look(like, age, waiting_on):
    return WaitState(2, like.phase, age, waiting_on, like.file_type, like.method)


@pytest.mark.parametrize(("ends", "is_known"), [(0, False), (99, False), (100, True), (2000, True)])
def test_it_is_known_from_a_hundred_ends_of_the_class_on(ends, is_known):
    schedule = learner()
    see_ends(schedule, ends)
    assert (schedule.slow_after(VIDEO) is not None) == is_known


def test_the_ends_of_other_classes_do_not_count():
    schedule = learner()
    see_ends(schedule, 500)
    for other in (
        WaitState(2, age=5.0, file_type="video/webm", method="direct"),
        WaitState(2, age=5.0, file_type="video/mp4", method="url"),
        RENDITIONS,
    ):
        assert schedule.slow_after(other) is None


def test_it_is_about_the_longest_of_a_hundred():
    schedule = learner()
    see_ends(schedule, 1000)
    assert 19.0 < schedule.slow_after(VIDEO) < 25.0
    rare = learner()
    see_ends(rare, 1000, at=lambda random: 10.0 if random.random() < 0.97 else 100.0)
    assert 80.0 < rare.slow_after(VIDEO) < 130.0


def test_it_is_that_of_the_step_that_is_slow_first():
    schedule = learner()
    see_ends(schedule, 500, step="hls", like=RENDITIONS)
    hls = schedule.slow_after(RENDITIONS)
    assert 19.0 < hls < 26.0
    see_ends(schedule, 500, at=lambda random: random.uniform(1, 3), step="thumbnail", like=RENDITIONS)
    assert schedule.slow_after(RENDITIONS) < 5.0
    assert schedule.slow_after(_look(RENDITIONS, 5.0, ("hls",))) == pytest.approx(hls, rel=0.2)


def test_what_is_not_a_step_has_no_class():
    schedule = learner()
    see_ends(schedule, 500)
    assert schedule.slow_after(_look(VIDEO, 5.0, ("visibility",))) is None


@pytest.mark.parametrize(("ends", "is_known"), [(99, False), (100, True)])
def test_a_restart_forgets_no_end(ends, is_known):
    schedule = learner()
    see_ends(schedule, ends)
    kept = from_bytes(to_bytes(schedule.learned()))
    assert isinstance(kept, LearnedState)
    assert (learner(kept).slow_after(VIDEO) is not None) == is_known


@pytest.mark.parametrize("ends", [1, 99, 100, 1000])
def test_the_evidence_of_ends_in_a_row_is_what_a_table_holds(ends):
    table = LifeTable()
    for _ in range(ends):
        table.ended(4.0, 5.0, (0.1,) * 101)
    assert table.evidence == pytest.approx(evidence_of(ends))
