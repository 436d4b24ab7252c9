"""A model of the outbox as ordered and independent sinks use it beside one another, and a machine that compares.

No event is lost, sent out of its asset's order, or kept too long.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asset_worker.domain.assets import AssetId, Done, Outcome
from asset_worker.domain.deliveries import Owed
from asset_worker.domain.events import Times, completed, heading_of, reached
from asset_worker.domain.submissions import Submission
from asset_worker.domain.transitions import Transition
from asset_worker.queue.memory import MemoryQueue
from asset_worker.runtime.redaction import Secrets
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import put, rejection
from tests.doubles.virtual_time import VirtualTimeLoop

ORDERED = "file"
"""The ordered sink, which is there at every start."""
HOOKS = ["hook", "other hook"]
PICKY = "other hook"
"""The independent sink that wants only some events."""
ASSETS = ["a1", "a2", "a3", None]


def event_of(asset, number, what=Outcome.READY):
    """The event `<asset>.<number>`, that of a step of this wait, or that of a rejected line."""
    if asset is None:
        return rejection(str(number))
    is_step = isinstance(what, Transition)
    return (reached if is_step else completed)(
        Submission(AssetId(asset), "stdin", number),
        what if is_step else Done(what),
        asset=None,
        completion=number,
        times=Times(0.0, 0.0),
        polls=1,
        redact=Secrets().redact,
        source="s",
    )


def wants_all(event):
    return True


def wants_some(event):
    return heading_of(event).word in {"failed", "overdue"}


WANTS = {"hook": wants_all, PICKY: wants_some}
HOW = st.sampled_from(["delivered", "failed", "dead"])
"""How an attempt ends."""
RETRY_AFTER = st.sampled_from([1.0, 5.0, 50.0])
KINDS = [Outcome.READY, Outcome.FAILED, Transition.PLAYABLE, Transition.OVERDUE]


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
    dead: dict[int, tuple[int, float | None, float]] = field(default_factory=dict)
    """The dead letters: attempts, time of the first (None: it was never sent) and of the last."""


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
        self.events: list[tuple[str | None, bool, bool]] = []
        """The asset of the event at position n, the one before index n; whether the picky sink wants it; and whether
        it reports a step."""
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

    def is_step(self, position):
        return self.events[position - 1][2]

    @initialize(hooks=st.sets(st.sampled_from(HOOKS), min_size=1))
    def start(self, hooks):
        self.hooks = sorted(hooks)
        self.in_flight = {sink: {} for sink in self.hooks}
        self.held_up: set[tuple[str, int]] = set()
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

    def holds_up(self, hook, position):
        """Whether this is a step whose completion has a record."""
        asset = self.asset(position)
        return self.is_step(position) and any(
            other > position and self.asset(other) == asset and not self.is_step(other) for other in hook.records
        )

    def supersede(self, hook, positions):
        for position in positions:
            record = hook.records[position]
            hook.dead[position] = (record.attempts, record.first_at, self.now())
            self.gone(hook, position)
        return {self.ids[position - 1] for position in positions}

    def make_way(self, hook, completion, without):
        """What the record of a completion supersedes."""
        asset = self.asset(completion)
        steps = [each for each in hook.records if self.asset(each) == asset and self.is_step(each)]
        if asset is None or self.is_step(completion):
            return set()
        waiting = [
            each
            for each in steps
            if hook.records[each].first_at is not None and hook.records[each].next_at > self.now()
        ]
        if not waiting:
            return set()
        free = [each for each in steps if each in waiting or each not in without]
        return self.supersede(hook, free)

    def model_take(self, kept, sink, limit, until, without, transitions):
        """Return what `take` returns, and change what is kept."""
        hook, now = kept.hooks[sink], self.now()
        taken = self.model_due(hook, limit, 0, until, without)
        superseded, holding_up = set(), set()
        later = [r.next_at for position, r in hook.records.items() if position not in without and r.next_at > until]
        while len(taken) < limit and hook.position < self.last:
            hook.position += 1
            position = hook.position
            if self.wanted(sink, position):
                gone = self.make_way(hook, position, without)
                superseded |= gone
                taken = [each for each in taken if self.ids[each - 1] not in gone]
                earlier = [
                    record.next_at
                    for other, record in hook.records.items()
                    if self.asset(position) is not None and self.asset(other) == self.asset(position)
                ]
                hook.records[position] = Record(0, None, max([now, *earlier]))
                if not earlier and not self.is_step(position):
                    taken.append(position)
        taken += self.model_due(hook, limit - len(taken), transitions, until, {*without, *taken})
        holding_up = {position for position in hook.records if self.holds_up(hook, position)}
        self.pass_events(kept)
        return taken, min(later, default=None), superseded, holding_up

    def model_due(self, hook, limit, transitions, until, without):
        """What is due: the steps whose completion has no record come last."""
        busy = {self.asset(position) for position in without} - {None}
        in_order = sorted(
            (record.next_at, position)
            for position, record in hook.records.items()
            if record.next_at <= until
            and position not in without
            and self.is_first(hook, position)
            and self.asset(position) not in busy
        )
        found = [position for _, position in in_order]
        yielding = [each for each in found if self.is_step(each) and not self.holds_up(hook, each)]
        due = [each for each in found if each not in yielding][:limit]
        return [*due, *yielding[: min(limit - len(due), transitions)]]

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
    @rule(kinds=st.lists(st.tuples(st.sampled_from(ASSETS), st.sampled_from(KINDS)), min_size=1, max_size=4))
    def events_are_added(self, kinds):
        events = []
        for asset, what in kinds:
            event = event_of(asset, self.last + 1, what)
            is_wanted = what in {Outcome.FAILED, Transition.OVERDUE}
            self.events.append((asset, is_wanted and asset is not None, event.outcome is None))
            self.ids.append(event.id)
            events.append(event)
        self.run(self.added([asset for asset, _ in kinds], events))

    async def added(self, assets, events):
        await put(self.queue, events=events)

    @precondition(lambda self: self.kept.ordered < self.last)
    @rule(data=st.data())
    def the_ordered_sink_advances(self, data):
        read = self.run(self.outbox.read(ORDERED, 5))
        assert [event.position for event in read] == list(range(self.kept.ordered + 1, self.last + 1))[:5]
        position = data.draw(st.sampled_from([event.position for event in read]))
        self.run(self.outbox.advance(ORDERED, position, b"mark"))
        self.kept.ordered = position
        self.pass_events(self.kept)

    def take(self, sink, limit, until, transitions):
        return self.outbox.take(
            sink,
            limit,
            now=self.now(),
            until=until,
            without=self.in_flight[sink].keys(),
            wants=WANTS[sink],
            transitions=transitions,
        )

    @rule(
        data=st.data(),
        limit=st.integers(1, 4),
        until=st.sampled_from([0.0, 5.0, float("inf")]),
        transitions=st.integers(0, 4),
    )
    def one_takes(self, data, limit, until, transitions):
        self.takes(data.draw(st.sampled_from(self.hooks)), limit, until, transitions)

    def takes(self, sink, limit, until, transitions):
        until += self.now()
        taken = self.run(self.take(sink, limit, until, transitions))
        positions, next_at, superseded, holding_up = self.model_take(
            self.kept, sink, limit, until, self.in_flight[sink], transitions
        )
        assert ([owed.event.position for owed in taken.events], taken.next_at) == (positions, next_at)
        assert set(taken.superseded) == superseded
        at_hand = {*self.in_flight[sink], *positions}
        self.held_up |= {(sink, position) for position in taken.holding_up}
        assert set(taken.holding_up) & at_hand <= holding_up
        assert {(sink, position) for position in holding_up & at_hand} <= self.held_up, "it was never said"
        assert all(owed.is_transition == self.is_step(owed.event.position) for owed in taken.events)
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
            if how != "delivered" and self.holds_up(hook, position):
                hook.records[position] = Record(attempts, first_at, hook.records[position].next_at)
                steps = [each for each in hook.records if self.asset(each) == self.asset(position)]
                self.supersede(hook, [each for each in steps if self.holds_up(hook, each)])
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
                sink, position, attempts=attempts, first_at=first_at, now=now, next_at=now + delay, error="why"
            )
            return call, change
        call = self.outbox.dead_letter(sink, position, attempts=attempts, first_at=first_at, now=now, reason="why")
        return call, change

    @precondition(busy)
    @rule(data=st.data(), how=HOW, delay=RETRY_AFTER)
    def an_attempt_ends(self, data, how, delay):
        self.ends_one(data, data.draw(st.sampled_from(self.busy())), how, delay)

    @precondition(lambda self: any(self.last > hook.position or hook.records for hook in self.kept.hooks.values()))
    @rule(data=st.data(), how=HOW, delay=RETRY_AFTER)
    def one_takes_all_and_an_attempt_ends(self, data, how, delay):
        """Most attempts end before anything else happens."""
        sink = data.draw(st.sampled_from(self.hooks))
        self.takes(sink, 9, 0.0, 9)
        if self.in_flight[sink]:
            self.ends_one(data, sink, how, delay)

    def ends_one(self, data, sink, how, delay):
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
