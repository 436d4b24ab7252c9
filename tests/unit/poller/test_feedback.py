"""What a schedule that learns is told about takes and looks."""

from __future__ import annotations

import math

import msgspec
import pytest

from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.poller.feedback import Feedback
from asset_worker.schedule.ports import WaitState
from tests.doubles.looks import NOW, lease, seen

LOOKED_AT = Progress(polls=1)
WATCHED = Progress(polls=1, last_seen=LastSeen("processing"), waiting_on=("asset",), waiting_at=NOW - 4)


class Notes:
    """A learner that keeps what it is told."""

    backlog_factor = 2.5

    def __init__(self) -> None:
        self.told: list[object] = []

    def observe(self, look, *, since, ended=(), renditions=None):
        self.told.append(("observed", look, since, ended, renditions))

    def requested(self, looks):
        self.told.append(("requested", looks))

    def chance_of_end(self, look, *, within):
        return look.age / within

    def looked_late(self, lateness, *, since):
        self.told.append(("late", lateness, since))

    def idled(self, seconds):
        self.told.append(("idle", seconds))


def due(late, progress=LOOKED_AT):
    return msgspec.structs.replace(lease(progress=progress), late=late)


def taken(first, **options):
    """What the learner is told when this is taken."""
    notes = Notes()
    Feedback(notes, **options).taken(first, now=100.0, idle=0.25, gathered_at=99.0)
    return notes.told


def test_a_take_tells_how_long_requests_were_idle_and_how_late_the_look_is() -> None:
    assert taken(due(0.75)) == [("idle", 0.25), ("late", 0.75, math.inf)]


def test_a_first_look_is_not_late_for_the_schedule() -> None:
    """It did not decide when it is due."""
    assert taken(due(0.75, Progress())) == [("idle", 0.25)]


def test_a_look_that_is_late_because_of_an_outage_is_not_told() -> None:
    assert taken(due(0.75), breaker_is_open=lambda: True) == [("idle", 0.25)]


@pytest.mark.parametrize(("wall_offset", "head_start"), [(None, 30.0), (5.0, 35.0)])
def test_the_age_of_a_wait_is_compared_with_the_creation_by_the_wall_clock(wall_offset, head_start):
    notes = Notes()
    feedback = Feedback(notes) if wall_offset is None else Feedback(notes, wall_offset=lambda: wall_offset)
    feedback.looked(lease(age=10.0, progress=WATCHED), seen(created_at="2026-11-23T13:59:20Z"), held=1.0)
    look = WaitState(attempt_number=1, age=11.0, head_start=head_start)
    assert notes.told == [("observed", look, 6.0, (), None)]


def test_what_the_learner_knows_is_passed_on() -> None:
    notes = Notes()
    feedback = Feedback(notes)
    feedback.requested(7)
    assert notes.told == [("requested", 7)]
    assert feedback.backlog_factor == 2.5
    assert feedback.chance_of_end(WaitState(attempt_number=1, age=9.0), within=30.0) == 0.3
