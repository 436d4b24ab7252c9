"""The outbox: every sink gets every event, whatever ends the worker and whichever sinks it has."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asset_worker.domain.events import Stored
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.status_report import read_status
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import (
    SuspendingThread,
    crash,
    directory_in_memory,
    end_all_tasks,
    open_local,
    put,
    rejection,
    settle,
)
from tests.doubles.virtual_time import VirtualTimeLoop
from tests.unit.queue.conformance import gathered, turns

ALWAYS = "file"
"""The sink that is there at every start."""
SINKS = [ALWAYS, "stdout", "webhook"]
COUNTS = st.integers(1, 4)


def dead_letters(path):
    return read_status(path.parent, now=0.0, limit=0).dead_letters


class OutboxMachine(RuleBasedStateMachine):
    """Events and sinks that come and go, against lists."""

    def __init__(self):
        super().__init__()
        self.directory = directory_in_memory()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.starts = 0
        self.crashes = 0
        self.advances = 0
        self.steps = 0
        self.sinks = [ALWAYS]
        self.events: list[str] = []
        """The event at position n is the one before index n."""
        self.dropped = 0
        """The last position that no sink lacks."""
        self.positions: dict[str, int] = {}
        self.marks: dict[str, bytes | None] = {}
        self.read: dict[str, list[Stored]] = {}
        """What each sink has read, and not said since how far it has come."""
        self.taken: list[int] = []
        """The positions that the sink that is always there was given, in that order."""
        self.buried: set[tuple[str, int]] = set()
        self.path.parent.mkdir()

    @property
    def path(self):
        return Path(self.directory.name) / str(self.crashes) / FILE_NAME

    def run(self, work):
        return self.runner.run(work)

    @property
    def outbox(self):
        return self.queue.outbox

    @property
    def journal(self):
        return self.queue._commits._journal

    async def opened(self):
        return open_local(self.path, ManualClock(), thread=SuspendingThread(), sinks=self.sinks)

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
        self.steps = 0
        assert dead_letters(self.path) == len(self.buried)

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
        """How far a sink says that it has come: from nothing but a new mark to all that it read."""
        events = self.read.pop(sink)
        position = data.draw(st.sampled_from([events[0].position - 1, *(event.position for event in events)]))
        self.advances += 1
        return position, b"%d" % self.advances

    def advanced(self, sink, position, mark):
        assert position >= self.position(sink)
        self.positions[sink], self.marks[sink] = position, mark
        self.dropped = max(self.dropped, min(map(self.position, self.sinks)))

    @precondition(readers)
    @rule(data=st.data())
    def one_advances(self, data):
        sink = data.draw(st.sampled_from(self.readers()))
        position, mark = self.advance_of(sink, data)
        self.run(self.outbox.advance(sink, position, mark))
        self.advanced(sink, position, mark)

    @precondition(lambda self: any(map(self.lacking, self.sinks)))
    @rule(limit=COUNTS, data=st.data())
    def all_read_and_advance_at_once(self, limit, data):
        """None drops what another, whose position is still on its way to the disk, would lack after a crash."""
        for sink in self.sinks:
            self.reads(sink, limit)
        advances = [(sink, *self.advance_of(sink, data)) for sink in self.readers()]
        self.run(gathered(*(self.outbox.advance(*advance) for advance in advances)))
        before = self.dropped
        for advance in advances:
            self.advanced(*advance)
        kept = self.kept()
        assert set(range(self.dropped + 1, len(self.events) + 1)) <= set(kept)
        self.dropped = kept[0] - 1 if kept else len(self.events)
        assert self.dropped >= before

    @precondition(readers)
    @rule(data=st.data(), times=st.integers(1, 2), advances=st.booleans())
    def one_buries(self, data, times, advances):
        sink = data.draw(st.sampled_from(self.readers()))
        first = self.read[sink][0]
        for _ in range(times):
            self.run(self.outbox.dead_letter(sink, first, "refused"))
        self.buried.add((sink, first.position))
        if advances:
            del self.read[sink]
            self.run(self.outbox.advance(sink, first.position, None))
            self.advanced(sink, first.position, None)

    @precondition(lambda self: self.steps >= 5)
    @rule(data=st.data(), in_order=st.booleans(), sinks=st.sets(st.sampled_from(SINKS)))
    def start_again_with_other_sinks(self, data, in_order, sinks):
        self.run(self.queue.close() if in_order else self.crashed())
        self.start(sinks)

    @precondition(readers)
    @rule(data=st.data(), turns=st.integers(0, 7), sinks=st.sets(st.sampled_from(SINKS)))
    def crash_while_one_advances(self, data, turns, sinks):
        sink = data.draw(st.sampled_from(self.readers()))
        position, mark = self.advance_of(sink, data)
        before = self.positions.get(sink), self.marks.get(sink)
        returned = self.run(self.cut_short(self.outbox.advance(sink, position, mark), turns))
        configured = self.sinks
        self.start(sinks)
        kept = self.journal.sinks().get(sink, (None, None))
        if returned or kept != before:
            assert kept == (position, mark)
            new, self.sinks = self.sinks, configured
            self.advanced(sink, position, mark)
            self.sinks = new

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
        crash(self.queue)

    def kept(self):
        return [position for position, _, _ in self.journal.events_after(0, 10_000)]

    @invariant()
    @precondition(lambda self: self.starts)
    def an_event_is_kept_until_every_sink_has_it(self):
        assert self.kept() == list(range(self.dropped + 1, len(self.events) + 1))

    @invariant()
    @precondition(lambda self: self.starts)
    def positions_and_marks_are_kept_with_one_another(self):
        assert self.journal.sinks() == {sink: (self.positions[sink], self.marks[sink]) for sink in self.positions}
        for sink in self.sinks:
            assert self.position(sink) <= self.outbox.position(sink) <= max(self.position(sink), self.dropped)
            assert self.run(self.outbox.checkpoint(sink)) == self.marks.get(sink)

    @invariant()
    @precondition(lambda self: self.starts)
    def the_depth_is_what_the_slowest_sink_lacks(self):
        assert self.outbox.depth() == max(len(self.lacking(sink)) for sink in self.sinks)

    @invariant()
    def a_step_is_over(self):
        self.steps += 1

    def teardown(self):
        if self.starts:
            self.taken += [event.position for event in self.run(self.outbox.read(ALWAYS, 10_000))]
            assert sorted(set(self.taken)) == list(range(1, len(self.events) + 1))
            assert list(dict.fromkeys(self.taken)) == sorted(set(self.taken))
            crash(self.queue)
        self.runner.close()
        self.directory.cleanup()


TestOutbox = pytest.mark.timeout(3600)(OutboxMachine.TestCase)


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


async def test_a_dead_letter_outlives_the_worker_and_is_one_however_often_it_is_buried(path):
    queue = open_local(path, ManualClock())
    await settle(queue, 0)
    [stored] = await queue.outbox.read("stdout", 9)
    for _ in range(2):
        await queue.outbox.dead_letter("stdout", stored, "refused")
    crash(queue)
    assert dead_letters(path) == 1
    await open_local(path, ManualClock()).close()
    assert dead_letters(path) == 1


async def test_each_sink_buries_for_itself(path):
    queue = open_local(path, ManualClock(), sinks=SINKS)
    await settle(queue, 0, 1)
    for sink in SINKS:
        for stored in await queue.outbox.read(sink, 9):
            await queue.outbox.dead_letter(sink, stored, "refused")
    crash(queue)
    assert dead_letters(path) == 6


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


async def test_a_sink_that_was_away_goes_on_where_it_was(path):
    await open_with_three_events(path, ["a", "b"], advance={"a": 1, "b": 1})
    queue = open_local(path, ManualClock(), sinks=["a"])
    assert [stored.position for stored in await queue.outbox.read("a", 9)] == [2, 3]
    await queue.close()
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    assert [stored.position for stored in await queue.outbox.read("b", 9)] == [2, 3]


async def test_a_sink_that_is_no_longer_named_holds_up_nothing(path):
    await open_with_three_events(path, ["a", "b"], advance={"a": 2})
    queue = open_local(path, ManualClock(), sinks=["a"])
    assert queue.outbox.depth() == 1
    await queue.outbox.advance("a", 3, None)
    assert queue.outbox.depth() == 0
    assert await queue._commits.read(lambda journal: journal.events_after(0, 9)) == []


async def open_with_three_events(path, sinks, *, advance):
    queue = open_local(path, ManualClock(), sinks=sinks)
    await put(queue, events=[rejection(key) for key in "abc"])
    for sink, position in advance.items():
        await queue.outbox.advance(sink, position, None)
    await queue.close()


@pytest.mark.virtual_time
async def test_who_waits_for_events_is_woken_by_each_that_is_added(path):
    queue = open_local(path, ManualClock(), sinks=["a", "b"])
    for position in (1, 2):
        waiting = [asyncio.ensure_future(queue.outbox.wait(sink)) for sink in ("a", "b")]
        await turns(5)
        assert not any(task.done() for task in waiting)
        await put(queue, events=[rejection(str(position))])
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
        for sink in ("a", "b"):
            await queue.outbox.advance(sink, position, None)


@pytest.mark.virtual_time
async def test_a_settlement_wakes_who_waits_for_events(path):
    queue = open_local(path, ManualClock())
    waiting = asyncio.ensure_future(queue.outbox.wait("stdout"))
    await settle(queue, 0)
    async with asyncio.timeout(5):
        await waiting
