"""A million events that are owed cost disk: no statement of a delivery takes longer for them, or sorts them."""

from __future__ import annotations

import math
import re
import shutil
from contextlib import closing, contextmanager

import pytest

from asset_worker.domain.transitions import Transition
from asset_worker.queue.dead_letters import Selection
from asset_worker.queue.local.journal import Journal
from tests.unit.queue.outbox_model import event_of, wants_all

FEW, MANY = 50, 5_000
SINK = "hook"


def filled(path, count, *, failed=True):
    """A journal with so many records, all failed once, then as many new events. Of each asset there are two events."""
    journal = Journal(path)
    with journal.transaction():
        journal.add_events([event_of(f"a{number // 2}", number % 2 + 1) for number in range(count)])
        claim = journal.undelivered.claim(SINK, 0, count, examine=count, now=0.0, wants=wants_all)
        journal.advance(SINK, claim.position, None, others=())
        if failed:
            journal._execute("UPDATE undelivered SET attempts = 1, first_at = 0.0, next_at = 10.0 + position")
        journal.add_events([event_of(f"b{number}", 1) for number in range(count)])
    return journal


@pytest.fixture(scope="module")
def copy_of_filled(tmp_path_factory):
    """Opens a journal with so many records, at a path: a copy of one that was filled once."""
    folder = tmp_path_factory.mktemp("filled")

    def copied(path, count):
        if not (template := folder / f"{count}.journal").exists():
            filled(template, count).close()
        assert [*folder.glob(f"{count}.*")] == [template], "a journal that is closed is one file"
        shutil.copy(template, path)
        return Journal(path)

    return copied


@contextmanager
def steps(journal):
    """Count the steps that SQLite's virtual machine takes meanwhile."""
    counted = [0]

    def count():
        counted[0] += 1

    journal._connection.set_progress_handler(count, 1)
    try:
        yield counted
    finally:
        journal._connection.set_progress_handler(None, 0)


def dead(journal):
    journal.dead_letters.add(SINK, 3, attempts=9, first_at=1.0, now=2.0, reason="why")
    journal.undelivered.delete(SINK, 3, now=2.0)


def completion(journal):
    """Record the completion of an asset, one of whose steps waits for a retry."""
    [[position]] = journal._execute("SELECT max(position) FROM outbox")
    journal.add_events([event_of("c", 1, Transition.PLAYABLE), event_of("c", 1)])
    journal.undelivered.claim(SINK, position, 1, examine=1, now=1.0, wants=wants_all)
    journal.undelivered.change(SINK, position + 1, attempts=1, first_at=1.0, next_at=99.0, error="why")
    claim = journal.undelivered.claim(SINK, position + 1, 1, examine=1, now=9.0, wants=wants_all)
    assert claim.superseded == ["c.1.playable"]


OPERATIONS = {
    "take what is due": lambda j: j.undelivered.due(SINK, 8, until=15.0, without=[1, 3], gives_way=False),
    "take a probe": lambda j: j.undelivered.due(SINK, 1, until=math.inf, without=[1, 3], gives_way=False),
    "take when all are due": lambda j: j.undelivered.due(SINK, 8, until=1e9, without=[1, 3], gives_way=False),
    "find when the next is due": lambda j: j.undelivered.next_at(SINK, after=20.0, without=[12]),
    "claim": lambda j: j.undelivered.claim(SINK, 0, 8, examine=500, now=9.0, wants=wants_all),
    "claim what is not wanted": lambda j: j.undelivered.claim(SINK, 0, 8, examine=40, now=9.0, wants=lambda _: False),
    "take steps that are due": lambda j: j.undelivered.due(SINK, 8, until=1e9, without=[], gives_way=True),
    "claim a completion": completion,
    "supersede": lambda j: j.undelivered.supersede(SINK, 1, attempts=2, first_at=1.0, now=9.0),
    "deliver": lambda j: j.undelivered.delete(SINK, 1, now=9.0),
    "fail": lambda j: j.undelivered.change(SINK, 1, attempts=2, first_at=1.0, next_at=999.0, error="why"),
    "give up": dead,
    "make some due": lambda j: j.undelivered.make_due(SINK, after=4, limit=20, now=3.0),
    "let another sink pass an event": lambda j: j.advance("file", FEW + 2, None, others=()),
    "forget some records": lambda j: j.undelivered.delete_some(SINK, 5),
    "prune dead letters": lambda j: j.dead_letters.prune(before=5.0, limit=5),
    "find the dead letters of an event": lambda j: j.dead_letters.missing(Selection(("a7.1",))),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_it_costs_the_same_with_few_and_with_many_records(tmp_path, copy_of_filled, operation):
    costs = []
    for count in (FEW, MANY):
        with closing(copy_of_filled(tmp_path / str(count), count)) as journal, journal.transaction():
            with steps(journal) as counted:
                operation(journal)
            costs.append(counted[0])
    few, many = costs
    assert 0 < many <= 1.3 * few + 20


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_it_sorts_nothing_and_reads_no_whole_table(tmp_path, operation):
    with closing(filled(tmp_path / "j", FEW)) as journal, journal.transaction():
        statements = set()
        journal._connection.set_trace_callback(statements.add)
        operation(journal)
        journal._connection.set_trace_callback(None)
        plans = [
            detail
            for statement in statements
            if not statement.startswith("--")
            for *_, detail in journal._execute(f"EXPLAIN QUERY PLAN {statement.replace('Inf', '9e999')}")
        ]
    assert not [detail for detail in plans if "TEMP B-TREE" in detail]
    scanned = {match[1] for detail in plans if (match := re.match(r"SCAN (\w+)", detail))}
    assert scanned <= {"json_each", "passed"}


def test_the_events_of_one_asset_that_wait_for_its_first_one_are_not_examined_again_and_again(tmp_path):
    """They are due no sooner than the first one that fails."""
    with closing(Journal(tmp_path / "j")) as journal, journal.transaction():
        journal.add_events([event_of("a1", number) for number in range(1, 1001)])
        journal.undelivered.claim(SINK, 0, 9, examine=1000, now=1.0, wants=wants_all)
        [first] = journal.undelivered.due(SINK, 8, until=1.0, without=(), gives_way=False)
        journal.undelivered.change(SINK, first.event.position, attempts=1, first_at=1.0, next_at=60.0, error="why")
        with steps(journal) as counted:
            assert journal.undelivered.due(SINK, 8, until=59.0, without=(), gives_way=False) == []
        assert counted[0] < 100
        assert journal.undelivered.next_at(SINK, after=59.0, without=()) == 60.0
