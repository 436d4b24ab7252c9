"""What a schedule has learned, in short."""

from __future__ import annotations

import pytest

from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.report import briefs, rows


def taught() -> AdaptiveSchedule:
    """A schedule that has seen images end after two seconds or so, and fewer videos after a minute."""
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    for kind, ends, about in (("image/jpeg", 40, 2.0), ("video/mp4", 20, 60.0)):
        for number in range(ends):
            age = about * (0.8 + 0.4 * number / ends)
            look = WaitState(attempt_number=2, age=age, waiting_on=(), file_type=kind, method="direct")
            schedule.observe(look, since=0.9 * age, ended=("asset",))
    return schedule


def test_the_classes_with_the_most_ends_come_first_and_the_others_are_left_out():
    schedule = taught()
    assert [each.name for each in briefs(schedule, most=9)] == ["asset image/jpeg direct", "asset video/mp4 direct"]
    assert [each.name for each in briefs(schedule, most=1)] == ["asset image/jpeg direct"]


def test_a_brief_says_what_the_row_says():
    schedule = taught()
    found, expected = briefs(schedule, most=1)[0], rows(schedule)[0]
    assert (found.evidence, found.p50, found.p90, found.p99) == pytest.approx(
        (expected.evidence, expected.p50, expected.p90, expected.p99)
    )
    planned = briefs(schedule, most=1)[0]  # `rows` has made the plans
    assert (planned.looks, planned.lag) == (expected.looks, expected.lag)


def test_nothing_is_planned_for_it():
    """It would take long, and move the price of a look."""
    schedule = taught()
    price = schedule.price
    assert [(each.looks, each.lag) for each in briefs(schedule, most=9)] == [(None, None)] * 2
    assert schedule.price == price


def test_a_class_of_which_nothing_has_ended_is_left_out():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    schedule.observe(WaitState(attempt_number=1, age=5.0, file_type="video/mp4", method="direct"), since=0.0)
    assert briefs(schedule, most=9) == []
