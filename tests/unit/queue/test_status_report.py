"""What `status` reads from a journal: ages, counts, and what each sink lacks."""

from __future__ import annotations

from contextlib import closing

import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.deliveries import Condition
from asset_worker.domain.events import Event, timestamp
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.queue.local.settled_rows import Settlement
from asset_worker.queue.local.status_report import (
    CompletedLine,
    ConditionLine,
    PendingAsset,
    PendingLine,
    RetryLine,
    StatusReport,
    read_asset,
    read_status,
)
from asset_worker.queue.outbox_readers import TRACES
from asset_worker.runtime.steady_time import Mark, Reading
from tests.doubles.clocks import ManualClock

WALL = 1_795_727_780.0
NOW = WALL - 3600.0
"""Steady time is an hour behind the wall clock."""
A, B, C, D, E = map(AssetId, "abcde")
LOOKED_AT = Progress(polls=2, last_seen=LastSeen("processing"), waiting_on=("hls", "thumbnail"))


@pytest.fixture
def clock():
    return ManualClock(WALL)


@pytest.fixture
def journal(tmp_path, clock):
    with closing(Journal(tmp_path / FILE_NAME)) as journal, journal.transaction():
        journal.set_clock_mark(Mark(NOW, Reading(clock.boot, clock.monotonic(), WALL)))
        yield journal


def report(tmp_path, clock, journal, limit=9):
    journal._execute("COMMIT")
    try:
        return read_status(tmp_path, clock=clock, limit=limit)
    finally:
        journal._execute("BEGIN")


def accept(journal):
    journal.accept([Submission(A, "file:/q", 7, Options(deadline=9.0))], at=NOW - 10.0, window_start=0.0)
    journal.accept([Submission(B, "http", 0)], at=NOW - 5.0, window_start=0.0)
    journal.save_progress({A: LOOKED_AT})


def settle(journal):
    for asset, outcome, accepted_at, completed_at in (
        (C, "ready", NOW - 100.0, NOW - 50.0), (D, "ready", NOW - 90_000.0, NOW - 86_400.0),
        (E, "failed", NOW - 90_000.0, NOW - 86_399.0),
    ):  # fmt: skip
        journal.settle(Settlement(asset, 1, outcome, accepted_at, completed_at))


EMPTY = StatusReport(0, 0.0, {}, [], {}, [], 0, {}, {}, 0, {}, {}, 0, {})


def test_an_empty_journal_holds_nothing(tmp_path, clock, journal):
    assert report(tmp_path, clock, journal) == EMPTY


@pytest.mark.parametrize("limit", [9, 1])
def test_what_is_pending_and_done_is_shown_up_to_a_limit_and_counted_beyond_it(tmp_path, clock, journal, limit):
    accept(journal)
    settle(journal)
    found = report(tmp_path, clock, journal, limit)
    assert (found.pending_count, found.oldest_age) == (2, 10.0)
    assert found.waiting_on == {"hls": 1, "thumbnail": 1, "first look": 1}
    assert (
        found.pending
        == [
            PendingLine("a", "file:/q:7", 10.0, "processing", ("hls", "thumbnail"), 2, None),
            PendingLine("b", "http", 5.0, None, (), 0, None),
        ][:limit]
    )
    assert found.completed_lately == {"ready": 1, "failed": 1}
    assert found.completed == [
        CompletedLine("c", "ready", 50.0, 50.0), CompletedLine("e", "failed", 3_601.0, 86_399.0),
        CompletedLine("d", "ready", 3_600.0, 86_400.0),
    ][:limit]  # fmt: skip


def test_one_asset_is_shown_as_it_is_kept(tmp_path, clock, journal):
    accept(journal)
    settle(journal)
    journal._execute("COMMIT")
    found = [read_asset(tmp_path, each, clock=clock) for each in "abcx"]
    journal._execute("BEGIN")
    assert found == [
        PendingAsset(Options(deadline=9.0), NOW - 10.0, LOOKED_AT, NOW), PendingAsset(None, NOW - 5.0, Progress(), NOW),
        CompletedLine("c", "ready", 50.0, 50.0), None,
    ]  # fmt: skip


