"""The next look at a pending asset, from what is kept about it."""

from __future__ import annotations

import pytest

from asset_worker.domain.assets import Expectations
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options
from asset_worker.poller.foresight import NextLook, next_look
from asset_worker.schedule.ports import WaitState
from tests.doubles.looks import NOW, lease

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
