"""Back pressure: how much the intakes may hand over, and what is said while they wait for the sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.room import Room, room_left
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import open_local, put, rejection
from tests.unit.queue.conformance import turns

LIMIT = 10


@pytest.mark.parametrize(
    ("pending", "undelivered", "left"),
    [
        pytest.param(0, 0, 10, id="empty"),
        pytest.param(9, 0, 1, id="one more asset"),
        pytest.param(10, 0, 0, id="as many assets as may be pending"),
        pytest.param(0, 9, 2, id="fewer events"),
        pytest.param(0, 10, 1, id="as many events as may be undelivered"),
        pytest.param(0, 11, 0, id="more events"),
        pytest.param(4, 7, 4, id="the smaller of both"),
        pytest.param(12, 0, -2, id="assets past the limit"),
        pytest.param(0, 15, -4, id="events past the limit"),
    ],
)
def test_pending_assets_and_undelivered_events_take_room(pending: int, undelivered: int, left: int):
    assert room_left(LIMIT, pending=pending, undelivered=undelivered) == left


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def room(clock: ManualClock) -> Room:
    return Room(LIMIT, clock)


async def begun(wait: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
    waiting = asyncio.ensure_future(wait)
    await turns(3)
    return waiting


async def test_at_first_there_is_room_for_as_many_as_the_limit_says(room: Room):
    assert (room.left(), await room.wait()) == (LIMIT, LIMIT)


async def test_a_wait_for_the_sinks_is_logged_when_it_begins_and_when_half_is_delivered(room: Room, clock: ManualClock):
    with capture_logs() as logs:
        room.set_undelivered(11)
        waiting = await begun(room.wait())
        since, shown = clock.now(), []
        clock.move(5.0)
        assert not waiting.done()
        shown.append(room.waiting_for_sinks_since)
        room.set_undelivered(8)
        assert await waiting == 3
        shown.append(room.waiting_for_sinks_since)
        clock.move(1.5)
        room.set_undelivered(5)
        shown.append(room.waiting_for_sinks_since)
    assert shown == [since, since, None]
    assert logs == [
        {"event": "intake.waiting", "log_level": "warning", "undelivered": 11, "limit": LIMIT},
        {"event": "intake.resumed", "log_level": "info", "seconds": 6.5},
    ]


async def test_sinks_that_are_slower_than_the_intakes_are_one_wait(room: Room):
    """Reading goes on after each batch of theirs."""
    with capture_logs() as logs:
        for _ in range(20):
            room.set_undelivered(11)
            waiting = await begun(room.wait())
            assert not waiting.done()
            room.set_undelivered(7)
            assert await waiting == 4
    assert [log["event"] for log in logs] == ["intake.waiting"]


async def test_events_past_the_limit_are_no_wait_while_nothing_is_read(room: Room):
    with capture_logs() as logs:
        room.set_undelivered(99)
        room.set_undelivered(0)
    assert (logs, room.waiting_for_sinks_since) == ([], None)


async def test_a_wait_for_pending_assets_is_not_one_for_the_sinks(room: Room):
    room.set_undelivered(10)
    room.set_pending(10)
    with capture_logs() as logs:
        waiting = await begun(room.wait())
        assert (waiting.done(), room.waiting_for_sinks_since) == (False, None)
        room.set_pending(9)
        assert await waiting == 1
    assert logs == []


async def test_all_that_wait_go_on(room: Room):
    room.set_undelivered(11)
    waiting = [await begun(room.wait()) for _ in range(3)]
    room.set_undelivered(10)
    assert await asyncio.gather(*waiting) == [1, 1, 1]


async def test_what_the_slowest_sink_lacks_takes_room_and_what_is_kept_for_an_absent_one_does_not(tmp_path):
    """An absent sink may stay away for a day: meanwhile the others are served."""
    clock = ManualClock()

    async def opened(*sinks):
        queue = open_local(tmp_path / "j", clock, sinks=sinks, max_pending=3)
        await queue.begin(ends_by_itself=False)
        return queue

    queue = await opened("a", "b")
    await put(queue, events=[rejection(key) for key in "uvwx"])
    assert not (await begun(queue.room())).done(), "nobody has any of them"
    await queue.outbox.advance("a", 4, None)
    assert not (await begun(queue.room())).done(), "b has none of them"
    await queue.close()
    queue = await opened("a")
    assert await queue.room() == 3
    await queue.close()
    queue = await opened("a", "b")
    waiting = await begun(queue.room())
    assert not waiting.done(), "b is back, and lacks them"
    await queue.outbox.advance("b", 1, None)
    assert await waiting == 1
    await queue.close()