def test_what_each_sink_lacks_is_counted_and_what_is_kept_for_absent_ones(tmp_path, clock, journal):
    journal.add_events([Event(f"e{number}", None, b"{}") for number in range(1, 7)])
    for name, state in {
        "file": SinkState(4), "hook": SinkState(6), "gone": SinkState(3, absent_since=NOW),
        "left": SinkState(1, absent_since=NOW, is_released=True),
    }.items():  # fmt: skip
        journal.set_sink(name, state)
    for position, next_at in ((2, NOW + 7.0), (5, NOW + 9.0)):
        journal._execute(
            "INSERT INTO undelivered (sink, position, attempts, next_at) VALUES ('hook', ?, 1, ?)", (position, next_at)
        )
    journal._execute(
        "INSERT INTO undelivered (sink, position, attempts, next_at) VALUES ('due', 5, 0, ?)", (NOW - 1.0,)
    )
    journal.delete_events(3)
    journal.set_condition("hook", Condition("down", NOW - 60.0, "why"))
    journal._execute("INSERT INTO dead_letters (sink, position, id, body, reason) VALUES ('hook', 1, 'e1', x'', 'why')")
    found = report(tmp_path, clock, journal)
    assert (found.outbox_count, found.outbox_depth, found.outbox_kept) == (4, {"file": 2, "hook": 2}, {"gone": 3})
    assert found.waiting_for_retry == {"hook": RetryLine(2, 7.0), "due": RetryLine(1, 0.0)}
    assert found.conditions == {"hook": ConditionLine("down", timestamp(WALL - 60.0), "why")}
    assert (found.dead_letters, found.dead_letters_by_sink, found.outbox_new) == (1, {"hook": 1}, 0)


def test_events_that_no_sink_has_are_new_and_what_a_reader_alone_lacks_is_not_shown(tmp_path, clock, journal):
    journal.add_events([Event(f"e{number}", None, b"{}") for number in range(1, 5)])
    found = report(tmp_path, clock, journal)
    assert (found.outbox_count, found.outbox_depth, found.outbox_new) == (4, {}, 4)
    journal.set_sink(TRACES, SinkState(1))
    journal.set_sink("file", SinkState(3))
    journal.set_sink("other", SinkState(4))
    journal.delete_events(1)
    found = report(tmp_path, clock, journal)
    assert (found.outbox_count, found.outbox_depth, found.outbox_new) == (1, {"file": 1, "other": 0}, 0)


def test_nothing_is_younger_than_now(tmp_path, clock, journal):
    journal.accept([Submission(A, "http", 0)], at=NOW + 5.0, window_start=0.0)
    journal.settle(Settlement(C, 1, "ready", NOW + 9.0, NOW + 8.0))
    found = report(tmp_path, clock, journal)
    assert ([each.age for each in found.pending], found.oldest_age) == ([0.0], 0.0)
    assert found.completed == [CompletedLine("c", "ready", 0.0, 0.0)]
    journal._execute("COMMIT")
    assert read_asset(tmp_path, "c", clock=clock) == CompletedLine("c", "ready", 0.0, 0.0)
    journal._execute("BEGIN")


@pytest.mark.parametrize("is_known", [True, False], ids=["none was passed", "what was passed is not known"])
def test_what_a_reader_alone_lacks_is_what_all_sinks_have(tmp_path, clock, journal, is_known):
    journal.add_events([Event("e1", None, b"{}")])
    if not is_known:
        journal._execute("DELETE FROM passed")
    assert report(tmp_path, clock, journal).outbox_new == (1 if is_known else 0)
    journal.add_events([Event(f"e{number}", None, b"{}") for number in (2, 3)])
    journal.set_sink(TRACES, SinkState(0))
    assert report(tmp_path, clock, journal).outbox_count == 3
    journal.set_sink("file", SinkState(2))
    assert report(tmp_path, clock, journal).outbox_count == 1
