"""How old things are at the end of a look: the time for which its lease was held counts."""

from __future__ import annotations

import json

import pytest

from asset_worker.domain.assets import Ages, Expectations, Missing, Outcome
from asset_worker.domain.events import timestamp
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.poller.decide import Defer, Settle, ages_of, decide
from tests.doubles.looks import NOW, SCHEDULE, lease, seen

RENDITIONS_UNDER_WAY = seen("ready", hls={"status": "processing"})
CERTAIN = Progress(polls=8, ready_at=NOW - 3590, ready_is_certain=True)
"""A retrieve has shown `ready`."""
VANISHED = Progress(polls=8, last_seen=LastSeen("missing", was="processing"), missing_at=NOW - 50)


def step_after(taken, observation, *, held, is_retrieve=True):
    return decide(
        taken,
        observation,
        held=held,
        is_retrieve=is_retrieve,
        expectations=Expectations(rendition_deadline=3600, not_found_grace=60),
        schedule=SCHEDULE,
        now=NOW,
        wall_offset=0.0,
        source="s",
        redact=lambda text: text,
    )


@pytest.mark.parametrize(
    ("taken", "observation", "ages"),
    [
        pytest.param(lease(age=10.0), seen(), Ages(17.0), id="since acceptance"),
        pytest.param(lease(age=10.0), seen("ready"), Ages(17.0, ready=0.0), id="first seen ready"),
        pytest.param(lease(age=10.0, ready_age=4.0), seen("ready"), Ages(17.0, ready=11.0), id="since ready"),
        pytest.param(lease(age=10.0, ready_age=4.0), seen(), Ages(17.0), id="ready was taken back"),
        pytest.param(lease(age=10.0, ready_age=4.0), seen("failed"), Ages(17.0, ready=11.0), id="failed after ready"),
        pytest.param(lease(age=10.0), Missing(), Ages(17.0), id="missing and never seen"),
        pytest.param(
            lease(age=10.0, missing_age=4.0, progress=VANISHED), Missing(), Ages(17.0, missing=11.0), id="since missing"
        ),
        pytest.param(lease(age=10.0, missing_age=4.0, progress=VANISHED), seen(), Ages(17.0), id="back again"),
    ],
)
def test_ages_include_the_seconds_for_which_the_lease_was_held(taken, observation, ages):
    assert ages_of(taken, observation, held=7.0) == ages


def test_the_time_that_a_look_took_counts_toward_the_rendition_deadline():
    taken = lease(age=4000.0, ready_age=3590.0, progress=CERTAIN)
    assert isinstance(step_after(taken, RENDITIONS_UNDER_WAY, held=9.0), Defer)
    step = step_after(taken, RENDITIONS_UNDER_WAY, held=10.0)
    assert isinstance(step, Settle)
    assert step.verdict.outcome is Outcome.DEGRADED


def test_the_first_retrieve_that_shows_ready_starts_the_time_of_the_renditions_anew():
    """Only a list has shown it ready so far, perhaps too early."""
    taken = lease(age=9000.0, ready_age=8000.0, progress=Progress(polls=8, ready_at=NOW - 8000))
    step = step_after(taken, RENDITIONS_UNDER_WAY, held=0.0)
    assert isinstance(step, Defer)
    assert (step.progress.ready_at, step.progress.ready_is_certain) == (NOW, True)
    assert step.look.age == 0.0
    step = step_after(taken, seen("ready", hls={"status": "ready"}), held=0.0)
    assert isinstance(step, Settle)
    assert json.loads(step.event.body)["data"]["ready_at"] == timestamp(NOW - 8000)


def test_a_list_leaves_the_time_of_the_renditions_uncertain():
    step = step_after(lease(), RENDITIONS_UNDER_WAY, held=0.0, is_retrieve=False)
    assert (step.progress.ready_at, step.progress.ready_is_certain) == (NOW, False)
    step = step_after(lease(ready_age=9.0, progress=step.progress), RENDITIONS_UNDER_WAY, held=0.0, is_retrieve=False)
    assert (step.progress.ready_at, step.progress.ready_is_certain) == (NOW, False)
    assert step.look.age == 9.0


def test_a_retrieve_that_shows_it_in_process_takes_ready_back():
    before = Progress(polls=8, ready_at=NOW - 9, ready_is_certain=True)
    step = step_after(lease(ready_age=9.0, progress=before), seen(), held=0.0)
    assert (step.progress.ready_at, step.progress.ready_is_certain) == (None, False)
    assert step.look.phase == "asset"


def test_the_time_that_a_look_took_counts_toward_the_grace_of_an_asset_that_vanished():
    taken = lease(age=4000.0, missing_age=50.0, progress=VANISHED)
    assert isinstance(step_after(taken, Missing(), held=9.0), Defer)
    step = step_after(taken, Missing(), held=10.0)
    assert isinstance(step, Settle)
    assert step.verdict.outcome is Outcome.NOT_FOUND


def test_a_retrieve_that_shows_it_failed_says_nothing_about_when_it_became_ready():
    before = Progress(polls=8, ready_at=NOW - 9)
    step = step_after(lease(ready_age=9.0, progress=before), seen("failed"), held=0.0)
    assert (step.progress.ready_at, step.progress.ready_is_certain) == (NOW - 9, False)


def test_a_retrieve_after_one_that_showed_ready_starts_nothing_anew():
    """Otherwise no deadline of the renditions would ever come."""
    step = step_after(lease(age=4000.0, ready_age=3590.0, progress=CERTAIN), RENDITIONS_UNDER_WAY, held=0.0)
    assert (step.progress.ready_at, step.progress.ready_is_certain) == (CERTAIN.ready_at, True)
    assert step.look.age == 3590.0
