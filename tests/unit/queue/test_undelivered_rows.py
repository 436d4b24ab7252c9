"""The records of what independent sinks lack: which events get one, when they are due, and what deletes them."""

from __future__ import annotations

import pytest

from asset_worker.domain.deliveries import Owed
from asset_worker.domain.events import Stored
from asset_worker.domain.transitions import Transition
from asset_worker.queue.local.dead_letter_rows import DeadLetterRows
from asset_worker.queue.local.undelivered_rows import Claim, UndeliveredRows
from tests.doubles.local_queue import tables_in_memory
from tests.unit.queue.outbox_model import event_of, wants_all

HOOK, OTHER = "hook", "other"
STEP, LATE_STEP = Transition.PLAYABLE, Transition.OVERDUE


class Database:
    """The journal's tables, in memory."""

    def __init__(self, connection):
        self.execute = connection.execute
        self.rows = UndeliveredRows(connection, DeadLetterRows(connection))
        self.stored = {}

    def add(self, *events):
        """Put events into the outbox, at the positions from 1."""
        for event in events:
            position = len(self.stored) + 1
            self.execute("INSERT INTO outbox (position, id, body) VALUES (?, ?, ?)", (position, event.id, event.body))
            self.stored[position] = Stored(position, event.id, event.body)

    def pass_all(self):
        """All sinks have passed all events: only a record keeps one."""
        self.execute("INSERT OR REPLACE INTO passed (only, position) VALUES (0, ?)", (len(self.stored),))

    def claim(self, position=0, limit=9, *, examine=99, now=7.0, wants=wants_all, sink=HOOK, without=()):
        return self.rows.claim(sink, position, limit, examine=examine, now=now, wants=wants, without=without)

    def record(self, position, asset_id="a", *, first_at=None, next_at=7.0, gives_way=False, sink=HOOK, attempts=0):
        self.execute(
            "INSERT INTO undelivered (sink, position, asset_id, attempts, first_at, next_at, gives_way) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sink, position, asset_id, attempts, first_at, next_at, gives_way),
        )

    def records(self, sink=HOOK):
        """Position, asset, attempts, first attempt, next attempt, and whether it gives way."""
        return self.execute(
            "SELECT position, asset_id, attempts, first_at, next_at, gives_way FROM undelivered "
            "WHERE sink = ? ORDER BY position",
            (sink,),
        ).fetchall()

    def due_at(self, sink=HOOK):
        return {position: next_at for position, _, _, _, next_at, _ in self.records(sink)}

    def letters(self):
        return self.execute(
            "SELECT sink, position, id, asset_id, attempts, first_at, last_at, reason FROM dead_letters "
            "ORDER BY position"
        ).fetchall()

    def events(self):
        return [position for [position] in self.execute("SELECT position FROM outbox ORDER BY position")]

    def owed(self, position, asset_id="a", attempts=0, first_at=None, next_at=7.0, *, is_transition=False):
        return Owed(self.stored[position], asset_id, attempts, first_at, next_at, is_transition)


@pytest.fixture
def database():
    with tables_in_memory() as connection:
        yield Database(connection)


# A claim


def test_a_claim_records_new_events_until_enough_of_them_may_be_sent(database):
    """Neither a second event of an asset nor a step may be sent at once, but both get a record."""
    database.add(event_of("a", 1), event_of("a", 2), event_of("b", 1, STEP), event_of(None, 1), event_of("c", 1))
    assert database.claim(limit=2) == Claim(4, 4, [database.owed(1), database.owed(4, None)])
    assert database.records() == [
        (1, "a", 0, None, 7.0, 0),
        (2, "a", 0, None, 7.0, 0),
        (3, "b", 0, None, 7.0, 1),
        (4, None, 0, None, 7.0, 0),
    ]
    assert database.claim(4) == Claim(5, 1, [database.owed(5, "c")])
    assert database.claim(5) == Claim(5)
    assert (database.rows.count(HOOK), database.rows.count(OTHER)) == (5, 0)
    database.claim(3, sink=OTHER)
    assert database.rows.count_by_sink() == {HOOK: 5, OTHER: 2}


def test_a_claim_passes_what_the_sink_does_not_want_and_examines_so_many_events(database):
    database.add(*(event_of(f"a{number}", 1) for number in range(1, 6)))
    claim = database.claim(examine=4, wants=lambda event: event.position in {2, 5})
    assert claim == Claim(4, 1, [database.owed(2, "a2")])
    assert database.due_at() == {2: 7.0}


