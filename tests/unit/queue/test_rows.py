"""The tables of the journal as values: what is written is read again, and nothing else is changed."""

from __future__ import annotations

import sqlite3
import zlib

import msgspec
import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.deliveries import Condition
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.domain.transitions import Transition
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.dead_letters import Selection
from asset_worker.queue.local import sink_rows
from asset_worker.queue.local.clock_row import read_clock_mark
from asset_worker.queue.local.dead_letter_rows import DeadLetterRows
from asset_worker.queue.local.last_events import LastEvents
from asset_worker.queue.local.migrations import MIGRATIONS
from asset_worker.queue.local.pending_rows import PendingRow, add_pending, read_pending, replace_submissions
from asset_worker.queue.local.request_rows import RequestRows
from asset_worker.queue.local.settled_rows import SettledRows, Settlement
from asset_worker.runtime.steady_time import Mark, Reading
from tests.doubles.local_queue import tables_in_memory
from tests.unit.queue.outbox_model import event_of

A, B, C = AssetId("a"), AssetId("b"), AssetId("c")
HOOK, FILE = "hook", "file"


@pytest.fixture
def database():
    with tables_in_memory() as connection:
        yield connection


# Pending assets


def pending(database):
    return {row.submission.asset_id: row for row in read_pending(database)}


def test_what_is_pending_is_read_as_it_was_accepted(database):
    first = Submission(A, "file:/q", 7)
    second = Submission(B, "file:/q", 0, Options(metadata={"k": "v"}, deadline=60.0))
    add_pending(database, [(second, 3), (first, 1)], at=5.0)
    rows = pending(database)
    assert rows == {A: PendingRow(first, 5.0, 1, None), B: PendingRow(second, 5.0, 3, None)}
    assert rows[A].submission.origin is rows[B].submission.origin, "a million share one text"


@pytest.mark.parametrize(
    "progress", [Progress(polls=4, ready_at=2.0), Progress(polls=1, last_seen=LastSeen("processing", {"hls": "ready"}))]
)
def test_progress_is_read_as_it_was_saved(database, progress):
    add_pending(database, [(Submission(AssetId(each), "stdin", 1), 1) for each in "ab"], at=5.0)
    database.execute("UPDATE pending SET progress = ?", (msgspec.json.encode(progress),))
    rows = pending(database)
    assert [row.progress for row in rows.values()] == [progress, progress]
    assert rows[A].progress.last_seen is rows[B].progress.last_seen, "a million share few states"


def test_a_submission_is_replaced_as_long_as_its_asset_is_pending(database):
    add_pending(database, [(Submission(A, "account", 0), 4), (Submission(B, "account", 0), 1)], at=5.0)
    asked = Submission(A, "http", 2, Options(deadline=9.0))
    assert replace_submissions(database, [asked, Submission(C, "http", 0)]) == [asked]
    assert pending(database) == {
        A: PendingRow(asked, 5.0, 4, None), B: PendingRow(Submission(B, "account", 0), 5.0, 1, None)
    }  # fmt: skip
    bare = Submission(A, "http", 3)
    assert replace_submissions(database, [bare]) == [bare]
    assert pending(database)[A].submission == bare


def test_what_is_no_asset_id_is_damage(database):
    database.execute("INSERT INTO pending VALUES ('../a', 'stdin', 1, NULL, 1.0, 1, NULL)")
    with pytest.raises(sqlite3.DatabaseError, match=r"'\.\./a' is pending in it, which is not an asset ID"):
        pending(database)


# Settlements, and the events of the last completions


def test_of_each_asset_the_last_settlement_is_kept(database):
    rows = SettledRows(database)
    rows.add(Settlement(A, 1, "ready", 1.0, 2.0))
    rows.add(Settlement(B, 3, "failed", 1.0, 3.0))
    rows.add(Settlement(A, 2, "timed_out", 5.0, 8.0))
    assert rows.find(A) == Settlement(A, 2, "timed_out", 5.0, 8.0)
    assert rows.find(C) is None
    assert rows.last_completions([A, B, C]) == {A: (2, 8.0), B: (3, 3.0)}
    assert rows.last_completions([B]) == {B: (3, 3.0)}


