"""What each sink lacks, what is no longer needed, and how much room the slowest leaves."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.queue.outbox_readers import TRACES
from asset_worker.queue.room import Room
from asset_worker.queue.sink_positions import SinkPositions
from tests.doubles.clocks import ManualClock
from tests.unit.queue.conformance import turns


@pytest.fixture
def room():
    return Room(10, ManualClock())


def test_room_is_taken_by_what_the_slowest_sink_lacks_from_the_start(room):
    sinks = SinkPositions(
        {"a": (3, b"x"), "b": (5, None), TRACES: (0, None)}, room, last=7, held={"gone": 1}, records={"a": 2, "c": 9}
    )
    assert {name: sinks.owed(name) for name in ("a", "b", TRACES)} == {"a": 6, "b": 2, TRACES: 7}
    assert (sinks.depth(), room.left()) == (6, 5)
    sinks.add(9)
    assert (sinks.depth(), room.left(), sinks.last) == (8, 3, 9)
    sinks.add(4)
    assert (sinks.depth(), sinks.last) == (8, 9)
    sinks.add_records("b", 5)
    assert (sinks.owed("b"), room.left()) == (9, 2)
    sinks.add_records("b", -4)
    sinks.advance("a", 9, b"y")
    assert (sinks.owed("a"), sinks.owed("b"), sinks.depth(), room.left()) == (2, 5, 5, 6)
    assert (sinks.position("a"), sinks.checkpoint("a"), sinks.checkpoint("b")) == (9, b"y", None)


def test_what_every_sink_has_passed_is_needed_no_more_those_that_are_kept_for_included(room):
    sinks = SinkPositions({"a": (3, None), "b": (5, None), TRACES: (4, None)}, room, last=7, held={"gone": 2})
    assert (sinks.passed_by_all, sinks.done_by_all("a", 7)) == (2, 2)
    assert sinks.others("a") == ["b", TRACES, "gone"]
    assert sinks.release("gone") == 3
    assert (sinks.passed_by_all, sinks.done_by_all("a", 7), sinks.done_by_all("a", 1)) == (3, 4, 1)
    assert sinks.others("b") == ["a", TRACES]


def test_without_sinks_nothing_is_owed_or_needed(room):
    sinks = SinkPositions({}, room, last=7)
    assert (sinks.depth(), sinks.passed_by_all, room.left()) == (0, 0, 10)
    assert SinkPositions({TRACES: (2, None)}, room, last=7).depth() == 0


def test_a_sink_that_was_recorded_before_its_events_were_added_lacks_none(room):
    sinks = SinkPositions({"a": (0, None)}, room, last=1)
    assert not sinks.has_passed_all("a")
    sinks.advance("a", 1, None)
    assert sinks.has_passed_all("a")
    sinks.advance("a", 3, None)
    assert (sinks.has_passed_all("a"), sinks.owed("a"), room.left()) == (True, 0, 10)


@pytest.mark.virtual_time
async def test_a_sink_waits_until_there_are_events_after_its_position(room):
    sinks = SinkPositions({"a": (0, None), "b": (0, None)}, room, last=1)
    await sinks.wait("a")
    for last in (1, 2):
        for name in ("a", "b"):
            sinks.advance(name, last, None)
        waits = [asyncio.ensure_future(sinks.wait(name)) for name in ("a", "b")]
        await turns(3)
        sinks.add(last)
        await turns(3)
        assert [wait.done() for wait in waits] == [False, False]
        sinks.add(last + 1)
        async with asyncio.timeout(1):
            await asyncio.gather(*waits)
