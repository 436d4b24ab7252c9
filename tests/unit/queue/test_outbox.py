"""The outbox of every engine: each sink gets each event, whichever sinks there are; a local one's after a crash too."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from abc import abstractmethod
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from asset_worker.domain.events import Stored
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.sink_rows import read_sinks
from asset_worker.queue.local.status_report import read_status
from asset_worker.queue.memory import MemoryQueue
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import (
    directory_in_memory,
    end_all_tasks,
    open_local,
    put,
    rejection,
    settle,
)
from tests.doubles.threads import SuspendingThread
from tests.doubles.virtual_time import VirtualTimeLoop
from tests.unit.queue.conformance import DEDUPE_WINDOW, gathered, turns

ALWAYS = "file"
"""The sink that is there at every start."""
SINKS = [ALWAYS, "stdout", "webhook"]
COUNTS = st.integers(1, 4)


class OutboxMachine(RuleBasedStateMachine):
    """Any engine's outbox while the process lives, against lists."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.starts = 0
        self.advances = 0
        self.sinks = [ALWAYS]
        self.events: list[str] = []
        """The event at position n is the one before index n."""
        self.dropped = 0
        """The last position that no sink lacks."""
        self.positions: dict[str, int] = {}
        self.checkpoints: dict[str, bytes | None] = {}
        self.read: dict[str, list[Stored]] = {}
        """What each sink has read, and has not advanced over since."""
        self.taken: list[int] = []
        """The positions that the sink that is always there was given, in that order."""
        self.held: dict[str, float] = {}
        """Since when each sink is absent for which events are kept."""

    def run(self, work):
        # Not by the runner, which handles SIGINT anew each time: that took a sixth of all.
        return self.runner.get_loop().run_until_complete(work)

    @property
    def outbox(self):
        return self.queue.outbox

    @abstractmethod
    async def opened(self):
        """The engine, opened with these sinks."""

    def position(self, sink):
        return self.positions.get(sink, 0)

    def lacking(self, sink):
        """The positions of the events that this sink does not have."""
        return range(max(self.position(sink), self.dropped) + 1, len(self.events) + 1)

    def readers(self):
        return sorted(sink for sink, events in self.read.items() if events)

    @initialize(sinks=st.sets(st.sampled_from(SINKS)))
    def start(self, sinks):
        self.sinks = sorted({ALWAYS} | sinks)
        self.queue = self.run(self.opened())
        self.read.clear()
        self.starts += 1

    @precondition(lambda self: len(self.events) - self.dropped < 8)
    @rule(number=COUNTS)
    def events_are_added(self, number):
        keys = [str(len(self.events) + index) for index in range(number)]
        self.run(put(self.queue, events=[rejection(key) for key in keys]))
        self.events += [f"rejected.{key}" for key in keys]

    @precondition(lambda self: any(map(self.lacking, self.sinks)))
    @rule(data=st.data(), limit=COUNTS)
    def one_reads(self, data, limit):
        self.reads(data.draw(st.sampled_from(self.sinks)), limit)

    def reads(self, sink, limit):
        """In order, with nothing between what it has and what it gets."""
        events = self.run(self.outbox.read(sink, limit))
        expected = self.lacking(sink)[:limit]
        assert [(event.position, event.id) for event in events] == [(n, self.events[n - 1]) for n in expected]
        self.read[sink] = events
        if sink == ALWAYS:
            self.taken += expected

    @rule(data=st.data())
    def one_waits(self, data):
        sink = data.draw(st.sampled_from(self.sinks))
        assert self.run(self.waits(sink)) == (not self.lacking(sink))

    async def waits(self, sink):
        waiting = asyncio.ensure_future(self.outbox.wait(sink))
        await turns(3)
        waits = not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        return waits

    def advance_of(self, sink, data):
        """How far a sink says that it has come: from nothing but a new checkpoint to all that it read."""
        events = self.read.pop(sink)
        position = data.draw(st.sampled_from([events[0].position - 1, *(event.position for event in events)]))
        self.advances += 1
        return position, b"%d" % self.advances

    def advanced(self, sink, position, checkpoint):
        assert position >= self.position(sink)
        self.positions[sink], self.checkpoints[sink] = position, checkpoint
        self.drop()

    def drop(self):
        self.dropped = max(self.dropped, min(map(self.position, [*self.sinks, *self.held])))

    @precondition(readers)
    @rule(data=st.data())
    def one_advances(self, data):
        sink = data.draw(st.sampled_from(self.readers()))
        position, checkpoint = self.advance_of(sink, data)
        self.run(self.outbox.advance(sink, position, checkpoint))
        self.advanced(sink, position, checkpoint)

    @precondition(lambda self: any(map(self.lacking, self.sinks)))
    @rule(limit=COUNTS, data=st.data())
    def all_read_and_advance_at_once(self, limit, data):
        for sink in self.sinks:
            self.reads(sink, limit)
        advances = [(sink, *self.advance_of(sink, data)) for sink in self.readers()]
        self.run(gathered(*(self.outbox.advance(*advance) for advance in advances)))
        self.advanced_at_once(advances)

    def advanced_at_once(self, advances):
        for advance in advances:
            self.advanced(*advance)

    @invariant()
    @precondition(lambda self: self.starts)
    def each_sink_finds_what_it_lacks_and_its_checkpoint(self):
        for sink in self.sinks:
            lacking = self.run(self.outbox.read(sink, 10_000))
            assert [event.position for event in lacking] == list(self.lacking(sink))
            assert self.run(self.outbox.checkpoint(sink)) == self.checkpoints.get(sink)

    @invariant()
    @precondition(lambda self: self.starts)
    def the_depth_is_what_the_slowest_sink_lacks(self):
        depth = max(len(self.lacking(sink)) for sink in self.sinks)
        assert (self.outbox.depth(), self.queue.outbox_depth()) == (depth, depth)

    async def discard(self):
        await self.queue.close()

    def teardown(self):
        if self.starts:
            self.taken += [event.position for event in self.run(self.outbox.read(ALWAYS, 10_000))]
            assert sorted(set(self.taken)) == list(range(1, len(self.events) + 1))
            assert list(dict.fromkeys(self.taken)) == sorted(set(self.taken))
            self.run(self.discard())
        self.runner.close()


