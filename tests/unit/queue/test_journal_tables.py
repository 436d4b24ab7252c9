"""What the journal records: acceptances, settlements, events, positions, counts, conditions, and the clock."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from asset_worker.domain.assets import AssetId, Outcome
from asset_worker.domain.deliveries import Condition
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.local import journal as journals
from asset_worker.queue.local.journal import DEAD_LETTER, Journal, JournalError
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.settled_rows import Settlement
from asset_worker.runtime.steady_time import Mark, Reading
from tests.doubles.local_queue import directory_in_memory

A, B, C = AssetId("a"), AssetId("b"), AssetId("c")


@pytest.fixture
def path():
    with directory_in_memory() as directory:
        yield Path(directory) / "j"


@pytest.fixture
def journal(path):
    with closing(Journal(path)) as journal:
        yield journal


def of(asset, line=1):
    return Submission(asset, "stdin", line)


def event(number, outcome=None):
    return Event(f"e{number}", outcome, b"%d" % number)


def pending(journal):
    return {row.submission.asset_id: (row.accepted_at, row.completion, row.progress) for row in journal.pending()}


def positions(journal):
    return [position for position, _, _ in journal.events_after(0, 99)]


# The file


def test_the_file_belongs_to_this_program_and_this_user(path, journal):
    """Tools such as `file` read the application's number in SQLite's header (sqlite.org/fileformat.html, 1.2)."""
    journal.close()
    assert path.read_bytes()[68:72] == b"assw"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synchronous", 2),
        ("cache_size", -16_000),
        ("wal_autocheckpoint", 4_000),
        ("temp_store", 2),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
    ],
)
def test_the_connection_syncs_each_commit_trusts_no_schema_and_keeps_temporary_files_in_memory(journal, name, value):
    assert journal._connection.execute(f"PRAGMA {name}").fetchone() == (value,)


def test_a_start_finds_out_whether_the_file_can_be_written(path, journal):
    """It writes what is there already: a disk that is full shows now, and not at the first submission."""
    journal.close()
    log = path.with_name("j-wal")
    assert not log.exists()
    with closing(Journal(path)):
        assert log.stat().st_size > 0


def test_a_new_or_present_journal_needs_no_upgrade_and_an_earlier_one_is_refused_where_none_may_be_made(path):
    for _ in range(2):
        Journal(path, upgrades=False).close()
    early = path.with_name("early")
    with closing(sqlite3.connect(early)) as connection:
        connection.execute("BEGIN")
        for migrate in MIGRATIONS[:-1]:
            migrate(connection)
        connection.execute(f"PRAGMA application_id = {journals.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
        connection.commit()
    before = early.read_bytes()
    with pytest.raises(JournalError, match=r"is of an earlier version .schema 6, this asset-worker reads 7"):
        Journal(early, upgrades=False)
    assert early.read_bytes() == before
    with closing(Journal(early)) as journal:
        assert journal._connection.execute("PRAGMA user_version").fetchone() == (7,)


@pytest.mark.parametrize("done", [1, 3, 6])
def test_an_upgrade_that_is_interrupted_goes_on_where_it_was(path, monkeypatch, done):
    def fail(_):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(journals, "MIGRATIONS", (*MIGRATIONS[:done], fail))
        with pytest.raises(ZeroDivisionError):
            Journal(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (done,)
    with closing(Journal(path)) as journal:
        assert journal._connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_value_of_another_type_is_damage(path, journal):
    with journal.transaction():
        journal._execute("INSERT INTO settled VALUES ('a', 1, 'ready', 'never', 2.0)")
    journal.close()
    with pytest.raises(JournalError, match="the table 'settled' holds a value of another type"):
        Journal(path)


def test_a_transaction_is_undone_by_any_error_and_another_can_follow(journal):
    def set_and_fail():
        journal.set_intake("i", b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), journal.transaction():
        set_and_fail()
    assert journal.intakes() == {}
    with journal.transaction():
        journal.set_intake("i", b"2")
        journal.set_intake("i", b"3")
    assert journal.intakes() == {"i": b"3"}


def test_a_journal_that_is_closed_has_one_file(path, journal):
    journal.close()
    assert [each.name for each in path.parent.iterdir()] == ["j"]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        journal.tally()


# Acceptances and settlements


def test_an_asset_is_accepted_unless_it_was_settled_within_the_window(journal):
    for asset, completion, at in ((A, 1, 99.0), (B, 4, 100.0)):
        journal.settle(Settlement(asset, completion, "ready", 1.0, at))
    accepted = journal.accept([of(C), of(A), of(B)], at=200.0, window_start=100.0)
    assert accepted == [(of(C), 1), (of(A), 2)]
    assert pending(journal) == {A: (200.0, 2, None), C: (200.0, 1, None)}
    assert journal.accept([], at=200.0, window_start=100.0) == []


def test_a_settlement_ends_what_is_pending_and_keeps_the_event_if_it_is_to_be_asked_for(journal):
    journal.accept([of(A), of(B), of(C)], at=1.0, window_start=0.0)
    journal.settle(Settlement(A, 1, "ready", 1.0, 2.0))
    journal.settle(Settlement(B, 2, "failed", 1.0, 3.0), b"{}")
    assert list(pending(journal)) == [C]
    assert journal.settled.find(B) == Settlement(B, 2, "failed", 1.0, 3.0)
    assert journal.settled.events.find(A, completion=1) is None
    assert journal.settled.events.find(B, completion=2) == b"{}"
    assert journal.settled.events.prune(before=3.0, limit=9) == 0
    assert journal.settled.events.prune(before=3.1, limit=9) == 1
    assert journal.prune(before=3.0, limit=9) == 1


def test_progress_is_saved_for_what_is_pending(journal):
    journal.accept([of(A), of(B)], at=1.0, window_start=0.0)
    journal.save_progress({A: Progress(polls=3), C: Progress(polls=4)})
    assert pending(journal) == {A: (1.0, 1, Progress(polls=3)), B: (1.0, 1, None)}


def test_a_submission_takes_the_place_of_the_one_that_is_pending(journal):
    journal.accept([of(A)], at=1.0, window_start=0.0)
    assert journal.replace_submissions([of(A, 9), of(B, 9)]) == [of(A, 9)]
    assert [row.submission for row in journal.pending()] == [of(A, 9)]


# Events and positions


def test_events_have_positions_from_1_in_the_order_in_which_they_were_added(journal):
    assert (journal.first_position(), journal.last_position(), positions(journal)) == (1, 0, [])
    journal.add_events([event(1), event(2)])
    journal.add_events(event(number) for number in (3,))
    assert journal.events_after(1, 9) == [(2, "e2", b"2"), (3, "e3", b"3")]
    assert journal.events_after(0, 2) == [(1, "e1", b"1"), (2, "e2", b"2")]
    assert (journal.first_position(), journal.last_position()) == (1, 3)


def test_without_a_record_of_what_was_passed_the_first_event_is_the_first_of_all(journal):
    journal._execute("DELETE FROM passed")
    assert journal.first_position() == 1


def test_events_are_deleted_once_all_sinks_have_passed_them_and_no_record_names_them(journal):
    journal.add_events([event(number) for number in range(1, 6)])
    journal.set_sink("b", SinkState(0))
    journal.advance("a", 4, b"mark", others=["b"])
    assert (positions(journal), journal.first_position()) == ([1, 2, 3, 4, 5], 1)
    journal._execute("INSERT INTO undelivered (sink, position, attempts, next_at) VALUES ('b', 2, 0, 1.0)")
    journal.advance("b", 3, None, others=["a"])
    assert (positions(journal), journal.first_position(), journal.last_position()) == ([2, 4, 5], 4, 5)
    assert journal.sinks() == {"a": SinkState(4, b"mark"), "b": SinkState(3)}
    assert [journal.count_owed(*sink) for sink in (("a", 4), ("b", 3))] == [1, 3]
    journal.delete_events(3)
    assert journal.first_position() == 4
    journal.delete_events(4)
    assert (positions(journal), journal.first_position()) == ([2, 5], 5)


def test_a_position_is_never_used_again(journal):
    journal.add_events([event(1), event(2)])
    journal.advance("a", 2, None, others=[])
    journal.add_events([event(3)])
    assert (journal.first_position(), journal.last_position(), positions(journal)) == (3, 3, [3])


# Counts of a run


def test_outcomes_are_counted_while_a_run_ends_by_itself_on_top_of_those_of_an_interrupted_one(path, journal):
    ended = [event(1, Outcome.READY), event(2, Outcome.READY), event(3, Outcome.FAILED), event(4)]
    journal.add_events(ended)
    journal.count_dead_letter()
    assert journal.tally() == {}
    journal.begin_run(ends_by_itself=True)
    journal.add_events(ended)
    journal.count_dead_letter()
    assert journal.tally() == {"ready": 2, "failed": 1, DEAD_LETTER: 1}
    journal.close()
    with closing(Journal(path)) as again:
        again.begin_run(ends_by_itself=True)
        again.add_events(ended[:1])
        assert again.tally() == {"ready": 3, "failed": 1, DEAD_LETTER: 1}
        again.end_run()
        assert again.tally() == {}
        again.add_events(ended[:1])
        again.begin_run(ends_by_itself=False)
        again.add_events(ended)
        assert again.tally() == {}


# Sinks and the clock


def test_a_start_forgets_all_that_is_wrong_but_that_a_sink_of_the_run_is_down(journal):
    down, paused = Condition("down", 5.0, "why"), Condition("paused", 6.0, "gone")
    for sink, condition in (("a", down), ("b", paused), ("c", down), ("d", down)):
        journal.set_condition(sink, condition)
    assert journal.conditions() == {"a": down, "b": paused, "c": down, "d": down}
    journal.set_condition("d", None)
    journal.begin_conditions(["a", "b", "d"])
    assert journal.conditions() == {"a": down}


def test_the_mark_of_the_clock_takes_the_place_of_the_one_before(journal):
    assert journal.clock_mark() is None
    for mark in (Mark(1.0, Reading("boot", 2.0, 3.0)), Mark(4.0, Reading(None, 5.0, 6.0))):
        journal.set_clock_mark(mark)
        assert journal.clock_mark() == mark


@pytest.mark.parametrize(("among_pending", "accepted_at"), [(True, 100.0), (False, 120.0)])
def test_no_instant_is_left_in_the_future(journal, among_pending, accepted_at):
    journal.accept([of(A)], at=120.0, window_start=0.0)
    journal.accept([of(B)], at=90.0, window_start=0.0)
    journal.settle(Settlement(C, 1, "ready", 100.0, 120.0))
    journal.add_events([event(1)])
    journal._execute("INSERT INTO undelivered VALUES ('hook', 1, NULL, 1, 120.0, 120.0, 'why', 0)")
    journal.dead_letters.add("hook", 1, attempts=1, first_at=1.0, now=120.0, reason="why")
    journal.end_future(100.0, among_pending=among_pending)
    assert {asset: at for asset, (at, _, _) in pending(journal).items()} == {A: accepted_at, B: 90.0}
    assert journal.settled.find(C) == Settlement(C, 1, "ready", 80.0, 100.0)
    assert journal._execute("SELECT first_at FROM undelivered").fetchall() == [(100.0,)]
    assert journal._execute("SELECT last_at FROM dead_letters").fetchall() == [(100.0,)]
