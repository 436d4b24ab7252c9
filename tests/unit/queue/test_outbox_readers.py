"""Readers of the outbox that are no sinks: they miss nothing, and nobody waits for them or sees them."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.status_report import read_status
from asset_worker.queue.memory import MemoryQueue
from asset_worker.queue.outbox_readers import TRACES
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import open_local, put, rejection
from tests.unit.queue.conformance import DEDUPE_WINDOW

BOTH = ["a", TRACES]


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


def in_memory(path):
    del path
    return MemoryQueue(ManualClock(), sinks=BOTH, dedupe_window=DEDUPE_WINDOW, max_pending=3)


def durable(path, sinks=BOTH, **options):
    return open_local(path, ManualClock(), sinks=sinks, **options)


async def add(queue, *numbers):
    await put(queue, events=[rejection(str(number)) for number in numbers])


async def lacks(queue, name):
    return [stored.position for stored in await queue.outbox.read(name, 99)]


@pytest.mark.parametrize("opened", [in_memory, lambda path: durable(path, max_pending=3)], ids=["memory", "local"])
async def test_a_reader_that_is_behind_holds_up_nothing(opened, path):
    """No input waits for it, and the outbox counts as empty once the sinks have all."""
    queue = opened(path)
    await queue.begin(ends_by_itself=True)
    await add(queue, *range(1, 6))
    assert queue.outbox_depth() == 5
    await queue.outbox.advance("a", 5, None)
    assert queue.outbox_depth() == 0
    assert await queue.room() == 3
    assert await lacks(queue, TRACES) == [1, 2, 3, 4, 5]
    await queue.close()


@pytest.mark.parametrize("opened", [in_memory, durable], ids=["memory", "local"])
async def test_a_reader_that_is_too_far_behind_is_moved_on(opened, path):
    queue = opened(path)
    await add(queue, *range(1, 8))
    await queue.outbox.advance("a", 7, None)
    assert await queue.outbox.move_on(TRACES, keep=3) == 4
    assert await lacks(queue, TRACES) == [5, 6, 7]
    assert queue.outbox.position(TRACES) == 4
    assert await queue.outbox.move_on(TRACES, keep=3) == 0
    await queue.close()


async def test_a_reader_has_lost_nothing_after_a_crash(path):
    queue = durable(path)
    await queue.begin(ends_by_itself=False)
    await add(queue, 1, 2, 3)
    await queue.outbox.advance("a", 3, None)
    await queue.outbox.advance(TRACES, 1, None)
    queue.crash()
    again = durable(path)
    assert await lacks(again, TRACES) == [2, 3]
    assert await lacks(again, "a") == []
    await again.close()


async def test_nothing_is_kept_for_a_reader_that_is_absent(path):
    """Nor is it reported as a sink that was removed. When it is back, it begins with what is new."""
    queue = durable(path)
    await queue.begin(ends_by_itself=False)
    await add(queue, 1, 2, 3)
    await queue.outbox.advance("a", 2, None)
    await queue.close()

    without = durable(path, ["a"])
    with capture_logs() as logs:
        await without.begin(ends_by_itself=False)
    assert logs == []
    assert [position for position, _, _ in without.journal.events_after(0, 99)] == [3]
    await without.outbox.advance("a", 3, None)
    await add(without, 4)
    await without.close()

    back = durable(path)
    await back.begin(ends_by_itself=False)
    assert await lacks(back, TRACES) == []
    await add(back, 5)
    assert await lacks(back, TRACES) == [5]
    assert await lacks(back, "a") == [4, 5]
    await back.close()


async def test_a_new_reader_begins_with_what_is_new(path):
    queue = durable(path, ["a"])
    await queue.begin(ends_by_itself=False)
    await add(queue, 1, 2)
    await queue.close()
    again = durable(path)
    await again.begin(ends_by_itself=False)
    assert await lacks(again, TRACES) == []
    assert await lacks(again, "a") == [1, 2]
    await again.close()


async def test_a_new_sink_gets_nothing_that_is_kept_for_a_reader_alone(path):
    queue = durable(path)
    await queue.begin(ends_by_itself=False)
    await add(queue, 1, 2, 3)
    await queue.outbox.advance("a", 2, None)
    await queue.close()
    again = durable(path, [*BOTH, "b"])
    assert await lacks(again, "b") == [3]
    assert await lacks(again, TRACES) == [1, 2, 3]
    await again.close()


async def test_status_shows_no_reader(path):
    """Nor the events that are kept for it alone."""
    queue = durable(path)
    await queue.begin(ends_by_itself=False)
    await add(queue, 1, 2, 3)
    await queue.outbox.advance("a", 2, None)
    await queue.close()
    report = read_status(path.parent, clock=ManualClock(), limit=9)
    assert (report.outbox_count, report.outbox_depth, report.outbox_kept, report.outbox_new) == (1, {"a": 1}, {}, 0)
