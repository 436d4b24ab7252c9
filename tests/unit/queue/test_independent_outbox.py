"""The outbox as ordered and independent sinks use it beside one another: no event is lost, or kept too long.

State machines compare both engines with a model; a local one crashes at any moment, its sinks come and go, and commands
ask for dead letters.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asset_worker.domain.assets import AssetId, Done, Outcome
from asset_worker.domain.deliveries import Condition, Owed, Taken
from asset_worker.domain.events import Times, completed, heading_of
from asset_worker.domain.submissions import Submission
from asset_worker.queue.local import outbox as local_outbox
from asset_worker.queue.local.dead_letter_requests import Answer, Request
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.queue.memory import MemoryQueue
from asset_worker.runtime.redaction import Secrets
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import RETENTION, directory_in_memory, end_all_tasks, open_local, put, rejection
from tests.doubles.threads import SuspendingThread
from tests.doubles.virtual_time import VirtualTimeLoop
from tests.unit.queue.conformance import DEDUPE_WINDOW, turns

ORDERED = "file"
"""The ordered sink, which is there at every start."""
HOOKS = ["hook", "other hook"]
PICKY = "other hook"
"""The independent sink that wants only some events."""
ASSETS = ["a1", "a2", "a3", None]


def event_of(asset, number, outcome=Outcome.READY):
    """The event `<asset>.<number>`, or that of a rejected line."""
    if asset is None:
        return rejection(str(number))
    return completed(
        Submission(AssetId(asset), "stdin", number),
        Done(outcome),
        asset=None,
        completion=number,
        times=Times(0.0, 0.0),
        polls=1,
        redact=Secrets().redact,
        source="s",
    )


def wants_all(event):
    return True


def wants_failed(event):
    return heading_of(event).word == "failed"


WANTS = {"hook": wants_all, PICKY: wants_failed}


@dataclass
class Record:
    attempts: int
    first_at: float | None
    next_at: float


@dataclass
class Hook:
    """What the model knows of an independent sink."""

    position: int = 0
    records: dict[int, Record] = field(default_factory=dict)
    dead: dict[int, tuple[int, float, float]] = field(default_factory=dict)
    """The dead letters: attempts, time of the first and of the last."""


@dataclass
class Kept:
    """What is durable."""

    ordered: int = 0
    """The position of the ordered sink."""
    hooks: dict[str, Hook] = field(default_factory=dict)
    passed: int = 0
    """The position that all sinks have passed."""
    held: dict[str, float] = field(default_factory=dict)
    """Since when each sink is absent for which events are kept."""
    released: set[str] = field(default_factory=set)


class IndependentMachine(RuleBasedStateMachine):
    """Any engine while the process lives."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.clock = ManualClock()
        self.starts = 0
        self.events: list[tuple[str | None, bool]] = []
        """The asset of the event at position n, the one before index n, and whether the picky sink wants it."""
        self.ids: list[str] = []
        self.kept = Kept()
        self.in_flight: dict[str, dict[int, Owed]] = {}
        self.hooks: list[str] = []

    def run(self, work):
        return self.runner.get_loop().run_until_complete(work)

    @property
    def outbox(self):
        return self.queue.outbox

    def now(self):
        return self.clock.steady()

    @property
    def last(self):
        return len(self.events)

    def asset(self, position):
        return self.events[position - 1][0]

    def wanted(self, sink, position):
        return sink != PICKY or self.events[position - 1][1]

    @initialize(hooks=st.sets(st.sampled_from(HOOKS), min_size=1))
    def start(self, hooks):
        self.hooks = sorted(hooks)
        self.in_flight = {sink: {} for sink in self.hooks}
        self.queue = self.run(self.opened())
        self.starts += 1

    async def opened(self):
        for sink in self.hooks:
            self.kept.hooks.setdefault(sink, Hook())
        return MemoryQueue(self.clock, sinks=[ORDERED, *self.hooks], dedupe_window=60.0, max_pending=999)

    # The model

    def is_first(self, hook, position):
        asset = self.asset(position)
        return asset is None or all(other >= position for other in hook.records if self.asset(other) == asset)

    def model_take(self, kept, sink, limit, until, without):
        """Return what `take` returns, and change what is kept."""
        hook, now = kept.hooks[sink], self.now()
        busy = {self.asset(position) for position in without} - {None}
        due = sorted(
            (record.next_at, position)
            for position, record in hook.records.items()
            if record.next_at <= until
            and position not in without
            and self.is_first(hook, position)
            and self.asset(position) not in busy
        )
        taken = [position for _, position in due][:limit]
        later = [r.next_at for position, r in hook.records.items() if position not in without and r.next_at > until]
        while len(taken) < limit and hook.position < self.last:
            hook.position += 1
            position = hook.position
            if self.wanted(sink, position):
                earlier = [
                    record.next_at
                    for other, record in hook.records.items()
                    if self.asset(position) is not None and self.asset(other) == self.asset(position)
                ]
                hook.records[position] = Record(0, None, max([now, *earlier]))
                if not earlier:
                    taken.append(position)
        self.pass_events(kept)
        return taken, min(later, default=None)

    def pass_events(self, kept):
        positions = [kept.ordered, *(kept.hooks[sink].position for sink in [*self.hooks, *kept.held])]
        kept.passed = max(kept.passed, *[min(positions)])

    def gone(self, hook, position):
        """A record goes: the asset's next one is due."""
        del hook.records[position]
        asset = self.asset(position)
        others = [other for other in hook.records if asset is not None and self.asset(other) == asset]
        if others:
            record = hook.records[min(others)]
            record.next_at = min(record.next_at, self.now())

    # What sinks do

    @precondition(lambda self: self.last - self.kept.passed < 12)
    @rule(kinds=st.lists(st.tuples(st.sampled_from(ASSETS), st.booleans()), min_size=1, max_size=4))
    def events_are_added(self, kinds):
        events = []
        for asset, fails in kinds:
            event = event_of(asset, self.last + 1, Outcome.FAILED if fails else Outcome.READY)
            self.events.append((asset, fails and asset is not None))
            self.ids.append(event.id)
            events.append(event)
        self.run(put(self.queue, events=events))

    @precondition(lambda self: self.kept.ordered < self.last)
    @rule(data=st.data())
    def the_ordered_sink_advances(self, data):
        read = self.run(self.outbox.read(ORDERED, 5))
        assert [event.position for event in read] == list(range(self.kept.ordered + 1, self.last + 1))[:5]
        position = data.draw(st.sampled_from([event.position for event in read]))
        self.run(self.outbox.advance(ORDERED, position, b"mark"))
        self.kept.ordered = position
        self.pass_events(self.kept)

    def take(self, sink, limit, until):
        return self.outbox.take(
            sink, limit, now=self.now(), until=until, without=self.in_flight[sink].keys(), wants=WANTS[sink]
        )

    @rule(data=st.data(), limit=st.integers(1, 4), until=st.sampled_from([0.0, 5.0, float("inf")]))
    def one_takes(self, data, limit, until):
        sink = data.draw(st.sampled_from(self.hooks))
        until += self.now()
        taken = self.run(self.take(sink, limit, until))
        expected = self.model_take(self.kept, sink, limit, until, self.in_flight[sink])
        assert ([owed.event.position for owed in taken.events], taken.next_at) == expected
        for owed in taken.events:
            position, record = owed.event.position, self.kept.hooks[sink].records[owed.event.position]
            assert (owed.event.id, owed.asset_id) == (self.ids[position - 1], self.asset(position))
            assert (owed.attempts, owed.first_at, owed.next_at) == (record.attempts, record.first_at, record.next_at)
            self.in_flight[sink][position] = owed
        assets = [self.asset(position) for position in self.in_flight[sink] if self.asset(position)]
        assert len(assets) == len(set(assets)), "two events of one asset are on their way"

    def busy(self):
        return sorted(sink for sink, owed in self.in_flight.items() if owed)

    def ends_of_attempt(self, sink, position, how, delay):
        """The call with which an attempt ends, and what it changes in the model."""
        now, record = self.now(), self.kept.hooks[sink].records.get(position)
        attempts = record.attempts + 1 if record else 1
        first_at = now if record is None or record.first_at is None else record.first_at

        def change(kept):
            hook = kept.hooks[sink]
            if position not in hook.records:
                return
            if how == "failed":
                hook.records[position] = Record(attempts, first_at, now + delay)
                for other, later in hook.records.items():
                    if other > position and self.asset(other) == self.asset(position) is not None:
                        later.next_at = max(later.next_at, now + delay)
                return
            if how == "dead":
                hook.dead[position] = (attempts, first_at, now)
            self.gone(hook, position)

        if how == "delivered":
            return self.outbox.delivered(sink, position, now=now), change
        if how == "failed":
            call = self.outbox.failed(
                sink, position, attempts=attempts, first_at=first_at, next_at=now + delay, error="why"
            )
            return call, change
        call = self.outbox.dead_letter(sink, position, attempts=attempts, first_at=first_at, now=now, reason="why")
        return call, change

    @precondition(busy)
    @rule(data=st.data(), how=st.sampled_from(["delivered", "failed", "dead"]), delay=st.sampled_from([1.0, 5.0, 50.0]))
    def an_attempt_ends(self, data, how, delay):
        sink = data.draw(st.sampled_from(self.busy()))
        position = data.draw(st.sampled_from(sorted(self.in_flight[sink])))
        del self.in_flight[sink][position]
        call, change = self.ends_of_attempt(sink, position, how, delay)
        self.run(call)
        change(self.kept)

    @precondition(lambda self: self.hooks)
    @rule(data=st.data())
    def all_become_due(self, data):
        sink = data.draw(st.sampled_from(self.hooks))
        self.run(self.outbox.make_all_due(sink, now=self.now()))
        hook = self.kept.hooks[sink]
        for position, record in hook.records.items():
            if self.is_first(hook, position):
                record.next_at = min(record.next_at, self.now())

    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def time_passes(self, seconds):
        self.clock.move(seconds)

    @invariant()
    @precondition(lambda self: self.starts)
    def what_each_sink_lacks_is_counted(self):
        owed = {ORDERED: self.last - self.kept.ordered}
        for sink in self.hooks:
            hook = self.kept.hooks[sink]
            owed[sink] = self.last - hook.position + len(hook.records)
        assert {sink: self.outbox.owed(sink) for sink in owed} == owed
        assert self.outbox.depth() == self.queue.outbox_depth() == max(owed.values())

    def needed(self):
        """The positions of the events that are kept."""
        named = {position for hook in self.kept.hooks.values() for position in hook.records}
        return sorted(named | set(range(self.kept.passed + 1, self.last + 1)))

    @invariant()
    @precondition(lambda self: self.starts)
    def an_event_is_kept_as_long_as_it_is_needed(self):
        assert list(self.outbox._events) == self.needed()

    async def discard(self):
        await self.queue.close()

    def teardown(self):
        if self.starts:
            self.run(self.discard())
        self.runner.close()


