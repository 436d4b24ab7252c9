"""The next look at a pending asset, from what is kept about it."""

from __future__ import annotations

import pytest

from asset_worker.domain.assets import AssetId, Expectations
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.poller.foresight import NextLook, as_lease, next_look
from asset_worker.queue.ports import Lease
from asset_worker.schedule.ports import WaitState
from tests.doubles.looks import ID, NOW, lease

PROCESSING = LastSeen("processing", file_type="video/mp4", method="direct")


def foreseen(progress: Progress, *, age: float = 100.0, delay: float = 10.0, **options: float) -> NextLook:
    seen: list[WaitState] = []

    def schedule(look: WaitState) -> float:
        seen.append(look)
        return delay

    kept = lease(
        age=age,
        ready_age=None if progress.ready_at is None else NOW - progress.ready_at,
        missing_age=None if progress.missing_at is None else NOW - progress.missing_at,
        progress=progress,
        options=Options(**options) if options else None,
    )
    return next_look(kept, expectations=Expectations(), schedule=schedule)


def test_a_new_asset_is_due_at_once() -> None:
    assert foreseen(Progress()) == NextLook(0.0, None, 0.0, is_deadline=False)


def test_the_delay_counts_from_the_look_before() -> None:
    found = foreseen(Progress(polls=5, phase_polls=4, last_seen=PROCESSING, waiting_on=("asset",), waiting_at=NOW - 3))
    assert (found.due_in, found.delay, found.is_deadline) == (7, 10, False)
    assert found.wait == WaitState(attempt_number=4, age=97.0, file_type="video/mp4", method="direct")


def test_what_was_due_while_no_worker_ran_is_due() -> None:
    found = foreseen(Progress(polls=5, last_seen=PROCESSING, waiting_on=("asset",), waiting_at=NOW - 60))
    assert found.due_in == -50


def test_renditions_are_counted_from_ready() -> None:
    found = foreseen(
        Progress(
            polls=5,
            phase_polls=2,
            last_seen=LastSeen("ready", {"hls": "processing"}, "video/mp4", "direct"),
            waiting_on=("hls",),
            ready_at=NOW - 20,
            waiting_at=NOW - 5,
        )
    )
    assert found.wait is not None
    assert (found.wait.phase, found.wait.age, found.wait.waiting_on) == ("renditions", 15, ("hls",))
    assert found.due_in == 5


@pytest.mark.parametrize(
    ("progress", "options", "due_in"),
    [
        pytest.param(
            Progress(polls=5, last_seen=PROCESSING, waiting_on=("asset",), waiting_at=NOW - 3),
            {"deadline": 104.0},
            4.0,
            id="deadline",
        ),
        pytest.param(
            Progress(polls=5, last_seen=LastSeen("missing"), waiting_on=("visibility",), waiting_at=NOW - 45),
            {},
            -40.0,
            id="not-found-grace",
        ),
        pytest.param(
            Progress(
                polls=5,
                last_seen=LastSeen("missing", was="processing"),
                waiting_on=("visibility",),
                missing_at=NOW - 58,
                waiting_at=NOW - 3,
            ),
            {},
            2.0,
            id="grace-of-one-seen-before",
        ),
    ],
)
def test_the_end_of_a_deadline_or_a_grace_comes_first(progress: Progress, options: dict[str, float], due_in: float):
    found = foreseen(progress, **options)
    assert found.due_in == pytest.approx(due_in)
    assert found.is_deadline


def test_without_an_answer_the_delay_counts_from_now() -> None:
    found = foreseen(Progress(polls=2, phase_polls=2, waiting_on=("answer",)))
    assert found.due_in == 10
    assert found.wait is not None
    assert found.wait.waiting_on == ("answer",)


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param(Progress(polls=2, waiting_on=("answer",), last_seen=PROCESSING, waiting_at=NOW - 50), id="seen"),
        pytest.param(Progress(polls=2), id="never-answered"),
    ],
)
def test_after_a_look_without_an_answer_the_wait_is_for_one_and_lasts_the_whole_delay(progress: Progress) -> None:
    """Past its deadline, too: what is known of it ends only when it is unanswered for longer."""
    found = foreseen(progress, deadline=90.0)
    assert (found.due_in, found.delay, found.is_deadline) == (10, 10, False)
    assert found.wait is not None
    assert (found.wait.age, found.wait.waiting_on) == (100, ("answer",))


def test_the_grace_of_a_missing_asset_bounds_no_delay_of_one_that_is_seen() -> None:
    progress = Progress(polls=5, last_seen=PROCESSING, waiting_on=("asset",), waiting_at=NOW - 3)
    found = foreseen(progress, delay=1000.0)
    assert (found.due_in, found.is_deadline) == (997, False)


def test_an_asset_past_its_deadline_was_due_at_the_look_before() -> None:
    """The deadline may have been another one at that look."""
    progress = Progress(polls=5, last_seen=PROCESSING, waiting_on=("asset",), waiting_at=NOW - 3)
    found = foreseen(progress, deadline=50.0)
    assert (found.due_in, found.delay, found.is_deadline) == (-3, 0, True)


def test_a_look_that_the_schedule_plans_for_the_deadline_itself_is_no_deadlines() -> None:
    progress = Progress(polls=5, last_seen=PROCESSING, waiting_on=("asset",), waiting_at=NOW)
    assert foreseen(progress, delay=10.0, deadline=110.0).is_deadline is False
    assert foreseen(progress, delay=10.5, deadline=110.0).is_deadline is True


@pytest.mark.parametrize(
    ("now", "ages"),
    [
        pytest.param(NOW, (30.0, 20.0, 10.0), id="later"),
        pytest.param(NOW - 100, (0.0, 0.0, 0.0), id="the-clock-has-gone-back"),
    ],
)
def test_what_is_kept_about_an_asset_shows_how_old_it_is_and_nothing_is_younger_than_new(
    now: float, ages: tuple[float, float, float]
) -> None:
    options, progress = Options(deadline=9.0), Progress(ready_at=NOW - 20, missing_at=NOW - 10)
    found = as_lease(AssetId(ID), options=options, accepted_at=NOW - 30, progress=progress, now=now)
    assert found == Lease(Submission(AssetId(ID), "", 0, options), NOW - 30, *ages, 1, progress)


def test_what_was_never_ready_or_missing_has_no_such_age() -> None:
    found = as_lease(AssetId(ID), options=None, accepted_at=NOW - 30, progress=Progress(), now=NOW)
    assert (found.age, found.ready_age, found.missing_age) == (30.0, None, None)
