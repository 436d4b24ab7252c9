"""What is decided from one look."""

from __future__ import annotations

import json

import pytest

from asset_worker.domain.assets import Ages, Expectations, Missing, Outcome, Unanswered
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options
from asset_worker.poller.decide import Defer, Settle, ages_of, late_start_of, wait_state
from asset_worker.runtime.redaction import REDACTED, Secrets
from tests.doubles.looks import ID, NOW, decided, lease, seen


def test_the_schedule_says_when_to_look_again():
    delays = []
    progress = Progress()
    for _ in range(9):
        step = decided(lease(progress=progress), seen())
        progress = step.progress
        delays.append(round(step.delay, 3))
    assert delays == [2, 3, 4.5, 6.75, 10.125, 15.188, 22.781, 30, 30]
    assert progress.polls == 9
    assert progress.waiting_on == ("asset",)


def test_ready_gives_the_renditions_a_fresh_start_of_the_schedule():
    before = Progress(polls=8, phase_polls=8, last_seen=LastSeen("processing"))
    step = decided(lease(progress=before), seen("ready", hls={"status": "processing"}))
    assert isinstance(step, Defer)
    assert step.delay == 2
    assert (step.progress.polls, step.progress.phase_polls, step.progress.ready_at) == (9, 1, NOW)
    again = decided(lease(progress=step.progress, ready_age=2.0), seen("ready", hls={"status": "processing"}))
    assert (again.delay, again.progress.ready_at) == (3, NOW)


def test_one_that_was_seen_before_is_gone_only_when_it_stays_away_for_the_grace():
    before = Progress(polls=8, phase_polls=8, last_seen=LastSeen("processing"))
    first = decided(lease(age=500.0, progress=before), Missing())
    assert isinstance(first, Defer)
    assert (first.progress.missing_at, first.progress.waiting_on) == (NOW, ("visibility",))
    assert first.progress.last_seen == LastSeen("missing", was="processing")
    assert ages_of(lease(age=500.0, progress=before), Missing(), held=0.0).missing == 0.0
    assert isinstance(decided(lease(age=559.0, missing_age=59.0, progress=first.progress), Missing()), Defer)
    back = decided(lease(age=559.0, missing_age=59.0, progress=first.progress), seen())
    assert back.progress.missing_at is None
    gone = decided(lease(age=560.0, missing_age=60.0, progress=first.progress), Missing())
    assert isinstance(gone, Settle)
    assert gone.verdict.outcome is Outcome.NOT_FOUND
    data = json.loads(gone.event.body)["data"]
    assert data["asset"] == {"_id": ID, "status": "processing"}
    never_seen = Progress(polls=8, phase_polls=8, last_seen=LastSeen("missing"))
    assert isinstance(decided(lease(age=60.0, progress=never_seen), Missing()), Settle)


def test_the_time_without_an_asset_is_counted_from_the_first_404_after_it_was_seen():
    """Counted anew at each look, the grace would never end."""
    before = Progress(last_seen=LastSeen("missing", was="processing"), missing_at=NOW - 30)
    assert decided(lease(missing_age=30.0, progress=before), Missing()).progress.missing_at == NOW - 30


def test_what_an_asset_was_before_it_was_missing_stays_known_while_it_is():
    before = Progress(last_seen=LastSeen("missing", was="processing"), missing_at=NOW - 30)
    step = decided(lease(missing_age=30.0, progress=before), Missing())
    assert step.progress.last_seen == LastSeen("missing", was="processing")


def test_one_that_was_never_seen_is_not_gone():
    """Its grace is counted from the acceptance."""
    first = decided(lease(), Missing())
    assert (first.progress.missing_at, first.progress.last_seen) == (None, LastSeen("missing"))
    assert decided(lease(progress=first.progress), Missing()).progress.missing_at is None