class LocalMachine(IndependentMachine):
    """The worker is closed or crashes, sinks come and go, commands ask for dead letters, and they expire."""

    def __init__(self):
        super().__init__()
        self.directory = directory_in_memory()
        self.crashes = 0
        self.steps = 0
        self.requests = 0
        self.path.parent.mkdir()

    @property
    def path(self):
        return Path(self.directory.name) / str(self.crashes) / FILE_NAME

    async def opened(self):
        self.steps = 0
        queue = open_local(
            self.path, self.clock, thread=SuspendingThread(), sinks=[ORDERED, *self.hooks], independent=self.hooks
        )
        self.begin()
        await queue.begin(ends_by_itself=False)
        self.expire()
        return queue

    def begin(self):
        kept = self.kept
        for sink in self.hooks:
            hook = kept.hooks.setdefault(sink, Hook())
            hook.position = max(hook.position, kept.passed)
            kept.held.pop(sink, None)
            kept.released.discard(sink)
        for sink in kept.hooks.keys() - self.hooks - kept.held.keys() - kept.released:
            if kept.hooks[sink].records or kept.hooks[sink].position < self.last:
                kept.held[sink] = self.now()
            else:
                kept.released.add(sink)

    def expire(self):
        kept = self.kept
        for sink, since in list(kept.held.items()):
            if self.now() - since >= DEDUPE_WINDOW:
                del kept.held[sink]
                kept.released.add(sink)
                kept.hooks[sink].records.clear()
                self.pass_events(kept)

    @rule(share=st.sampled_from([0.4, 1.0]))
    def a_window_passes(self, share):
        self.clock.move(share * DEDUPE_WINDOW)
        self.run(self.queue.outbox.drop_expired(self.now()))
        self.expire()

    @rule(share=st.sampled_from([0.6, 1.0]))
    def dead_letters_expire(self, share):
        self.clock.move(share * RETENTION)
        self.run(self.queue._prune_dead_letters())
        for hook in self.kept.hooks.values():
            for position, (_, _, last) in list(hook.dead.items()):
                if last < self.now() - RETENTION:
                    del hook.dead[position]

    @precondition(lambda self: self.steps >= 4)
    @rule(hooks=st.sets(st.sampled_from(HOOKS)), in_order=st.booleans())
    def start_again_with_other_sinks(self, hooks, in_order):
        self.run(self.queue.close() if in_order else self.crashed())
        self.start(hooks or {"hook"})

    def dead(self):
        return sorted((sink, position) for sink in self.hooks for position in self.kept.hooks[sink].dead)

    @precondition(lambda self: self.dead())
    @rule(data=st.data(), action=st.sampled_from(["retry", "drop"]), turns=st.integers(0, 30))
    def a_command_asks(self, data, action, turns):
        """It is carried out once, also if the worker crashes meanwhile and finds it again."""
        sink, position = data.draw(st.sampled_from(self.dead()))
        event_id = self.ids[position - 1]
        request = Request(action, ids=(event_id,), sink=sink)
        self.requests += 1
        request_id = f"{self.requests:032x}"
        RequestFiles(self.path.parent).write(request_id, request)
        hook = self.kept.hooks[sink]
        del hook.dead[position]
        if action == "retry":
            hook.records[position] = Record(0, None, self.now())
        finished = self.run(self.cut_short(self.queue._requests.serve(), turns))
        if not finished:
            self.start(set(self.hooks))
            self.run(self.queue._requests.serve())
        answer = RequestFiles(self.path.parent).read_answer(request_id)
        assert answer == Answer({sink: 1})
        assert [path.name for path in (self.path.parent / "requests").iterdir()] == [f"{request_id}.answer.json"]
        RequestFiles(self.path.parent).delete(request_id)
        if finished and action == "retry":
            self.run(asyncio.wait_for(self.queue.outbox.wait_for_retry(sink), 1))

    async def cut_short(self, work, count):
        """Do the work, or crash after so many turns of the event loop. Return whether it was done."""
        working = asyncio.ensure_future(work)
        await turns(count)
        if working.done():
            working.result()
            return True
        await self.crashed()
        return False

    @precondition(lambda self: self.hooks)
    @rule(data=st.data(), limit=st.integers(1, 4), count=st.integers(0, 9))
    def crash_while_one_takes(self, data, limit, count):
        sink = data.draw(st.sampled_from(self.hooks))
        after = deepcopy(self.kept)
        self.model_take(after, sink, limit, self.now(), self.in_flight[sink])
        self.crash_during(self.take(sink, limit, self.now()), after, count)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), how=st.sampled_from(["delivered", "failed", "dead"]), count=st.integers(0, 7))
    def crash_while_an_attempt_ends(self, data, how, count):
        sink = data.draw(st.sampled_from(self.busy()))
        position = data.draw(st.sampled_from(sorted(self.in_flight[sink])))
        call, change = self.ends_of_attempt(sink, position, how, 5.0)
        after = deepcopy(self.kept)
        change(after)
        self.crash_during(call, after, count)

    def crash_during(self, work, after, count):
        """All of it was durable, or nothing; all, if the call has returned."""
        returned = self.run(self.cut_short(work, count))
        if returned:
            self.run(self.crashed())
        before, self.kept = self.kept, after
        if not returned and self.found() != self.expected():
            self.kept = before
        assert self.found() == self.expected()
        self.start(set(self.hooks))

    async def crashed(self):
        before = self.path
        self.crashes += 1
        self.path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{before}{suffix}", f"{self.path}{suffix}")
        if (before.parent / "requests").exists():
            shutil.copytree(before.parent / "requests", self.path.parent / "requests")
        await end_all_tasks()
        self.queue.crash()

    def found(self):
        """What the journal holds."""
        with closing(sqlite3.connect(self.path)) as connection:
            execute = connection.execute
            return (
                {
                    (sink, position): (asset, attempts, first_at, next_at)
                    for sink, position, asset, attempts, first_at, next_at in execute(
                        "SELECT sink, position, asset_id, attempts, first_at, next_at FROM undelivered"
                    )
                },
                {
                    (sink, position): (asset, attempts, first_at, last_at)
                    for sink, position, asset, attempts, first_at, last_at in execute(
                        "SELECT sink, position, asset_id, attempts, first_at, last_at FROM dead_letters"
                    )
                },
                dict(execute("SELECT name, position FROM sinks WHERE position > 0").fetchall()),
                [position for [position] in execute("SELECT position FROM outbox ORDER BY position")],
                execute("SELECT position FROM passed").fetchall(),
            )

    def expected(self):
        hooks = self.kept.hooks
        return (
            {
                (sink, position): (self.asset(position), record.attempts, record.first_at, record.next_at)
                for sink, hook in hooks.items()
                for position, record in hook.records.items()
            },
            {
                (sink, position): (self.asset(position), *times)
                for sink, hook in hooks.items()
                for position, times in hook.dead.items()
            },
            {
                sink: position
                for sink, position in {ORDERED: self.kept.ordered, **{s: h.position for s, h in hooks.items()}}.items()
                if position
            },
            self.needed(),
            [(self.kept.passed,)],
        )

    @invariant()
    @precondition(lambda self: self.starts)
    def an_event_is_kept_as_long_as_it_is_needed(self):
        assert self.found() == self.expected()
        assert self.queue.dead_letter_count() == sum(len(hook.dead) for hook in self.kept.hooks.values())

    @invariant()
    def a_step_is_over(self):
        self.steps += 1

    async def discard(self):
        self.queue.crash()

    def teardown(self):
        super().teardown()
        self.directory.cleanup()


