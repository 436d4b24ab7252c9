"""When the growth of the delays begins afresh."""

from __future__ import annotations

import pytest

from tests.unit.poller.test_loop import concluded, lease, seen
from worker.assets import Missing, Unanswered
from worker.poller.conclude import Defer
from worker.queue import Progress, Sighting


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(Progress(polls=9, phase_polls=9, sighting=Sighting("missing")), id="after-404s"),
        pytest.param(Progress(polls=9, phase_polls=9), id="after-looks-without-an-answer"),
    ],
)
@pytest.mark.parametrize("status", ["processing", "ready"])
def test_an_asset_that_is_first_seen_gets_a_fresh_start_of_the_schedule(before: Progress, status: str) -> None:
    """What was waited for until then was its visibility, or an answer, and not its processing."""
    step = concluded(lease(progress=before), seen(status, hls={"status": "processing"}))
    assert isinstance(step, Defer)
    assert (step.progress.polls, step.progress.phase_polls, step.delay) == (10, 1, 2)
    ready_age = 2.0 if status == "ready" else None
    again = concluded(lease(progress=step.progress, ready_age=ready_age), seen(status, hls={"status": "processing"}))
    assert (again.progress.phase_polls, again.delay) == (2, 3)


@pytest.mark.parametrize(
    "sighting", [Sighting("processing"), Sighting("missing", was="processing")], ids=["seen", "gone-for-a-while"]
)
def test_one_that_was_seen_before_gets_none(sighting: Sighting) -> None:
    before = Progress(polls=9, phase_polls=3, sighting=sighting)
    assert concluded(lease(progress=before), seen()).progress.phase_polls == 4


def test_waits_for_visibility_and_for_an_answer_grow_as_others_do() -> None:
    delays, progress = [], Progress()
    for sight in (Missing(), Missing(), Unanswered("503"), Unanswered("503")):
        step = concluded(lease(age=1.0, progress=progress), sight)
        progress = step.progress
        delays.append(step.delay)
    assert delays == [2, 3, 4.5, 6.75]
