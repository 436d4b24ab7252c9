"""What looks teach a schedule: nothing that they do not show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.domain.assets import Missing, Unanswered
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.poller.decide import Defer, Sample, samples
from asset_worker.poller.feedback import Feedback
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import Renditions, WaitState
from tests.doubles.looks import NOW, decided, lease, seen

READY = seen("ready", file_type="video/mp4", method="direct")
PROCESSING = seen(file_type="video/mp4", method="direct")
WATCHED = Progress(polls=1, phase_polls=1, last_seen=LastSeen("processing"), waiting_on=("asset",), waiting_at=NOW - 4)


def learner() -> AdaptiveSchedule:
    return AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=Random(1).random)


def created(before_acceptance: float, age: float) -> str:
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=NOW - age - before_acceptance)
    return instant.isoformat().replace("+00:00", "Z")


def follow(
    schedule: AdaptiveSchedule,
    duration: float,
    *,
    head_start: float = 0.0,
    hls: float | None = None,
    until: float = 1e9,
) -> int:
    """The looks at one asset that ends `duration` seconds after its acceptance, and its stream `hls` later.

    It was created `head_start` seconds before. A wait that lasts longer than `until` seconds is left.
    """
    feedback, age, progress, looks = Feedback(schedule), 0.0, Progress(), 0
    ready_age = None
    while age <= until:
        document: dict[str, object] = {
            "file_type": "video/mp4",
            "method": "direct",
            "created_at": created(head_start, age),
        }
        if hls is not None:
            document["hls"] = {"status": "ready" if age >= duration + hls else "processing"}
        shown = seen("ready" if age >= duration else "processing", **document)
        taken = lease(age=age, ready_age=ready_age, progress=progress)
        step = decided(taken, shown, schedule=schedule)
        feedback.looked(taken, shown, held=0.0)
        looks += 1
        if not isinstance(step, Defer):
            break
        progress = _earlier(step.progress, step.delay)
        age += step.delay
        ready_age = None if progress.ready_at is None else NOW - progress.ready_at
    return looks


def _earlier(progress: Progress, seconds: float) -> Progress:
    """The progress as it looks that many seconds later, when it is `NOW` again."""
    instants = {name: getattr(progress, name) for name in ("ready_at", "missing_at", "waiting_at")}
    later = {name: instant - seconds for name, instant in instants.items() if instant is not None}
    return msgspec.structs.replace(progress, **later)


@pytest.mark.parametrize(
    ("progress", "observation"),
    [
        pytest.param(Progress(), READY, id="done-at-first-look"),
        pytest.param(Progress(), PROCESSING, id="waiting-at-first-look"),
        pytest.param(Progress(polls=1, last_seen=None, waiting_at=None), READY, id="first-answer"),
        pytest.param(
            Progress(polls=9, last_seen=LastSeen("missing"), waiting_on=("visibility",), waiting_at=NOW - 1),
            READY,
            id="first-seen-after-404",
        ),
        pytest.param(
            msgspec.structs.replace(WATCHED, last_seen=LastSeen("missing", was="processing")), READY, id="seen-again"
        ),
        pytest.param(msgspec.structs.replace(WATCHED, last_seen=None), READY, id="never-seen"),
        pytest.param(msgspec.structs.replace(WATCHED, waiting_at=None), READY, id="never-seen-waiting"),
        pytest.param(WATCHED, Missing(), id="missing"),
        pytest.param(WATCHED, Unanswered("timeout"), id="unanswered"),
    ],
)
def test_a_look_without_one_before_that_showed_the_asset_teaches_nothing(progress, observation):
    assert list(samples(lease(progress=progress), observation, held=0.0, wall_offset=0.0)) == []


def test_a_wait_is_watched_from_the_first_look_that_showed_the_asset():
    [sample] = samples(lease(age=10, progress=WATCHED), READY, held=1.0, wall_offset=0.0)
    assert (sample.since, sample.look.age, sample.ended) == (6, 11, ("asset",))


def test_a_sample_describes_the_wait_after_the_look():
    before = msgspec.structs.replace(WATCHED, phase_polls=3, last_seen=LastSeen("processing", {"hls": "pending"}))
    streaming = {"hls": {"status": "processing"}, "thumbnail": {"status": "ready"}}
    ready = seen("ready", file_type="video/mp4", method="url", **streaming)
    [sample] = samples(lease(age=10, progress=before), ready, held=0.0, wall_offset=0.0)
    look = WaitState(attempt_number=4, age=10.0, file_type="video/mp4", method="url", waiting_on=())
    assert sample == Sample(look, 6.0, ("asset",), Renditions(("hls",), ("hls",)))
    failed = seen("failed", **streaming)
    [sample] = samples(lease(age=10, progress=before), failed, held=0.0, wall_offset=0.0)
    assert sample.renditions == Renditions(("hls",), ()), "nobody waits for those of a failed asset"


@pytest.mark.parametrize(
    ("waiting_on", "shown", "goes_on", "ended"),
    [
        pytest.param(
            ("hls", "thumbnail"), {"hls": "processing", "thumbnail": "ready"}, ("hls",), ("thumbnail",), id="one"
        ),
        pytest.param(
            ("hls",), {"hls": "error", "thumbnail": "processing"}, (), ("hls",), id="only what was waited for"
        ),
        pytest.param(("answer",), {"hls": "ready"}, (), (), id="what the look without an answer waited for"),
    ],
)
def test_after_ready_each_rendition_that_was_waited_for_goes_on_or_has_ended(waiting_on, shown, goes_on, ended):
    before = msgspec.structs.replace(WATCHED, ready_at=NOW - 8, last_seen=LastSeen("ready"), waiting_on=waiting_on)
    document = {name: {"status": status} for name, status in shown.items()}
    [sample] = samples(
        lease(age=10, ready_age=8.0, progress=before), seen("ready", **document), held=0.0, wall_offset=0.0
    )
    assert (sample.look.phase, sample.look.age, sample.since) == ("renditions", 8.0, 4.0)
    assert (sample.look.waiting_on, sample.ended, sample.renditions) == (goes_on, ended, None)


def test_a_ready_that_is_taken_back_begins_the_age_of_the_renditions_anew():
    before = msgspec.structs.replace(WATCHED, ready_at=NOW - 8, last_seen=LastSeen("ready"), waiting_on=("hls",))
    [sample] = samples(lease(age=10, ready_age=8.0, progress=before), PROCESSING, held=0.0, wall_offset=0.0)
    assert (sample.since, sample.look.age, sample.ended) == (0.0, 0.0, ())


def test_a_wait_is_watched_from_its_beginning_at_the_earliest():
    """The clock was behind when the asset was looked at."""
    early = msgspec.structs.replace(WATCHED, waiting_at=NOW - 99)
    [sample] = samples(lease(age=10, progress=early), READY, held=1.0, wall_offset=0.0)
    assert (sample.since, sample.look.age) == (0, 11)


@pytest.mark.parametrize(
    ("document", "wall_offset", "head_start"),
    [
        ({"created_at": created(30, 10)}, 0.0, 30),
        ({"created_at": created(30, 10)}, 3600.0, 3630),
        ({"created_at": created(-30, 10)}, 0.0, -30),
        ({"created_at": "soon"}, 3600.0, 0),
        ({}, 3600.0, 0),
    ],
)
def test_a_head_start_is_by_the_wall_clock(document, wall_offset, head_start):
    [sample] = samples(lease(age=10, progress=WATCHED), seen(**document), held=1.0, wall_offset=wall_offset)
    assert sample.look.head_start == pytest.approx(head_start, abs=0.001)


@settings(max_examples=25, deadline=None)
@given(finished=st.lists(st.floats(0, 1e6), min_size=1, max_size=80), takes=st.floats(5, 600))
def test_an_upload_after_a_finished_library_costs_what_it_would_cost_without(finished, takes):
    taught = learner()
    for head_start in finished:
        assert follow(taught, 0.0, head_start=head_start) == 1
    assert follow(taught, takes) <= 1.2 * follow(learner(), takes) + 1


@settings(max_examples=25, deadline=None)
@given(
    old=st.lists(st.tuples(st.floats(600, 1e7), st.floats(0.5, 20), st.floats(0.5, 20)), min_size=1, max_size=60),
    takes=st.floats(5, 600),
)
def test_assets_created_long_before_teach_nothing_not_even_by_their_renditions(old, takes):
    taught = learner()
    for head_start, left, hls in old:
        follow(taught, left, head_start=head_start, hls=hls)
    assert set(taught.evidence().values()) <= {0.0}
    assert follow(taught, takes, hls=takes) <= 1.2 * follow(learner(), takes, hls=takes) + 1


def test_a_head_start_within_the_usual_duration_is_allowed():
    taught = learner()
    for _ in range(50):
        follow(taught, 60.0, head_start=20.0)
    assert sum(taught.evidence().values()) == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize("error", [-1e9, -3600, 3600, 1e9])
def test_a_wrong_wall_clock_only_stops_learning(error):
    taught = learner()
    for _ in range(50):
        follow(taught, 3.0, head_start=error)
    assert set(taught.evidence().values()) == {0.0}
    look = WaitState(attempt_number=3, age=5.0, file_type="video/mp4", method="direct")
    assert taught(look) == pytest.approx(4.5, rel=0.06)