class MemoryOutboxMachine(OutboxMachine):
    async def opened(self):
        return MemoryQueue(ManualClock(), sinks=self.sinks, dedupe_window=60.0, max_pending=99)


class LocalOutboxMachine(OutboxMachine):
    """Sinks come and go, time passes, and the worker is closed or crashes."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock()
        self.released: set[str] = set()
        """The absent sinks for which nothing is kept."""
        self.directory = directory_in_memory()
        self.crashes = 0
        self.steps = 0
        self.path.parent.mkdir()

    @property
    def path(self):
        return Path(self.directory.name) / str(self.crashes) / FILE_NAME

    async def opened(self):
        self.steps = 0
        queue = open_local(self.path, self.clock, thread=SuspendingThread(), sinks=self.sinks)
        await queue.begin(ends_by_itself=False)
        self.begun()
        return queue

    def begun(self):
        for sink in self.sinks:
            self.positions[sink] = max(self.position(sink), self.dropped)
            self.checkpoints.setdefault(sink, None)
            self.held.pop(sink, None)
            self.released.discard(sink)
        for sink in self.positions.keys() - self.sinks - self.held.keys() - self.released:
            if self.position(sink) < len(self.events):
                self.held[sink] = self.clock.steady()
            else:
                self.released.add(sink)
        self.expired()

    def expired(self):
        for sink, since in list(self.held.items()):
            if self.clock.steady() - since >= DEDUPE_WINDOW:
                del self.held[sink]
                self.released.add(sink)
                self.drop()

    @rule(share=st.sampled_from([0.4, 1.0]), looks=st.booleans())
    def time_passes(self, share, looks):
        self.clock.move(share * DEDUPE_WINDOW)
        if looks:
            self.run(self.queue.outbox.drop_expired(self.clock.steady()))
            self.expired()

    def advanced_at_once(self, advances):
        """No event is dropped while the position of a sink that has it is still on its way to the disk."""
        before = self.dropped
        super().advanced_at_once(advances)
        kept = self.kept()
        assert set(range(self.dropped + 1, len(self.events) + 1)) <= set(kept)
        self.dropped = kept[0] - 1 if kept else len(self.events)
        assert self.dropped >= before

    @precondition(lambda self: self.steps >= 5)
    @rule(data=st.data(), in_order=st.booleans(), sinks=st.sets(st.sampled_from(SINKS)))
    def start_again_with_other_sinks(self, data, in_order, sinks):
        self.run(self.queue.close() if in_order else self.crashed())
        self.start(sinks)

    @precondition(lambda self: self.readers())
    @rule(data=st.data(), turns=st.integers(0, 7), sinks=st.sets(st.sampled_from(SINKS)))
    def crash_while_one_advances(self, data, turns, sinks):
        sink = data.draw(st.sampled_from(self.readers()))
        position, checkpoint = self.advance_of(sink, data)
        before = SinkState(self.positions[sink], self.checkpoints[sink])
        returned = self.run(self.cut_short(self.outbox.advance(sink, position, checkpoint), turns))
        with closing(sqlite3.connect(self.path)) as connection:
            kept = read_sinks(connection)[sink]
        if returned or kept != before:
            assert kept == SinkState(position, checkpoint)
            self.advanced(sink, position, checkpoint)
        self.start(sinks)

    async def cut_short(self, work, count):
        working = asyncio.ensure_future(work)
        await turns(count)
        returned = working.done()
        await self.crashed()
        return returned

    async def crashed(self):
        before = self.path
        self.crashes += 1
        self.path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{before}{suffix}", f"{self.path}{suffix}")
        await end_all_tasks()
        self.queue.crash()

    async def discard(self):
        self.queue.crash()

    def kept(self):
        return [position for position, _, _ in self.queue.journal.events_after(0, 10_000)]

    @invariant()
    @precondition(lambda self: self.starts)
    def an_event_is_kept_until_every_sink_has_it(self):
        assert self.kept() == list(range(self.dropped + 1, len(self.events) + 1))

    @invariant()
    @precondition(lambda self: self.starts)
    def positions_and_checkpoints_are_kept_with_one_another(self):
        states = self.queue.journal.sinks()
        assert {name: (state.position, state.checkpoint) for name, state in states.items()} == {
            sink: (self.positions[sink], self.checkpoints[sink]) for sink in self.positions
        }
        assert {name: state.absent_since for name, state in states.items() if state.is_held} == self.held
        assert {name for name, state in states.items() if state.is_released} == self.released

    @invariant()
    def a_step_is_over(self):
        self.steps += 1

    def teardown(self):
        super().teardown()
        self.directory.cleanup()


TestMemoryOutbox = pytest.mark.timeout(3600)(MemoryOutboxMachine.TestCase)
TestLocalOutbox = pytest.mark.timeout(3600)(LocalOutboxMachine.TestCase)


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


async def test_a_sink_that_is_added_starts_with_the_oldest_event_that_is_kept(path):
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    await put(queue, events=[rejection(str(number)) for number in range(1, 6)])
    await queue.outbox.advance("a", 5, None)
    await queue.outbox.advance("b", 2, None)
    await queue.close()
    again = open_local(path, ManualClock(), sinks=["a", "b", "c"])
    assert [stored.position for stored in await again.outbox.read("c", 9)] == [3, 4, 5]
    await again.outbox.wait("c")
    await again.outbox.advance("a", 5, b"mark")
    await again.outbox.advance("b", 5, None)
    assert [stored.position for stored in await again.outbox.read("c", 9)] == [3, 4, 5]
    assert again.outbox.depth() > 0


async def test_a_sink_that_was_not_there_for_a_run_goes_on_where_it_was(path):
    await open_with_three_events(path, ["a", "b"], advance={"a": 1, "b": 1})
    queue = open_local(path, ManualClock(), sinks=["a"])
    assert [stored.position for stored in await queue.outbox.read("a", 9)] == [2, 3]
    await queue.close()
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    assert [stored.position for stored in await queue.outbox.read("b", 9)] == [2, 3]


async def test_a_sink_that_is_no_longer_named_keeps_events_for_the_dedupe_window_and_holds_up_no_run(path):
    await open_with_three_events(path, ["a", "b"], advance={"a": 2})
    clock = ManualClock()
    queue = open_local(path, clock, sinks=["a"])
    assert await logged(queue.begin(ends_by_itself=True)) == [("sink.absent", "b", 3, DEDUPE_WINDOW)]
    assert queue.outbox.depth() == 1
    await queue.outbox.advance("a", 3, None)
    assert queue.outbox.depth() == 0
    assert kept(queue) == [1, 2, 3]
    report = read_status(path.parent, clock=clock, limit=9)
    assert (report.outbox_depth, report.outbox_kept, report.outbox_count) == ({"a": 0}, {"b": 3}, 3)
    clock.move(DEDUPE_WINDOW - 1)
    assert await logged(queue.outbox.drop_expired(clock.steady())) == []
    clock.move(1)
    assert await logged(queue.outbox.drop_expired(clock.steady())) == [("sink.dropped", "b", 3, None)]
    assert kept(queue) == []
    report = read_status(path.parent, clock=clock, limit=9)
    assert (report.outbox_depth, report.outbox_kept, report.outbox_count) == ({"a": 0}, {}, 0)


async def test_the_window_of_an_absent_sink_begins_with_the_first_start_without_it(path):
    await open_with_three_events(path, ["a", "b"], advance={"a": 3})
    clock = ManualClock()
    for left in (DEDUPE_WINDOW, DEDUPE_WINDOW / 4):
        queue = open_local(path, clock, sinks=["a"])
        assert await logged(queue.begin(ends_by_itself=False)) == [("sink.absent", "b", 3, left)]
        await queue.close()
        clock.move(0.75 * DEDUPE_WINDOW)
    queue = open_local(path, clock, sinks=["a"])
    assert await logged(queue.begin(ends_by_itself=False)) == [("sink.dropped", "b", 3, None)]
    assert kept(queue) == []
    await queue.close()
    queue = open_local(path, clock, sinks=["a"])
    assert await logged(queue.begin(ends_by_itself=False)) == []


async def test_a_sink_that_is_put_back_gets_what_it_missed_with_its_checkpoint(path):
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[rejection(key) for key in "abc"])
    await queue.outbox.advance("a", 3, b"in a")
    await queue.outbox.advance("b", 1, b"in b")
    await queue.close()
    queue = open_local(path, ManualClock(), sinks=["a"])
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[rejection("d")])
    await queue.outbox.advance("a", 4, b"in a")
    await queue.close()
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    assert await logged(queue.begin(ends_by_itself=False)) == []
    assert [stored.position for stored in await queue.outbox.read("b", 9)] == [2, 3, 4]
    assert await queue.outbox.checkpoint("b") == b"in b"
    await queue.outbox.advance("b", 4, b"in b")
    assert kept(queue) == []


async def test_a_sink_that_never_worked_is_owed_its_events_as_well(path):
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[rejection(key) for key in "abc"])
    await queue.outbox.advance("a", 3, None)
    await queue.close()
    queue = open_local(path, ManualClock(), sinks=["a"])
    assert await logged(queue.begin(ends_by_itself=False)) == [("sink.absent", "b", 3, DEDUPE_WINDOW)]


async def test_nothing_is_kept_for_a_sink_that_had_everything_when_it_was_removed(path):
    await open_with_three_events(path, ["a", "b"], advance={"a": 3, "b": 3})
    for key in "de":
        queue = open_local(path, ManualClock(), sinks=["a"])
        assert await logged(queue.begin(ends_by_itself=False)) == []
        await put(queue, events=[rejection(key)])
        await queue.close()
    queue = open_local(path, ManualClock(), sinks=["a"])
    await queue.begin(ends_by_itself=False)
    await queue.outbox.advance("a", 5, None)
    assert kept(queue) == []


def kept(queue):
    return [position for position, _, _ in queue.journal.events_after(0, 9)]


async def logged(work):
    """What is logged about absent sinks meanwhile."""
    with capture_logs() as lines:
        await work
    return [(line["event"], line["sink"], line["events"], line.get("kept_for")) for line in lines]


async def open_with_three_events(path, sinks, *, advance):
    queue = open_local(path, ManualClock(), sinks=sinks)
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[rejection(key) for key in "abc"])
    for sink, position in advance.items():
        await queue.outbox.advance(sink, position, None)
    await queue.close()


@pytest.mark.virtual_time
async def test_a_wait_for_events_ends_with_each_that_is_added(path):
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    for position in (1, 2):
        waiting = [asyncio.ensure_future(queue.outbox.wait(sink)) for sink in ("a", "b")]
        await turns(5)
        assert not any(task.done() for task in waiting)
        await put(queue, events=[rejection(str(position))])
        async with asyncio.timeout(30):
            await asyncio.gather(*waiting)
        for sink in ("a", "b"):
            await queue.outbox.advance(sink, position, None)


@pytest.mark.virtual_time
async def test_a_settlement_ends_a_wait_for_events(path):
    queue = open_local(path, ManualClock())
    waiting = asyncio.ensure_future(queue.outbox.wait("stdout"))
    await settle(queue, 0)
    async with asyncio.timeout(30):
        await waiting