@pytest.mark.parametrize(("given", "first"), [(0, 3), (2, 3), (3, 4)])
def test_a_claim_begins_after_the_later_of_the_two_positions_that_are_known(database, given, first):
    database.add(*(event_of(f"a{number}", 1) for number in range(1, 6)))
    database.execute("INSERT INTO sinks (name, position) VALUES (?, 2)", (HOOK,))
    assert database.claim(given, limit=1) == Claim(first, 1, [database.owed(first, f"a{first}")])


@pytest.mark.parametrize(("earlier", "due"), [(99.0, 99.0), (7.0, 7.0), (3.0, 7.0)])
def test_a_new_event_is_due_now_but_no_sooner_than_the_earlier_one_of_its_asset(database, earlier, due):
    database.add(event_of("a", 1), event_of("a", 2), event_of("b", 1))
    database.record(1, attempts=1, first_at=2.0, next_at=earlier)
    assert database.claim(1) == Claim(3, 2, [database.owed(3, "b")])
    assert database.due_at() == {1: earlier, 2: due, 3: 7.0}


def test_a_damaged_event_gets_a_record_without_an_asset(database):
    database.add(event_of("a", 1), event_of("a", 2))
    database.execute("UPDATE outbox SET body = x'7b' WHERE position = 2")
    claim = database.claim()
    assert [(owed.event.position, owed.asset_id) for owed in claim.events] == [(1, "a"), (2, None)]


# Steps and the completion that they hold up


def test_a_completion_supersedes_the_steps_that_wait_for_a_retry_and_those_that_are_not_being_sent(database):
    """One that is being sent and has not failed is awaited. A step of another asset is left alone."""
    database.add(*(event_of("a", number, STEP) for number in (1, 2, 3, 4)), event_of("b", 1, STEP), event_of("a", 4))
    for position in (1, 2, 3, 4):
        database.record(position, gives_way=True)
    database.record(5, "b", first_at=1.0, next_at=99.0, gives_way=True)
    database.rows.change(HOOK, 1, attempts=3, first_at=2.0, next_at=99.0, error="why")
    database.pass_all()
    assert database.claim(5, without=[1, 2]) == Claim(6, 1, [], ["a.1.playable", "a.3.playable", "a.4.playable"], [2])
    assert database.records() == [
        (2, "a", 0, None, 7.0, 0), (5, "b", 0, 1.0, 99.0, 1), (6, "a", 0, None, 7.0, 0)
    ]  # fmt: skip
    assert database.letters() == [
        (HOOK, 1, "a.1.playable", "a", 3, 2.0, 7.0, "superseded"),
        (HOOK, 3, "a.3.playable", "a", 0, None, 7.0, "superseded"),
        (HOOK, 4, "a.4.playable", "a", 0, None, 7.0, "superseded"),
    ]
    assert database.events() == [2, 5, 6]


@pytest.mark.parametrize(
    ("first_at", "next_at"), [(None, 99.0), (2.0, 7.0), (None, 7.0)], ids=["never sent", "due", "new"]
)
def test_a_completion_follows_its_steps_if_none_of_them_waits_for_a_retry(database, first_at, next_at):
    """They no longer give way."""
    database.add(event_of("a", 1, STEP), event_of("a", 1, LATE_STEP), event_of("a", 1))
    database.record(1, first_at=first_at, next_at=next_at, gives_way=True)
    database.record(2, gives_way=True)
    assert database.claim(2) == Claim(3, 1, [], [], [1, 2])
    assert [(position, gives_way) for position, *_, gives_way in database.records()] == [(1, 0), (2, 0), (3, 0)]
    assert database.letters() == []


def test_a_completion_and_an_event_about_no_asset_make_no_other_completion_give_way(database):
    database.add(event_of("a", 1), event_of(None, 1), event_of("a", 2), event_of(None, 2))
    database.record(1, first_at=2.0, next_at=99.0)
    database.record(2, None, first_at=2.0, next_at=99.0)
    assert database.claim(2) == Claim(4, 2, [database.owed(4, None)])
    assert database.due_at() == {1: 99.0, 2: 99.0, 3: 99.0, 4: 7.0}