TestMemory = pytest.mark.timeout(3600)(IndependentMachine.TestCase)
TestLocal = pytest.mark.timeout(3600)(LocalMachine.TestCase)


@pytest.fixture
async def queue(tmp_path):
    queue = open_local(
        tmp_path / FILE_NAME, ManualClock(), thread=SuspendingThread(), sinks=["hook"], independent=["hook"]
    )
    await queue.begin(ends_by_itself=False)
    return queue


def take(queue, limit=3, *, wants=wants_all, without=(), until=5.0):
    return queue.outbox.take("hook", limit, now=5.0, until=until, without=without, wants=wants)


def positions(taken):
    return [owed.event.position for owed in taken.events]


async def test_events_that_are_not_wanted_are_passed_in_several_transactions(queue, monkeypatch):
    """Other writers need not wait until all of them are passed."""
    monkeypatch.setattr(local_outbox, "EXAMINED_EVENTS", 10)
    await put(queue, events=[event_of("a", number) for number in range(1, 96)])
    taking = asyncio.ensure_future(take(queue, wants=lambda event: event.position > 93))
    written_at = []
    while not taking.done():
        await queue.outbox.set_condition("hook", None)
        written_at.append(queue.outbox.owed("hook"))
    assert positions(await taking) == [94]  # the other one is of the same asset
    assert len(set(written_at)) > 5
    assert queue.outbox.owed("hook") == 2
    assert [position for position, *_ in queue.journal.events_after(0, 99)] == [94, 95]