def test_a_look_is_due_when_a_deadline_can_decide():
    step = decided(lease(age=14399.0, progress=Progress(phase_polls=20)), seen())
    assert step.delay == pytest.approx(1.0)
    step = decided(lease(age=59.5, progress=Progress(phase_polls=20)), Missing())
    assert step.delay == pytest.approx(0.5)


def test_the_time_that_a_look_took_counts():
    assert isinstance(decided(lease(age=59.0), Missing()), Defer)
    assert isinstance(decided(lease(age=59.0), Missing(), held=1.0), Settle)


def test_a_submissions_own_deadline_outweighs_the_default():
    step = decided(lease(age=5.0, options=Options(deadline=4.0)), seen())
    assert step.verdict.outcome is Outcome.TIMED_OUT


def test_a_look_without_an_answer_is_not_one_that_saw_it_waiting():
    before = Progress(polls=1, last_seen=LastSeen("processing"), waiting_at=NOW - 50)
    step = decided(lease(progress=before), Unanswered("503"))
    assert step.progress.waiting_at == NOW - 50
    assert step.progress.last_seen == LastSeen("processing")


def test_an_event_without_an_answer_shows_the_asset_as_it_was_last_seen():
    last_seen = LastSeen("ready", {"hls": "processing", "thumbnail": "ready"}, "video/mp4", "url")
    before = Progress(polls=8, last_seen=last_seen, ready_at=NOW - 100)
    expectations = Expectations(deadline=5, unanswered_factor=1)
    step = decided(lease(ready_age=100.0, progress=before), Unanswered("503"), expectations=expectations)
    assert isinstance(step, Settle)
    data = json.loads(step.event.body)["data"]
    assert data["renditions"] == {"hls": "processing", "thumbnail": "ready"}
    assert data["asset"] == {
        "_id": ID,
        "status": "ready",
        "file_type": "video/mp4",
        "method": "url",
        "hls": {"status": "processing"},
        "thumbnail": {"status": "ready"},
    }


def test_the_wait_that_the_server_asks_for_is_kept():
    assert decided(lease(), Unanswered("429", 77.0)).delay == 77.0


@pytest.mark.parametrize(
    ("age", "factor", "delay"),
    [
        pytest.param(1.0, 1.0, 4.0, id="to a strict deadline"),
        pytest.param(1.0, 2.0, 4.0, id="to a deadline"),
        pytest.param(7.0, 2.0, 3.0, id="to the age limit"),
    ],
)
def test_the_wait_that_the_server_asks_for_ends_at_the_next_deadline(age: float, factor: float, delay: float) -> None:
    expectations = Expectations(deadline=5.0, unanswered_factor=factor)
    assert decided(lease(age=age), Unanswered("429", 3600.0), expectations=expectations).delay == delay


def test_an_answer_asks_for_no_wait():
    assert decided(lease(), seen(), schedule=lambda _: 0.25).delay == 0.25


def test_an_asset_that_is_ready_at_its_first_look_became_so_then():
    step = decided(lease(), seen("ready"))
    assert json.loads(step.event.body)["data"]["ready_at"] == "2026-11-23T14:00:00.000Z"


def test_the_key_is_neither_in_the_event_nor_in_the_reason_that_people_see():
    secrets = Secrets()
    secrets.add("tlk_0123456789SECRET")
    failed = seen("failed", error={"message": "no tlk_0123456789SECRET"})
    step = decided(lease(), failed, redact=secrets.redact)
    assert step.verdict.reason == f"no {REDACTED}"
    assert b"SECRET" not in step.event.body


@pytest.mark.parametrize(
    ("options", "ready", "seconds"),
    [
        pytest.param(None, None, 0.0, id="no grace of its own"),
        pytest.param(Options(deadline=5.0), None, 0.0, id="other options"),
        pytest.param(Options(not_found_grace=600.0), None, 600.0, id="a grace of its own"),
        pytest.param(Options(not_found_grace=600.0), 1.0, 0.0, id="its renditions begin when it is ready"),
    ],
)
def test_an_asset_with_a_grace_of_its_own_may_have_begun_at_the_end_of_it(
    options: Options | None, ready: float | None, seconds: float
) -> None:
    look = wait_state(Progress(), Ages(accepted=10.0, ready=ready), ("asset",))
    assert late_start_of(lease(options=options), look) == seconds


