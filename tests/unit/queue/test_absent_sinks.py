"""Where each sink starts, and for how long events are kept for one that is absent: tables of what was and what is."""

from __future__ import annotations

import pytest

from asset_worker.queue.absent_sinks import SinkState, seconds_left, states_at_start
from asset_worker.queue.outbox_readers import TRACES

FIRST, LAST, NOW, BEFORE = 5, 9, 100.0, 50.0
"""Events 5 to 9 are kept for at least one sink."""


def started(known=None, sinks=(), *, first=FIRST, last=LAST, with_records=()):
    return states_at_start(known or {}, sinks, first=first, last=last, now=NOW, with_records=with_records)


PRESENT = {
    "new": (None, SinkState(4)),
    "up to date": (SinkState(9, b"c"), SinkState(9, b"c")),
    "behind": (SinkState(7, b"c"), SinkState(7, b"c")),
    "so far behind that events are gone": (SinkState(2, b"c"), SinkState(4, b"c")),
    "back in time": (SinkState(7, b"c", absent_since=BEFORE), SinkState(7, b"c")),
    "back too late": (SinkState(2, b"c", absent_since=BEFORE, is_released=True), SinkState(4, b"c")),
}


@pytest.mark.parametrize(("kept", "now"), PRESENT.values(), ids=PRESENT)
def test_a_sink_goes_on_where_it_was_or_begins_with_the_first_event_that_is_kept(kept, now):
    assert started({} if kept is None else {"a": kept}, ["a"]) == {"a": now}


READERS = {
    "new": (None, SinkState(9)),
    "behind": (SinkState(6), SinkState(6)),
    "so far behind that events are gone": (SinkState(2), SinkState(4)),
    "back": (SinkState(6, absent_since=BEFORE, is_released=True), SinkState(9)),
}


@pytest.mark.parametrize(("kept", "now"), READERS.values(), ids=READERS)
def test_a_reader_that_is_new_or_was_away_begins_after_the_last_event(kept, now):
    assert started({} if kept is None else {TRACES: kept}, [TRACES]) == {TRACES: now}


HELD, RELEASED = {"absent_since": NOW}, {"absent_since": NOW, "is_released": True}
ABSENT = {
    "it lacks the first event": (SinkState(4, b"c"), SinkState(4, b"c", **HELD)),
    "it lacks the last event": (SinkState(8), SinkState(8, **HELD)),
    "it has all": (SinkState(9, b"c"), SinkState(9, b"c", **RELEASED)),
    "its events are gone": (SinkState(3), SinkState(3, **RELEASED)),
    "it is kept for": (SinkState(7, absent_since=BEFORE), SinkState(7, absent_since=BEFORE)),
    "its time is over": (
        SinkState(7, absent_since=BEFORE, is_released=True), SinkState(7, absent_since=BEFORE, is_released=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kept", "now"), ABSENT.values(), ids=ABSENT)
def test_events_are_kept_from_now_on_for_a_sink_that_was_removed_while_it_was_owed_some(kept, now):
    assert started({"b": kept}) == {"b": now}


RECORDS = {
    "a sink that was removed now": (SinkState(9), SinkState(9, **HELD)),
    "a sink that was never there": (None, SinkState(9, **HELD)),
    "a sink that is kept for": (SinkState(7, absent_since=BEFORE), SinkState(7, absent_since=BEFORE)),
    "a sink whose time was over": (
        SinkState(7, b"c", absent_since=BEFORE, is_released=True), SinkState(9, b"c", **HELD)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kept", "now"), RECORDS.values(), ids=RECORDS)
def test_events_are_kept_for_an_absent_sink_that_has_records_of_events(kept, now):
    """Such as those that were put back from its dead letters."""
    assert started({} if kept is None else {"b": kept}, with_records=["b"]) == {"b": now}


def test_the_first_sink_of_all_begins_with_the_first_event():
    assert started(sinks=["a"], first=1, last=3) == {"a": SinkState(0)}


def test_nothing_is_kept_for_a_reader_that_is_absent():
    assert started({TRACES: SinkState(6)}) == {TRACES: SinkState(6, **RELEASED)}


def test_what_is_kept_for_a_reader_alone_is_no_news_to_a_sink_that_is_new():
    known = {
        TRACES: SinkState(5), "a": SinkState(8), "b": SinkState(7),
        "gone": SinkState(1, absent_since=BEFORE, is_released=True),
    }  # fmt: skip
    assert started(known, [TRACES, "a", "b", "new"], first=6) == {
        TRACES: SinkState(5), "a": SinkState(8), "b": SinkState(7), "new": SinkState(7), "gone": known["gone"]
    }  # fmt: skip
    assert started({"a": SinkState(8)}, ["a", "new"], first=6) == {"a": SinkState(8), "new": SinkState(5)}
    assert started({TRACES: SinkState(3)}, [TRACES, "new"], first=1) == {TRACES: SinkState(3), "new": SinkState(0)}


@pytest.mark.parametrize(
    ("state", "is_held"),
    [
        (SinkState(1), False),
        (SinkState(1, is_released=True), False),
        (SinkState(1, absent_since=1.0), True),
        (SinkState(1, absent_since=1.0, is_released=True), False),
    ],
)
def test_events_are_kept_for_a_sink_that_is_absent_and_not_released(state, is_held):
    assert state.is_held == is_held


def test_the_time_of_an_absent_sink_is_counted_from_the_first_start_without_it():
    left = [seconds_left(SinkState(1, absent_since=50.0), now=now, window=100.0) for now in (50.0, 120.0, 150.0, 151.0)]
    assert left == [100.0, 30.0, 0.0, -1.0]
    assert seconds_left(SinkState(1), now=50.0, window=100.0) == 0.0