def test_settlements_before_an_instant_are_deleted_the_oldest_first(database):
    rows = SettledRows(database)
    for asset, at in ((A, 3.0), (B, 1.0), (C, 2.0)):
        rows.add(Settlement(asset, 1, "ready", 0.0, at))
    assert [rows.prune(before=3.0, limit=1) for _ in range(3)] == [1, 1, 0]
    assert [rows.find(each) is None for each in (A, B, C)] == [False, True, True]


def test_a_settlement_in_the_future_is_moved_to_now_and_its_wait_keeps_its_length(database):
    rows = SettledRows(database)
    rows.add(Settlement(A, 1, "ready", 90.0, 120.0))
    rows.add(Settlement(B, 1, "ready", 90.0, 100.0))
    for asset, at in ((A, 120.0), (B, 100.0)):
        rows.events.keep(asset, completion=1, at=at, body=b"{}")
    rows.end_future(100.0)
    assert rows.find(A) == Settlement(A, 1, "ready", 70.0, 100.0)
    assert rows.find(B) == Settlement(B, 1, "ready", 90.0, 100.0)
    assert rows.events.prune(before=100.0, limit=9) == 0
    assert rows.events.prune(before=100.1, limit=9) == 2


def test_the_event_of_an_assets_last_completion_is_kept(database):
    events = LastEvents(database)
    events.keep(A, completion=1, at=1.0, body=b'{"n":1}')
    events.keep(A, completion=2, at=2.0, body=b'{"n":2}')
    events.keep(B, completion=1, at=3.0, body=b'{"n":3}')
    assert [events.find(A, completion=number) for number in (1, 2, 3)] == [None, b'{"n":2}', None]
    assert events.find(C, completion=1) is None
    assert [events.prune(before=4.0, limit=1) for _ in range(3)] == [1, 1, 0]


@pytest.mark.parametrize("body", [b"\xff\xff", zlib.compress(b"{}" * 99)[:-5], b""], ids=["forged", "cut", "empty"])
def test_an_event_that_is_damaged_is_as_if_it_were_not_kept(database, body):
    database.execute("INSERT INTO last_events VALUES ('a', 1, 1.0, ?)", (body,))
    assert LastEvents(database).find(A, completion=1) is None


def test_a_forged_event_that_expands_to_more_than_16_mib_is_as_if_it_were_not_kept(database):
    limit, events = 16 * 2**20, LastEvents(database)
    for asset, size in ((A, limit - 1), (B, limit + 1)):
        events.keep(asset, completion=1, at=1.0, body=bytes(size))
    assert events.find(A, completion=1) == bytes(limit - 1)
    assert events.find(B, completion=1) is None


# Sinks


STATES = {
    "new": (SinkState(3), None),
    "with a checkpoint": (SinkState(3, b"c"), b"c"),
    "absent": (SinkState(3, absent_since=5.0), b'absent {"since":5.0,"is_released":false}\n'),
    "absent, with a checkpoint": (
        SinkState(3, b"c\nd", absent_since=5.0), b'absent {"since":5.0,"is_released":false}\nc\nd'
    ),
    "released": (
        SinkState(3, b"c", absent_since=5.0, is_released=True), b'absent {"since":5.0,"is_released":true}\nc'
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "mark"), STATES.values(), ids=STATES)
def test_the_state_of_a_sink_is_read_as_it_was_written(database, state, mark):
    sink_rows.write_sink(database, FILE, SinkState(1, b"before"))
    sink_rows.write_sink(database, FILE, state)
    sink_rows.write_sink(database, HOOK, SinkState(9))
    assert sink_rows.read_sinks(database) == {FILE: state, HOOK: SinkState(9)}
    assert database.execute("SELECT mark FROM sinks WHERE name = 'file'").fetchall() == [(mark,)]


def test_an_absence_without_more_is_one_for_which_events_are_kept(database):
    database.execute("""INSERT INTO sinks VALUES ('file', 3, 'absent {"since":5.0}' || x'0a')""")
    database.execute("UPDATE sinks SET mark = CAST(mark AS BLOB)")
    assert sink_rows.read_sinks(database) == {FILE: SinkState(3, absent_since=5.0)}


