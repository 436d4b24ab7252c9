"""How long the wait for a pending asset still lasts, from what is kept about it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Options
from asset_worker.poller.decide import Defer
from asset_worker.poller.foresight import make_time_left, time_left
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import Renditions, WaitState
from tests.doubles.looks import ID, NOW, SCHEDULE, decided, lease, seen

VIDEO = {"file_type": "video/mp4", "method": "direct"}
SHOWN = {"hls": "pending"}
PROCESSING = LastSeen("processing", SHOWN, **VIDEO)
READY = LastSeen("ready", {"hls": "processing"}, **VIDEO)


def looked_at(seconds_ago=0.0, *, seen=PROCESSING, waiting_on=("asset",), ready_ago=None, polls=3, **more):
    ready_at = None if ready_ago is None else NOW - ready_ago
    return Progress(polls, 2, seen, waiting_on, ready_at, waiting_at=NOW - seconds_ago, **more)


@pytest.fixture(scope="module")
def taught():
    """A schedule that has seen videos which take 100 s, and then 300 s for their stream."""
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    for number in range(100):
        for phase, step, took in (("asset", "asset", 95.0), ("renditions", "hls", 285.0)):
            end = took + number / 99 * took / 10
            left = Renditions(("hls",), ("hls",)) if step == "asset" else None
            schedule.observe(WaitState(2, phase, end - 0.5, (step,), **VIDEO), since=0.0)
            schedule.observe(
                WaitState(3, phase, end + 0.5, (), **VIDEO), since=end - 0.5, ended=(step,), renditions=left
            )
    return schedule


def left(schedule, progress, *, age, expectations=None, **options):
    ready_age = None if progress.ready_at is None else NOW - progress.ready_at
    kept = lease(age=age, ready_age=ready_age, progress=progress, options=Options(**options) if options else None)
    return time_left(kept, expectations=expectations or Expectations(), schedule=schedule)


def around(seconds):
    return pytest.approx(seconds, rel=0.1)


def test_it_is_the_rest_of_the_asset_and_then_its_stream(taught):
    assert left(taught, looked_at(), age=40.0).p50 == around(360)
    assert left(taught, looked_at(), age=40.0, wait_for={"hls": WaitFor.IGNORE}).p50 == around(60)
    ready = looked_at(seen=READY, waiting_on=("hls",), ready_ago=100.0)
    assert left(taught, ready, age=200.0).p50 == around(200)


def test_it_shrinks_between_looks_but_not_below_zero(taught):
    now, later, late = (left(taught, looked_at(ago), age=40.0 + ago) for ago in (0.0, 10.0, 1000.0))
    assert later.p50 == pytest.approx(now.p50 - 10)
    assert later.p90 == pytest.approx(now.p90 - 10)
    assert (late.p50, late.p90) == (0, 0)


def test_the_rest_of_the_renditions_shrinks_between_looks(taught):
    now, later = (
        left(taught, looked_at(ago, seen=READY, waiting_on=("hls",), ready_ago=100.0 + ago), age=200.0 + ago)
        for ago in (0.0, 50.0)
    )
    assert later.p50 == pytest.approx(now.p50 - 50)
    assert later.p90 == pytest.approx(now.p90 - 50)


@pytest.mark.parametrize(
    ("polls", "head_start"),
    [
        pytest.param(2, 0.0, id="new, and ready at its first look"),
        pytest.param(3, 500.0, id="old, and seen in process"),
    ],
)
def test_it_is_known_of_a_ready_asset_if_it_is_known_when_it_became_so(taught, polls, head_start):
    ready = looked_at(seen=READY, waiting_on=("hls",), ready_ago=100.0, polls=polls, head_start=head_start)
    assert left(taught, ready, age=200.0).p50 == around(200)


def test_deadlines_cap_it(taught):
    assert left(taught, looked_at(), age=40.0, deadline=90.0).p90 == 50.0
    assert left(taught, looked_at(), age=40.0, deadline=20.0).p90 == 0.0
    ready = looked_at(seen=READY, waiting_on=("hls",), ready_ago=100.0)
    found = left(taught, ready, age=200.0, expectations=Expectations(rendition_deadline=130.0))
    assert (found.p50, found.p90) == (30, 30)


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param(Progress(), id="not-looked-at"),
        pytest.param(Progress(2, 2, None, ("answer",)), id="no-answer-ever"),
        pytest.param(looked_at(waiting_on=("answer",)), id="no-answer"),
        pytest.param(Progress(2, 2, PROCESSING, ("asset",)), id="never-found-waiting"),
        pytest.param(looked_at(seen=None), id="found-waiting-but-never-seen"),
        pytest.param(looked_at(seen=LastSeen("missing"), waiting_on=("visibility",)), id="not-visible"),
        pytest.param(looked_at(seen=LastSeen("processing", **VIDEO)), id="never-seen-without-stream"),
        pytest.param(looked_at(seen=LastSeen("processing", SHOWN)), id="other-class"),
        pytest.param(
            msgspec.structs.replace(
                looked_at(seen=READY, waiting_on=("hls",), ready_ago=9.0, polls=2), head_start=500.0
            ),
            id="ready-long-before",
        ),
    ],
)
def test_it_is_not_known(taught, progress):
    assert left(taught, progress, age=10.0) is None


def test_schedules_that_do_not_learn_know_nothing():
    assert left(SCHEDULE, looked_at(), age=40.0) is None


@pytest.mark.parametrize(("before", "head_start"), [(60.0, 60.0), (4.0, 0.0), (-300.0, -300.0), (None, 0.0)])
def test_the_age_of_an_asset_that_was_not_new_counts_from_its_creation(taught, before, head_start):
    created = {} if before is None else {"created_at": _instant(NOW - 20.0 - before)}
    shown = seen(**VIDEO, hls={"status": "pending"}, **created)
    step = decided(lease(age=20.0), shown)
    assert isinstance(step, Defer)
    assert step.progress.head_start == head_start
    assert step.look.head_start == head_start
    again = decided(lease(age=30.0, progress=step.progress), seen(**VIDEO))
    assert again.progress.head_start == head_start, "the first look decides"
    if head_start > 0:
        assert left(taught, step.progress, age=20.0).p50 == around(320)


def _instant(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def test_what_is_kept_in_a_queue_is_enough(taught):
    state = PendingState(NOW - 40.0, 1, looked_at(), 0.0, Options(deadline=90.0))
    found = make_time_left(Expectations(), taught)(ID, state, NOW)
    assert found is not None
    assert found.p90 == 50.0
