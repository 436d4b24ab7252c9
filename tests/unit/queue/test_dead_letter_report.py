"""The dead letters as commands show them, and the instants of a journal by the present wall clock."""

from __future__ import annotations

from contextlib import closing

import msgspec
import pytest

from asset_worker.domain.events import FIRST_INSTANT, LAST_INSTANT, timestamp
from asset_worker.queue.dead_letters import DeadLetter, Request
from asset_worker.queue.local.dead_letter_report import read_dead_letter, read_dead_letters
from asset_worker.queue.local.dead_letter_requests import carry_out
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.queue.local.reading import shown_instant
from asset_worker.runtime.steady_time import Mark, Reading
from tests.doubles.clocks import ManualClock

NOW = 1_795_727_780.0


@pytest.fixture
def clock():
    return ManualClock(NOW)


@pytest.fixture
def state(tmp_path, clock):
    """Three letters of two sinks; the body of the last is damaged. Steady time is an hour behind the wall clock."""
    with closing(Journal(tmp_path / FILE_NAME)) as journal, journal.transaction():
        journal.set_clock_mark(Mark(NOW - 3600.0, Reading(clock.boot, clock.monotonic(), NOW)))
        rows = [
            ("a", 1, b"{}", "a", 2, 10.0, 20.0),
            ("b", 1, b"{}", "a", None, None, 30.0),
            ("a", 2, b"\xff{", None, 1, 1e18, 40.0),
        ]
        for sink, position, body, asset, attempts, first_at, last_at in rows:
            journal._execute(
                "INSERT INTO dead_letters (sink, position, id, body, reason, asset_id, attempts, first_at, last_at) "
                "VALUES (?, ?, ?, ?, 'why', ?, ?, ?, ?)",
                (sink, position, f"e{position}", body, asset, attempts, first_at, last_at),
            )
    return tmp_path


LAST = DeadLetter("e2", "a", None, 1, None, timestamp(3640.0), "why")
MIDDLE = DeadLetter("e1", "b", "a", None, None, timestamp(3630.0), "why")
FIRST = DeadLetter("e1", "a", "a", 2, timestamp(3610.0), timestamp(3620.0), "why")


@pytest.mark.parametrize(
    ("options", "total", "letters"),
    [
        ({}, 3, [LAST, MIDDLE, FIRST]),
        ({"limit": 2}, 3, [LAST, MIDDLE]),
        ({"sink": "a"}, 2, [LAST, FIRST]),
        ({"sink": "c"}, 0, []),
    ],
)
def test_dead_letters_are_shown_the_latest_first_with_how_many_there_are(state, clock, options, total, letters):
    shown = []
    read_dead_letters(state, lambda found: shown.append((found.total, list(found.letters))), clock=clock, **options)
    assert shown == [(total, letters)]


def test_one_event_is_shown_with_its_body_as_each_sink_refused_it(state, clock):
    letters = read_dead_letter(state, "e1", clock=clock)
    assert letters == [msgspec.structs.replace(each, event=msgspec.Raw(b"{}")) for each in (FIRST, MIDDLE)]
    assert [each.sink for each in read_dead_letter(state, "e1", clock=clock, sink="b")] == ["b"]
    assert read_dead_letter(state, "e3", clock=clock) == []


def test_an_event_that_is_damaged_is_shown_as_a_text(state, clock):
    assert read_dead_letter(state, "e2", clock=clock) == [msgspec.structs.replace(LAST, event="\ufffd{")]


@pytest.mark.parametrize(
    ("steady", "is_shown"),
    [
        (None, False),
        (0.0, True),
        (FIRST_INSTANT - 5.0, True),
        (FIRST_INSTANT - 6.0, False),
        (LAST_INSTANT - 5.0, True),
        (LAST_INSTANT - 4.0, False),
    ],
)
def test_an_instant_is_shown_by_the_present_wall_clock_if_it_has_a_year_of_four_digits(steady, is_shown):
    assert shown_instant(steady, 5.0) == (timestamp(steady + 5.0) if is_shown else None)


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, ", …")])
def test_an_error_names_five_ids_that_no_dead_letter_has(state, count, more):
    ids = tuple(f"x{number}" for number in range(count))
    with closing(Journal(state / FILE_NAME)) as journal, journal.transaction():
        answer = carry_out(journal, "1", Request("drop", ids=ids), receivers=None, now=1.0).answer
    assert answer.error == f"no dead letter has the ID x0, x1, x2, x3, x4{more}: nothing was done"


def test_a_request_that_is_carried_out_is_known_as_done_with_its_answer(state):
    request = Request("drop", ids=("e1",), sink="a")
    with closing(Journal(state / FILE_NAME)) as journal, journal.transaction():
        done = [carry_out(journal, "1", request, receivers=None, now=1.0) for _ in range(2)]
    assert [(each.answer.counts, each.answer.error, each.is_new) for each in done] == [
        ({"a": 1}, None, True), ({"a": 1}, None, False)
    ]  # fmt: skip
