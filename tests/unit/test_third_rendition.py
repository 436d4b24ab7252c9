"""A rendition that only the table has: everything else treats it as the two that there are."""

from __future__ import annotations

import json
from contextlib import closing

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.assets import (
    Ages,
    Done,
    Expectations,
    Outcome,
    Unanswered,
    WaitFor,
    Waiting,
    assess,
)
from asset_worker.domain.events import rejected
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.renditions import RENDITIONS, Rendition
from asset_worker.domain.submissions import Options, Rejection, Submission, expectations_for
from asset_worker.intake.lines import parse
from asset_worker.intake.splitter import Line
from asset_worker.poller.changes import Changes
from asset_worker.poller.decide import Defer, Settle, samples
from asset_worker.poller.evidence import Worth, worth_of
from asset_worker.queue.local.journal import Journal
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import from_bytes, to_bytes
from asset_worker.schedule.report import rows
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import open_local
from tests.doubles.looks import ID, NOW, decided, lease, seen

READY = {"status": "ready"}


@pytest.fixture(autouse=True)
def subtitles(monkeypatch):
    """A row for `subtitles`, whose statuses are called otherwise than those of the others."""
    row = Rendition(unfinished=frozenset({"queued"}), succeeded=frozenset({"done"}), failed=frozenset({"broken"}))
    monkeypatch.setitem(RENDITIONS, "subtitles", row)


def shown(status, **more):
    """A ready asset whose subtitles have this status; None: they are not shown."""
    return seen("ready", **({} if status is None else {"subtitles": {"status": status}}), **more)


@pytest.mark.parametrize(
    ("status", "wait_for", "verdict"),
    [
        (None, "if_requested", Done(Outcome.READY)),
        ("queued", "if_requested", Waiting(("subtitles",), 3600.0)),
        ("done", "if_requested", Done(Outcome.READY)),
        ("broken", "if_requested", Done(Outcome.DEGRADED, "subtitles ended in broken")),
        ("ready", "if_requested", Waiting(("subtitles",), 3600.0)),
        (None, "required", Waiting(("subtitles",), 3600.0)),
        ("queued", "ignore", Done(Outcome.READY)),
        ("broken", "ignore", Done(Outcome.READY)),
    ],
)
def test_it_is_assessed(status, wait_for, verdict):
    expectations = Expectations(wait_for={"subtitles": WaitFor(wait_for)})
    assert assess(shown(status, hls=READY), expectations, Ages(1.0, 0.0)) == verdict


def test_it_is_awaited_by_default():
    assert Expectations().wait_for["subtitles"] is WaitFor.IF_REQUESTED


@pytest.mark.parametrize(
    ("value", "status", "oddity"),
    [
        ("done", "done", "subtitles is a text"),
        ("https://x.example/subtitles", None, "subtitles is a text"),
        ({}, None, "subtitles.status is null"),
        ({"status": 1}, None, "subtitles.status is a number"),
        ([], None, "subtitles is a list"),
    ],
    ids=str,
)
def test_one_of_another_type_is_odd(value, status, oddity):
    asset = seen("ready", subtitles=value)
    assert (asset.renditions.get("subtitles"), asset.oddities) == (status, (oddity,))


def line(**document):
    raw = json.dumps({"asset_id": ID, **document}).encode()
    return parse(Line(raw, 0, len(raw)), number=1, origin="stdin", stream="s")


def test_a_queue_line_may_require_it():
    submission = line(wait_for={"subtitles": "required", "hls": "ignore"})
    assert isinstance(submission, Submission)
    expectations = expectations_for(submission.options, Expectations())
    assert expectations.wait_for == {
        "hls": WaitFor.IGNORE,
        "thumbnail": WaitFor.IF_REQUESTED,
        "subtitles": WaitFor.REQUIRED,
    }


def test_a_rejected_line_is_answered_with_all_names():
    found = line(wait_for={"chapters": "required"})
    assert isinstance(found, Rejection)
    assert found.reason == "wait_for must be an object with hls, thumbnail, subtitles, or several"