def test_events_up_to_the_lowest_position_are_passed_by_all_these_sinks(database):
    for name, position in (("a", 5), ("b", 3), ("c", 1)):
        sink_rows.write_sink(database, name, SinkState(position))
    assert sink_rows.lowest_position(database, {"a", "b"}) == 3
    assert sink_rows.lowest_position(database, {"a", "new"}) == 0


def test_events_are_counted_after_a_position_and_those_that_no_record_names_up_to_one(database):
    for number in range(1, 7):
        database.execute("INSERT INTO outbox (id, body) VALUES (?, x'')", (f"e{number}",))
    database.execute("INSERT INTO undelivered (sink, position, attempts, next_at) VALUES ('hook', 3, 0, 1.0)")
    assert [sink_rows.count_events_after(database, position) for position in (0, 4, 6)] == [6, 2, 0]
    assert sink_rows.count_kept_for_readers(database, 1, 5) == 3
    assert sink_rows.count_kept_for_readers(database, 5, 5) == 0


def test_a_condition_is_read_until_the_sink_works(database):
    for condition in (Condition("paused", 1.0, "it was"), Condition("down", 2.0, "it is")):
        sink_rows.write_condition(database, HOOK, condition)
    sink_rows.write_condition(database, FILE, Condition("down", 3.0, "why"))
    assert sink_rows.read_conditions(database) == {
        HOOK: Condition("down", 2.0, "it is"), FILE: Condition("down", 3.0, "why")
    }  # fmt: skip
    sink_rows.write_condition(database, HOOK, None)
    assert list(sink_rows.read_conditions(database)) == [FILE]


# Dead letters


def with_letters(database):
    """Event 1, a step of the wait for A; 2, its completion; 3, a step of B, which is still pending; 4 of no asset."""
    rows = DeadLetterRows(database)
    add_pending(database, [(Submission(B, "stdin", 1), 2)], at=1.0)
    events = [
        event_of(A, 1, Transition.PLAYABLE),
        event_of(A, 1),
        event_of(B, 2, Transition.PLAYABLE),
        event_of(None, 1),
    ]
    for position, (event, asset) in enumerate(zip(events, (A, A, B, None), strict=True), start=1):
        database.execute("INSERT INTO outbox (position, id, body) VALUES (?, ?, ?)", (position, event.id, event.body))
        database.execute(
            "INSERT INTO undelivered (sink, position, asset_id, attempts, next_at) VALUES ('hook', ?, ?, 0, 1.0)",
            (position, asset),
        )
        rows.add(HOOK, position, attempts=position, first_at=1.0, now=10.0 * position, reason="HTTP 500")
    return rows


def letters(database):
    return database.execute(
        "SELECT position, id, asset_id, attempts, first_at, last_at, reason FROM dead_letters ORDER BY position"
    ).fetchall()


def test_a_dead_letter_holds_the_event_and_how_it_was_tried(database):
    rows = with_letters(database)
    assert letters(database) == [
        (1, "a.1.playable", "a", 1, 1.0, 10.0, "HTTP 500"),
        (2, "a.1", "a", 2, 1.0, 20.0, "HTTP 500"),
        (3, "b.2.playable", "b", 3, 1.0, 30.0, "HTTP 500"),
        (4, "rejected.1", None, 4, 1.0, 40.0, "HTTP 500"),
    ]
    assert rows.supersede(HOOK, 1, now=50.0) == "a.1.playable"
    assert letters(database)[0] == (1, "a.1.playable", "a", 0, None, 50.0, "superseded")
    assert (rows.sinks(), rows.independent_sinks()) == ({HOOK}, {HOOK})


SELECTIONS = {
    "all": (Selection(), {HOOK: 4}, []),
    "IDs": (Selection(ids=("a.1", "b.2.playable", "x", "y")), {HOOK: 2}, ["x", "y"]),
    "a sink": (Selection(sinks=(HOOK,)), {HOOK: 4}, []),
    "IDs of another sink": (Selection(ids=("a.1",), sinks=(FILE,)), {}, ["a.1"]),
    "steps of waits that are over": (Selection(is_over=True), {HOOK: 1}, []),
    "all but those": (Selection(is_over=False), {HOOK: 3}, []),
}