async def test_no_event_is_left_that_was_claimed_while_it_was_added(queue):
    """A transaction that adds it may be durable before the queue in memory knows of it."""
    await put(queue, events=[event_of("a", 1)])
    with queue.journal.transaction():
        queue.journal.add_events([event_of("b", 1)])
    for position in positions(await take(queue, 9)):
        await queue.outbox.delivered("hook", position, now=5.0)
    assert queue.journal.events_after(0, 9) == []


async def test_no_event_is_left_that_two_sinks_pass_at_once(tmp_path):
    sinks = ["file", "stdout"]
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), thread=SuspendingThread(), sinks=sinks)
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[event_of("a", 1), event_of("b", 1)])
    await asyncio.gather(*(queue.outbox.advance(sink, 2, None) for sink in sinks))
    assert queue.journal.events_after(0, 9) == []


async def test_a_new_event_is_due_no_sooner_than_the_one_of_its_asset_that_failed(queue):
    """A take does not look at it again and again."""
    await put(queue, events=[event_of("a", 1)])
    await take(queue)
    await queue.outbox.failed("hook", 1, attempts=1, first_at=5.0, next_at=99.0, error="why")
    await put(queue, events=[event_of("a", 2)])
    assert await take(queue) == Taken([], 99.0)
    assert queue.journal._execute("SELECT next_at FROM undelivered").fetchall() == [(99.0,), (99.0,)]