async def test_the_journal_keeps_it(tmp_path):
    options = Options(wait_for={"subtitles": WaitFor.REQUIRED})
    queue = open_local(tmp_path / "j", ManualClock())
    await queue.put([Submission(ID, "stdin", 1, options)], events=(), intake="i", position=None)
    [taken] = await queue.take(1)
    step = decided(taken, shown("queued", hls=READY))
    assert isinstance(step, Defer)
    assert step.progress.last_seen == LastSeen("ready", {"hls": "ready", "subtitles": "queued"})
    await queue.defer(taken, 0.0, step.progress)
    await queue.close()
    with closing(Journal(tmp_path / "j")) as journal:
        [row] = journal.pending()
    assert (row.submission.options, row.progress) == (options, step.progress)


def test_events_have_it():
    settled = decided(lease(ready_age=10.0), shown("done", thumbnail={"status": "error"}))
    assert isinstance(settled, Settle)
    assert json.loads(settled.event.body)["data"]["renditions"] == {
        "hls": None,
        "thumbnail": "error",
        "subtitles": "done",
    }
    never = rejected(Rejection("stdin", 1, "no", b"x", "k"), at=0.0, source="s")
    assert json.loads(never.body)["data"]["renditions"] == {"hls": None, "thumbnail": None, "subtitles": None}


def test_an_event_without_an_answer_has_it_as_it_was_last_seen():
    before = Progress(last_seen=LastSeen("ready", {"subtitles": "queued"}), ready_at=NOW - 10)
    step = decided(
        lease(ready_age=10.0, progress=before),
        Unanswered("503"),
        expectations=Expectations(deadline=5, unanswered_factor=1),
    )
    assert isinstance(step, Settle)
    data = json.loads(step.event.body)["data"]
    assert data["asset"] == {"_id": ID, "status": "ready", "subtitles": {"status": "queued"}}


def test_a_list_that_takes_it_back_is_not_acted_on():
    before = Progress(last_seen=LastSeen("ready", {"subtitles": "done", "hls": "pending"}), ready_at=NOW - 10)
    found = lease(ready_age=10.0, progress=before)
    hls = {"status": "pending"}
    for status, may_act in (("queued", False), (None, False), ("done", True)):
        observation = shown(status, hls=hls)
        after = decided(found, observation, is_retrieve=False).progress
        worth = worth_of(observation, before, after, Expectations(), is_over=False, now=NOW)
        assert (worth is Worth.STATE) is may_act


def test_its_changes_are_logged():
    changes = Changes()
    with capture_logs() as logs:
        changes.log(ID, LastSeen("ready", {"subtitles": "queued"}), LastSeen("ready", {"subtitles": "ready"}))
    assert [(log["event"], log["what"]) for log in logs] == [
        ("asset.changed", "subtitles"),
        ("api.unknown_status", "subtitles"),
    ]


def test_the_schedule_learns_how_long_it_takes():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    begun = Progress(waiting_on=("subtitles",), ready_at=NOW - 20, waiting_at=NOW - 20, last_seen=LastSeen("ready"))
    later = msgspec.structs.replace(begun, waiting_at=NOW - 2)
    for _ in range(40):
        for progress, age, status, expected in (
            (begun, 18.0, "queued", (0.0, ())),
            (later, 20.0, "done", (18.0, ("subtitles",))),
        ):
            observation = shown(status, file_type="video/mp4", method="direct")
            [sample] = samples(lease(ready_age=age, progress=progress), observation, held=0.0, wall_offset=0.0)
            assert (sample.since, sample.ended) == expected
            schedule.observe(sample.look, since=sample.since, ended=sample.ended)
    learned = schedule.learned()
    assert from_bytes(to_bytes(learned)) == learned
    again = AdaptiveSchedule(learned, initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    [row] = rows(again)
    assert row.name == "subtitles video/mp4 direct"
    assert 15 < row.p50 < 25