@pytest.mark.parametrize(("selection", "counts", "missing"), SELECTIONS.values(), ids=SELECTIONS)
def test_dead_letters_are_selected_by_all_that_is_given(database, selection, counts, missing):
    rows = with_letters(database)
    assert (rows.count_by_sink(selection), rows.missing(selection)) == (counts, missing)
    rows.delete(selection)
    assert len(letters(database)) == 4 - sum(counts.values())


def test_what_is_put_back_has_its_event_and_a_record_as_if_it_were_new(database):
    rows = with_letters(database)
    database.execute("DELETE FROM undelivered")
    database.execute("DELETE FROM outbox")
    rows.put_back(Selection(ids=("a.1.playable", "a.1", "rejected.1")), now=60.0)
    assert [position for position, *_ in letters(database)] == [3]
    assert database.execute("SELECT position, id FROM outbox").fetchall() == [
        (1, "a.1.playable"), (2, "a.1"), (4, "rejected.1")
    ]  # fmt: skip
    assert database.execute(
        "SELECT position, asset_id, attempts, first_at, next_at, gives_way FROM undelivered ORDER BY position"
    ).fetchall() == [(1, "a", 0, None, 60.0, 1), (2, "a", 0, None, 60.0, 0), (4, None, 0, None, 60.0, 0)]


def test_dead_letters_whose_last_attempt_was_earlier_are_deleted_in_pieces(database):
    rows = with_letters(database)
    assert [rows.prune(before=40.0, limit=2) for _ in range(3)] == [2, 1, 0]
    assert [position for position, *_ in letters(database)] == [4]


def test_retention_begins_now_for_dead_letters_whose_last_attempt_is_unknown_or_in_the_future(database):
    rows = with_letters(database)
    database.execute("UPDATE dead_letters SET last_at = NULL WHERE position = 1")
    rows.end_future(25.0)
    assert [last_at for *_, last_at, _ in letters(database)] == [25.0, 20.0, 25.0, 25.0]


# Requests, and the clock


def test_the_answer_to_a_request_is_known_until_it_is_forgotten(database):
    rows = RequestRows(database)
    rows.add("one", b"{1}", now=1.0)
    rows.add("two", b"{2}", now=2.0)
    assert [rows.answer(each) for each in ("one", "two", "three")] == [b"{1}", b"{2}", None]
    assert (rows.prune(before=2.0), rows.answer("one"), rows.answer("two")) == (1, None, b"{2}")


def test_the_mark_of_the_clock_is_read_as_it_was_stored(database):
    assert read_clock_mark(database) is None
    database.execute("INSERT INTO clock VALUES (0, 1.0, 'boot', 2.0, 3.0)")
    assert read_clock_mark(database) == Mark(1.0, Reading("boot", 2.0, 3.0))


# The migration to version 3


def test_the_fields_of_the_renditions_are_gathered_and_all_others_stay():
    with sqlite3.connect(":memory:") as old:
        for migrate in MIGRATIONS[:2]:
            migrate(old)
        options = {"metadata": {}, "deadline": 9.0, "traceparent": "00", "hls": "ready"}
        seen = {"status": "s", "file_type": "video/mp4", "method": "url", "was": "ready", "hls": "failed"}
        least = ({"deadline": 9.0}, {"sighting": {"status": "s"}})
        rows = [(options, {"polls": 1, "sighting": seen}), least, (None, None)]
        for number, (each, progress) in enumerate(rows):
            encoded = [None if value is None else msgspec.json.encode(value) for value in (each, progress)]
            old.execute("INSERT INTO pending VALUES (?, 'stdin', 1, ?, 1.0, 1, ?)", (f"a{number}", *encoded))
        MIGRATIONS[2](old)
        kept = old.execute("SELECT options, progress FROM pending ORDER BY asset_id").fetchall()
    old.close()
    assert [[value and msgspec.json.decode(value) for value in row] for row in kept] == [
        [
            {"metadata": {}, "deadline": 9.0, "traceparent": "00", "wait_for": {"hls": "ready"}},
            {
                "polls": 1,
                "last_seen": {
                    "status": "s", "file_type": "video/mp4", "method": "url", "was": "ready",
                    "renditions": {"hls": "failed"},
                },
            },
        ],
        [{"deadline": 9.0}, {"last_seen": {"status": "s"}}],
        [None, None],
    ]  # fmt: skip