async def test_all_become_due_in_several_transactions(queue, monkeypatch):
    monkeypatch.setattr(local_outbox, "CHANGED_RECORDS", 3)
    await put(queue, events=[event_of(f"a{number}", 1) for number in range(10)])
    for position in positions(await take(queue, 10)):
        await queue.outbox.failed("hook", position, attempts=1, first_at=5.0, next_at=99.0, error="why")
    assert await take(queue, 10) == Taken([], 99.0)
    await queue.outbox.make_all_due("hook", now=5.0)
    assert positions(await take(queue, 10)) == list(range(1, 11))


@pytest.mark.parametrize("count", range(6))
async def test_a_take_that_is_cancelled_loses_and_repeats_no_event(queue, count):
    """What it has recorded is due."""
    await put(queue, events=[event_of(f"a{number}", 1) for number in range(5)])
    taking = asyncio.ensure_future(take(queue))
    await turns(count)
    taking.cancel()
    first = positions(await take(queue, 9))
    assert sorted(first + positions(await take(queue, 9, without=first))) == [1, 2, 3, 4, 5]
    await asyncio.gather(taking, return_exceptions=True)
    assert queue.outbox.owed("hook") == 5


@pytest.mark.parametrize("count", range(6))
async def test_a_delivery_that_is_cancelled_is_counted_if_it_was_recorded(queue, count):
    await put(queue, events=[event_of("a", 1)])
    await take(queue)
    recording = asyncio.ensure_future(queue.outbox.delivered("hook", 1, now=5.0))
    await turns(count)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await queue.outbox.set_condition("hook", None)
    left = queue.journal.undelivered.count("hook")
    assert (queue.outbox.owed("hook"), len(queue.journal.events_after(0, 9))) == (left, left)


