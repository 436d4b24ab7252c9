"""Which steps one look reports, and when a wait is overdue: what `decide` returns."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.domain.assets import Expectations, Missing, Unanswered
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options
from asset_worker.poller.decide import Defer, Settle
from tests.doubles.looks import decided, lease, seen

HLS = {"hls": {"status": "processing"}}
DONE = {"hls": {"status": "ready"}, "thumbnail": {"status": "ready"}}


def names(step):
    return [event.id.rsplit(".", 1)[1] for event in step.steps]


def look(observation, progress=None, **options):
    return decided(lease(progress=progress), observation, transitions=True, **options)


def test_a_look_reports_what_it_is_the_first_to_see():
    step = look(seen("ready", **HLS, thumbnail={"status": "ready"}))
    assert names(step) == ["processed", "thumbnail_ready"]
    assert step.progress.announced == ("processed", "thumbnail_ready")


def test_nothing_is_reported_twice_even_if_it_was_taken_back():
    progress = look(seen("ready", **HLS)).progress
    for observation in (seen("processing"), Missing(), Unanswered("why"), seen("ready", **HLS)):
        step = look(observation, progress)
        assert names(step) == []
        progress = step.progress
    assert progress.announced == ("processed",)


def test_the_look_that_settles_reports_the_steps_that_it_is_the_first_to_see():
    step = look(seen("ready", **DONE), Progress(announced=("processed",)))
    assert isinstance(step, Settle)
    assert names(step) == ["playable", "thumbnail_ready"]


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(seen("failed", **DONE), id="an asset that failed"),
        pytest.param(Missing(), id="a 404"),
        pytest.param(Unanswered("why"), id="no answer"),
    ],
)
def test_what_shows_no_step_reports_none(observation):
    last = LastSeen("ready", {"hls": "ready"})
    assert names(look(observation, Progress(last_seen=last))) == []


def test_without_transitions_no_step_is_reported_or_remembered():
    step = decided(lease(), seen("ready", **HLS))
    assert (names(step), step.progress.announced) == ([], ())


def test_a_degraded_asset_reports_the_renditions_that_are_ready():
    expectations = Expectations(rendition_deadline=5)
    waiting = lease(ready_age=10.0, progress=Progress(ready_at=1.0, ready_is_certain=True, announced=("processed",)))
    observation = seen("ready", **HLS, thumbnail={"status": "ready"})
    step = decided(waiting, observation, expectations=expectations, transitions=True)
    assert isinstance(step, Settle)
    assert (step.verdict.outcome, names(step)) == ("degraded", ["thumbnail_ready"])


def overdue(observation, *, age, p99, progress=None, transitions=True, options=None):
    asked = []

    def slow_after(look):
        asked.append(look)
        return p99

    found = lease(age=age, progress=progress, options=options)
    return decided(found, observation, transitions=transitions, slow_after=slow_after), asked


def test_a_wait_past_the_p99_of_its_class_is_overdue_once():
    step, [asked] = overdue(seen(), age=30.1, p99=30.0)
    assert (names(step), step.slow_after, asked.age) == (["overdue"], 30.0, 30.1)
    again, asked = overdue(seen(), age=90.0, p99=30.0, progress=step.progress)
    assert (names(again), again.slow_after, asked) == ([], None, [])


@pytest.mark.parametrize(
    ("age", "p99"), [pytest.param(30.0, 30.0, id="not past it"), pytest.param(900.0, None, id="too few seen")]
)
def test_a_wait_that_is_not_known_to_be_slow_is_not_overdue(age, p99):
    step, _ = overdue(seen(), age=age, p99=p99)
    assert (names(step), step.slow_after, step.progress.announced) == ([], None, ())


@pytest.mark.parametrize(("age", "steps"), [(86_430.0, []), (86_430.1, ["overdue"])])
def test_an_asset_with_a_grace_of_its_own_may_have_been_uploaded_at_the_end_of_it(age, steps):
    step, _ = overdue(seen(), age=age, p99=30.0, options=Options(not_found_grace=86_400.0))
    assert names(step) == steps


def test_renditions_are_not_later_for_a_grace():
    ready = Progress(ready_at=1.0, ready_is_certain=True)
    found = lease(age=90_000.0, ready_age=31.0, progress=ready, options=Options(not_found_grace=86_400.0))
    waiting = seen("ready", hls={"status": "processing"})
    assert "overdue" in names(decided(found, waiting, transitions=True, slow_after=lambda look: 30.0))


@pytest.mark.parametrize("observation", [Missing(), Unanswered("why")], ids=["missing", "unanswered"])
def test_only_a_look_that_shows_the_asset_waiting_finds_it_overdue(observation):
    last = LastSeen("processing")
    step, asked = overdue(observation, age=40.0, p99=30.0, progress=Progress(last_seen=last))
    assert isinstance(step, Defer)
    assert (step.slow_after, asked) == (None, [])
    settled, _ = overdue(seen("ready"), age=40.0, p99=30.0)
    assert (names(settled), isinstance(settled, Settle)) == ([], True)


def test_without_transitions_an_overdue_wait_is_found_once_and_makes_no_event():
    step, _ = overdue(seen(), age=31.0, p99=30.0, transitions=False)
    assert (step.steps, step.slow_after, step.progress.announced) == ((), 30.0, ("overdue",))


def test_the_progress_that_records_the_steps_can_be_stored():
    progress = look(seen("ready", **HLS)).progress
    assert msgspec.json.decode(msgspec.json.encode(progress), type=Progress) == progress