@pytest.mark.parametrize(
    ("created_at", "head_start"),
    [
        pytest.param("2026-11-23T13:59:45.000Z", 0.0, id="new: 5 s apart"),
        pytest.param("2026-11-23T13:59:44.960Z", 5.0, id="more than 5 s before the acceptance"),
        pytest.param("2026-11-23T13:59:55.000Z", 0.0, id="new: created 5 s after it was accepted"),
        pytest.param("2026-11-23T13:59:59.960Z", -10.0, id="created long after it was accepted"),
        pytest.param("2026-11-23T13:58:09.680Z", 100.3, id="old, to a tenth of a second"),
    ],
)
def test_the_head_start_of_an_asset_that_is_not_new_is_kept(created_at: str, head_start: float) -> None:
    assert decided(lease(age=10.0), seen(created_at=created_at)).progress.head_start == head_start


def test_the_head_start_stays_that_of_the_first_look():
    before = Progress(last_seen=LastSeen("processing"), head_start=7.0)
    later = decided(lease(progress=before), seen(created_at="2026-11-23T13:00:00Z"))
    assert later.progress.head_start == 7.0


def test_the_event_describes_the_whole_wait():
    before = Progress(polls=6, phase_polls=2, ready_at=NOW - 20, waiting_at=NOW - 3)
    options = Options(metadata={"user": "ada"})
    step = decided(
        lease(age=100.0, ready_age=20.0, progress=before, options=options), seen("ready", hls={"status": "ready"})
    )
    data = json.loads(step.event.body)["data"]
    assert data["polls"] == 7
    assert data["ready_at"] == "2026-11-23T13:59:40.000Z"
    assert data["last_seen_waiting_at"] == "2026-11-23T13:59:57.000Z"
    assert data["submitted_at"] == "2026-11-23T13:58:20.000Z"
    assert data["submission"]["metadata"] == {"user": "ada"}


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(Progress(polls=9, phase_polls=9, last_seen=LastSeen("missing")), id="after-404s"),
        pytest.param(Progress(polls=9, phase_polls=9), id="after-looks-without-an-answer"),
    ],
)
@pytest.mark.parametrize("status", ["processing", "ready"])
def test_an_asset_that_is_first_seen_gets_a_fresh_start_of_the_schedule(before: Progress, status: str) -> None:
    """What was waited for until then was its visibility, or an answer, and not its processing."""
    step = decided(lease(progress=before), seen(status, hls={"status": "processing"}))
    assert isinstance(step, Defer)
    assert (step.progress.polls, step.progress.phase_polls, step.delay) == (10, 1, 2)
    ready_age = 2.0 if status == "ready" else None
    again = decided(lease(progress=step.progress, ready_age=ready_age), seen(status, hls={"status": "processing"}))
    assert (again.progress.phase_polls, again.delay) == (2, 3)


@pytest.mark.parametrize(
    "last_seen", [LastSeen("processing"), LastSeen("missing", was="processing")], ids=["seen", "gone-for-a-while"]
)
def test_one_that_was_seen_before_gets_none(last_seen: LastSeen) -> None:
    before = Progress(polls=9, phase_polls=3, last_seen=last_seen)
    assert decided(lease(progress=before), seen()).progress.phase_polls == 4


def test_waits_for_visibility_and_for_an_answer_grow_as_others_do() -> None:
    delays, progress = [], Progress()
    for observation in (Missing(), Missing(), Unanswered("503"), Unanswered("503")):
        step = decided(lease(age=1.0, progress=progress), observation)
        progress = step.progress
        delays.append(step.delay)
    assert delays == [2, 3, 4.5, 6.75]