async def test_an_event_that_was_put_back_is_not_sent_while_a_later_one_of_its_asset_is(queue):
    await put(queue, events=[event_of("a", 1), event_of("a", 2)])
    await take(queue)
    await queue.outbox.dead_letter("hook", 1, attempts=9, first_at=1.0, now=5.0, reason="why")
    assert positions(await take(queue)) == [2]
    RequestFiles(queue.journal.path.parent).write("0" * 32, Request("retry", all=True))
    await queue._requests.serve()
    later = queue._clock.steady()
    assert positions(await take(queue, without=[2], until=later)) == []
    await queue.outbox.failed("hook", 2, attempts=1, first_at=5.0, next_at=5.0, error="why")
    assert positions(await take(queue, until=later)) == [1]


async def test_an_event_that_is_damaged_is_sent_without_regard_to_order(queue):
    await put(queue, events=[event_of("a", 1), event_of("a", 2)])
    with queue.journal.transaction():
        queue.journal._execute("UPDATE outbox SET body = x'7b' WHERE position = 2")
    assert [(owed.event.position, owed.asset_id) for owed in (await take(queue)).events] == [(1, "a"), (2, None)]


async def test_a_start_ends_every_condition_but_that_a_sink_of_the_run_is_down(tmp_path):
    """A paused sink is resumed. A kind that this version does not know is no reason not to start."""
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), sinks=["down", "paused", "newer"])
    for sink, kind in (("down", "down"), ("paused", "paused"), ("newer", "???"), ("absent", "down")):
        queue.journal._execute("INSERT INTO conditions VALUES (?, ?, 5.0, 'why')", (sink, kind))
    await queue.begin(ends_by_itself=False)
    assert queue.journal.conditions() == {"down": Condition("down", 5.0, "why")}
    assert await queue.outbox.condition("down") == Condition("down", 5.0, "why")
    assert await queue.outbox.condition("paused") is None
    await queue.close()