def test_a_new_step_makes_no_earlier_one_a_dead_letter(database):
    database.add(event_of("a", 1, STEP), event_of("a", 1, LATE_STEP))
    database.record(1, first_at=2.0, next_at=99.0, gives_way=True)
    assert database.claim(1) == Claim(2, 1)
    assert database.records() == [(1, "a", 0, 2.0, 99.0, 1), (2, "a", 0, None, 99.0, 1)]


def test_a_step_that_fails_is_superseded_with_all_that_hold_up_the_completion(database):
    database.add(event_of("a", 1, STEP), event_of("a", 1, LATE_STEP), event_of("a", 1), event_of("b", 1, STEP))
    database.record(1)
    database.record(2)
    database.record(3, next_at=50.0)
    database.record(4, "b")
    superseded = database.rows.supersede(HOOK, 1, attempts=2, first_at=4.0, now=9.0)
    assert superseded == ["a.1.playable", "a.1.overdue"]
    assert database.records() == [(3, "a", 0, None, 9.0, 0), (4, "b", 0, None, 7.0, 0)]
    assert database.letters() == [
        (HOOK, 1, "a.1.playable", "a", 2, 4.0, 9.0, "superseded"),
        (HOOK, 2, "a.1.overdue", "a", 0, None, 9.0, "superseded"),
    ]


@pytest.mark.parametrize("position", [1, 2, 3, 9], ids=["gives way", "of such an asset", "a completion", "unknown"])
def test_what_holds_up_no_completion_is_not_superseded(database, position):
    database.add(event_of("a", 1, STEP), event_of("a", 1, LATE_STEP), event_of("b", 1))
    database.record(1, gives_way=True)
    database.record(2, gives_way=True)
    database.record(3, "b")
    before = database.records()
    assert database.rows.supersede(HOOK, position, attempts=2, first_at=4.0, now=9.0) == []
    assert (database.records(), database.letters()) == (before, [])


# What is due


def test_of_what_is_due_the_earliest_is_first_and_each_asset_has_one_at_a_time(database):
    database.add(*(event_of(asset, 1) for asset in "abcd"), event_of("a", 2), event_of("e", 1, STEP))
    for position, asset, next_at in ((1, "a", 5.0), (2, "b", 4.0), (3, "c", 6.0), (4, "d", 6.5), (5, "a", 1.0)):
        database.record(position, asset, next_at=next_at, attempts=2, first_at=3.0)
    database.record(6, "e", gives_way=True, next_at=2.0)
    find = database.rows.due
    due = find(HOOK, 9, until=6.0, without=(), gives_way=False)
    assert due == [
        database.owed(2, "b", 2, 3.0, 4.0), database.owed(1, "a", 2, 3.0, 5.0), database.owed(3, "c", 2, 3.0, 6.0)
    ]  # fmt: skip
    assert find(HOOK, 2, until=6.0, without=(), gives_way=False) == due[:2]
    assert find(HOOK, 9, until=6.0, without=[1, 2], gives_way=False) == due[2:]
    assert find(HOOK, 9, until=6.0, without=(), gives_way=True) == [
        database.owed(6, "e", next_at=2.0, is_transition=True)
    ]
    assert find(OTHER, 9, until=6.0, without=(), gives_way=False) == []


def test_the_next_is_due_when_the_first_is_whether_it_gives_way_or_not(database):
    database.add(*(event_of(asset, 1) for asset in "abcd"))
    for position, next_at, gives_way in ((1, 10.0, False), (2, 20.0, True), (3, 30.0, False), (4, 40.0, True)):
        database.record(position, "abcd"[position - 1], next_at=next_at, gives_way=gives_way)
    for after, without, first in (
        (9.0, (), 10.0), (10.0, (), 20.0), (9.0, [1], 20.0), (20.0, (), 30.0), (20.0, [3], 40.0), (40.0, (), None)
    ):  # fmt: skip
        assert database.rows.next_at(HOOK, after=after, without=without) == first
    assert database.rows.next_at(OTHER, after=0.0, without=()) is None


def test_the_oldest_that_a_sink_lacks_has_a_record_or_comes_after_its_position(database):
    database.add(*(event_of(asset, 1) for asset in "abcd"))
    assert database.rows.oldest_owed(HOOK, 2) == database.stored[3]
    assert database.rows.oldest_owed(HOOK, 4) is None
    database.record(2)
    assert database.rows.oldest_owed(HOOK, 3) == database.stored[2]


# Changes


def test_after_a_failure_later_events_of_the_asset_are_due_no_sooner(database):
    database.add(*(event_of("a", number) for number in (1, 2, 3)), event_of("b", 1), event_of("a", 4))
    for position, next_at in ((1, 7.0), (2, 7.0), (3, 99.0), (5, 7.0)):
        database.record(position, next_at=next_at)
    database.record(4, "b")
    database.record(5, sink=OTHER)
    database.rows.change(HOOK, 2, attempts=3, first_at=5.0, next_at=60.0, error="HTTP 500")
    assert database.records() == [
        (1, "a", 0, None, 7.0, 0),
        (2, "a", 3, 5.0, 60.0, 0),
        (3, "a", 0, None, 99.0, 0),
        (4, "b", 0, None, 7.0, 0),
        (5, "a", 0, None, 60.0, 0),
    ]
    assert database.due_at(OTHER) == {5: 7.0}
    assert database.execute("SELECT position, error FROM undelivered WHERE error IS NOT NULL").fetchall() == [
        (2, "HTTP 500")
    ]


def test_with_the_record_goes_its_event_and_the_next_one_of_the_asset_is_due(database):
    database.add(*(event_of("a", number) for number in (1, 2, 3)))
    for position in (1, 2, 3):
        database.record(position, next_at=60.0)
    database.pass_all()
    assert database.rows.delete(HOOK, 1, now=9.0) == 1
    assert (database.due_at(), database.events()) == ({2: 9.0, 3: 60.0}, [2, 3])
    assert database.rows.delete(HOOK, 1, now=10.0) == 0
    assert database.rows.delete(OTHER, 2, now=10.0) == 0
    assert database.rows.delete(HOOK, 3, now=8.0) == 1
    assert (database.due_at(), database.events()) == ({2: 8.0}, [2])


@pytest.mark.parametrize("others", ["a sink has a record of it", "a sink has not passed it"])
def test_an_event_that_is_needed_stays_without_the_record(database, others):
    database.add(event_of("a", 1))
    database.record(1)
    if others == "a sink has a record of it":
        database.pass_all()
        database.record(1, sink=OTHER)
    assert database.rows.delete(HOOK, 1, now=9.0) == 1
    assert (database.records(), database.events()) == ([], [1])


def test_the_records_of_a_sink_that_is_dropped_are_deleted_in_pieces_with_their_events(database):
    database.add(*(event_of(asset, 1) for asset in "abc"))
    for position in (1, 2, 3):
        database.record(position, None)
    database.record(3, sink=OTHER)
    database.pass_all()
    assert [database.rows.delete_some(HOOK, 2) for _ in range(3)] == [2, 1, 0]
    assert (database.events(), database.due_at(OTHER)) == ([3], {3: 7.0})


def test_all_records_are_made_due_in_pieces_but_those_that_wait_for_an_earlier_one(database):
    database.add(*(event_of("a", number) for number in (1, 2)), *(event_of(asset, 1) for asset in "bcd"))
    for position, asset, next_at in ((1, "a", 60.0), (2, "a", 60.0), (3, "b", 3.0), (4, "c", 60.0), (5, "d", 60.0)):
        database.record(position, asset, next_at=next_at)
    assert database.rows.make_due(HOOK, after=0, limit=2, now=9.0) == 2
    assert database.due_at() == {1: 9.0, 2: 60.0, 3: 3.0, 4: 60.0, 5: 60.0}
    assert database.rows.make_due(HOOK, after=2, limit=2, now=9.0) == 4
    assert database.rows.make_due(HOOK, after=4, limit=2, now=9.0) is None
    assert database.due_at() == {1: 9.0, 2: 60.0, 3: 3.0, 4: 9.0, 5: 9.0}


def test_instants_that_can_not_be_right_are_corrected(database):
    """A first attempt was not later than now. What is due later than twice the longest delay, 31 days, is due now."""
    database.add(*(event_of(asset, 1) for asset in "abc"))
    longest = 62 * 86_400.0
    for position, first_at, next_at in ((1, 101.0, 100.0 + longest), (2, 100.0, 101.0 + longest), (3, None, 1e12)):
        database.record(position, "abc"[position - 1], first_at=first_at, next_at=next_at)
    database.rows.end_future(100.0)
    assert [(first_at, next_at) for _, _, _, first_at, next_at, _ in database.records()] == [
        (100.0, 100.0 + longest), (100.0, 100.0), (None, 100.0)
    ]  # fmt: skip
