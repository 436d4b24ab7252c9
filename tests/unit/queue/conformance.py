"""What every engine promises as a `Queue` and a `QueueStatus`: state machines that search for counter-examples.

An engine's test subclasses `QueueMachine`, or `DurableQueueMachine` if what it accepts outlives the process, and says
how to open the engine, and a durable one how to close it and to crash it. Nothing here knows how an engine works. Time
is virtual: a wait takes none, and one that would never end fails. `QueueLifecycle` is in `test_lifecycle.py`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asset_worker.domain.assets import AssetId, Done, Outcome
from asset_worker.domain.events import Event, Times, completed, reached, rejected
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Options, Rejection, Submission
from asset_worker.domain.transitions import Transition
from asset_worker.queue.ports import Lease
from asset_worker.runtime.redaction import Secrets
from tests.doubles.clocks import LoopClock
from tests.doubles.virtual_time import VirtualTimeLoop

IDS = [AssetId(f"asset-{number}") for number in range(8)]
INTAKES = ["file:/q", "stdin"]
DEDUPE_WINDOW = 100.0
MAX_PENDING = 6
EVENTS_OF_AN_END = 2
"""How many events a settlement makes at most: the completion, and one of a step."""
PATIENCE = 1.0
"""Seconds after which what was to return never will."""

IDS_OF_ONE_PUT = st.lists(st.sampled_from(IDS), max_size=MAX_PENDING)
DELAYS = st.sampled_from([0.0, 1.0, 2.5, 10.0])
WAITING_ON = {"waiting": ("asset",), "ready": ("hls", "thumbnail"), "missing": ("visibility",)}
"""What a look may see, and what the asset is waiting for then."""
SEEN = st.sampled_from(sorted(WAITING_ON))
TURNS = st.integers(0, 7)
"""How often the event loop goes round before a crash: from nothing done to all done."""


@dataclass
class Waiting:
    """What the model knows of one pending asset. `accepted_at` is in steady time."""

    submission: Submission
    accepted_at: float
    completion: int
    due: float | None
    """None: leased."""
    progress: list[Progress] = field(default_factory=lambda: [Progress()])
    """What was deferred, from the last that the queue has surely kept: a crash may lose the others."""
    restored: bool = False
    """Whether the queue was restarted since the last lease, so that its progress may be any of these."""


class QueueMachine(RuleBasedStateMachine):
    """All that may be done with a queue while the process lives, against a model of dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.clock = LoopClock(self.runner.get_loop())
        self.pending: dict[AssetId, Waiting] = {}
        self.leases: dict[AssetId, Lease] = {}
        self.settled_at: dict[AssetId, float] = {}
        self.completions: dict[AssetId, int] = {}
        self.events: list[str] = []
        self.delivered = 0
        """How many of the events the sink has."""
        self.waiting_since: float | None = None
        """Since when there has been no room because of the sink, in steady time."""
        self.positions: dict[str, bytes] = {}
        self.count = 0
        self.steps = 0
        self.queue = self.run(self.open())

    def run(self, work):
        # Not by the runner, which handles SIGINT anew each time: that took a sixth of all.
        return self.runner.get_loop().run_until_complete(work)

    @abstractmethod
    async def open(self):
        """The engine, with room for MAX_PENDING; what it kept is due at once."""

    @abstractmethod
    async def run_maintenance(self):
        """Let the engine do all maintenance that is due now."""

    async def discard(self):
        """End the engine after an example."""
        await self.queue.close()

    async def sent(self) -> list[str]:
        """The IDs of all events that the sink lacks, in order."""
        return [stored.id for stored in await self.queue.outbox.read("stdout", 10_000)]

    def now(self) -> float:
        return self.clock.monotonic()

    def undelivered(self) -> int:
        return len(self.events) - self.delivered

    def room_left(self) -> int:
        return max(0, min(MAX_PENDING - len(self.pending), MAX_PENDING + 1 - self.undelivered()))

    def next_due(self):
        return min((waiting.due for waiting in self.pending.values() if waiting.due is not None), default=None)

    def some_wait(self) -> bool:
        return self.next_due() is not None

    def none_is_due(self) -> bool:
        due = self.next_due()
        return due is None or due > self.now()

    def is_new(self, asset_id, *, accepts_settled=True) -> bool:
        settled_at = self.settled_at.get(asset_id)
        may_be_again = accepts_settled and settled_at is not None and settled_at < self.clock.steady() - DEDUPE_WINDOW
        return asset_id not in self.pending and (settled_at is None or may_be_again)

    def new_ids(self) -> list[AssetId]:
        return [asset_id for asset_id in IDS if self.is_new(asset_id)]

    def submissions(self, ids, options=None) -> list[Submission]:
        submissions = []
        for asset_id in ids:
            self.count += 1
            submissions.append(Submission(asset_id, "file:/q", self.count, options))
        return submissions

    def rejections(self, count) -> list[Event]:
        events = []
        for _ in range(count):
            self.count += 1
            events.append(rejected(Rejection("file:/q", self.count, "why", b"x", str(self.count)), at=0.0, source="s"))
        return events

    def put_with(self, submissions, events, intake, *, accepts_settled=True):
        """The put, and what of it is new once it is done."""
        self.count += 1
        position = b"%d" % self.count
        firsts = {submission.asset_id: submission for submission in reversed(submissions)}
        new = [
            submission
            for submission in submissions
            if submission is firsts[submission.asset_id]
            and self.is_new(submission.asset_id, accepts_settled=accepts_settled)
        ]
        work = self.queue.put(
            submissions, events=events, intake=intake, position=position, accepts_settled=accepts_settled
        )
        return work, position, new

    def accepted(self, submissions) -> None:
        for submission in submissions:
            completion = self.completions.get(submission.asset_id, 0) + 1
            self.pending[submission.asset_id] = Waiting(submission, self.clock.steady(), completion, due=self.now())

    def put_is_kept(self, submissions, events, intake, position) -> None:
        self.accepted(submissions)
        self.events += [event.id for event in events]
        self.positions[intake] = position

    @initialize(ids=st.lists(st.sampled_from(IDS), min_size=2, max_size=MAX_PENDING))
    def begin(self, ids):
        self.put(ids, False, 0, INTAKES[0])

    @precondition(lambda self: self.room_left())
    @rule(
        ids=IDS_OF_ONE_PUT,
        metadata=st.booleans(),
        rejected=st.integers(0, 2),
        intake=st.sampled_from(INTAKES),
        accepts_settled=st.booleans(),
    )
    def put(self, ids, metadata, rejected, intake, accepts_settled=True):
        submissions = self.submissions(ids[: self.room_left()], Options(metadata={"k": "v"}) if metadata else None)
        events = self.rejections(rejected)
        work, position, new = self.put_with(submissions, events, intake, accepts_settled=accepts_settled)
        assert self.run(work) == new
        self.put_is_kept(new, events, intake, position)

    @precondition(lambda self: self.room_left())
    @rule(ids=IDS_OF_ONE_PUT, others=IDS_OF_ONE_PUT, intakes=st.tuples(*[st.sampled_from(INTAKES)] * 2))
    def two_put_at_once(self, ids, others, intakes):
        ids = ids[: self.room_left()]
        others = others[: self.room_left() - len(ids)]
        works, expected, kept = [], set(), []
        for some, intake in zip([ids, others], intakes, strict=True):
            events = self.rejections(1)
            work, position, new = self.put_with(self.submissions(some), events, intake)
            works.append(work)
            expected |= {submission.asset_id for submission in new}
            kept.append((events, intake, position))
        accepted = [submission for new in self.run(gathered(*works)) for submission in new]
        assert sorted(submission.asset_id for submission in accepted) == sorted(expected)
        self.accepted(accepted)
        for events, intake, position in kept:
            self.put_is_kept([], events, intake, position)

    @precondition(some_wait)
    @rule(limit=st.integers(1, MAX_PENDING), ahead=st.sampled_from([0.0, 3.0]))
    def take(self, limit, ahead):
        """It waits until one is due, and not longer."""
        expected_at = max(self.now(), self.next_due())
        leases = self.run(self.taken(limit, ahead=ahead, by=expected_at))
        self.check_taken(leases, limit, ahead, expected_at)

    async def taken(self, limit, *, by, ahead=0.0):
        return await self.ended(self.queue.take(limit, ahead=ahead), by=by)

    async def ended(self, work, *, by):
        try:
            async with asyncio.timeout(by - self.now() + PATIENCE):
                return await work
        except TimeoutError:
            raise AssertionError("it still waits") from None

    def check_taken(self, leases, limit, ahead, expected_at) -> None:
        now = self.now()
        assert now == expected_at
        due = sorted(w.due for w in self.pending.values() if w.due is not None and w.due <= now + ahead)
        waiting = [self.pending[lease.submission.asset_id] for lease in leases]
        assert [w.due for w in waiting] == due[:limit]
        for lease, w in zip(leases, waiting, strict=True):
            self.check_lease(lease, w)
            self.leases[lease.submission.asset_id] = lease
            w.due = None

    def check_lease(self, lease, w) -> None:
        now = self.clock.steady()
        assert lease.submission == w.submission
        assert lease.accepted_at == w.accepted_at
        assert lease.completion == w.completion
        assert lease.age == now - w.accepted_at >= 0
        assert lease.late == self.now() - w.due
        assert lease.progress in (w.progress if w.restored else w.progress[-1:])
        if w.restored:
            w.restored = False
            w.progress = [lease.progress]
        ready_at, missing_at = lease.progress.ready_at, lease.progress.missing_at
        assert lease.ready_age == (None if ready_at is None else now - ready_at)
        assert lease.missing_age == (None if missing_at is None else now - missing_at)

    @rule(asset_ids=st.lists(st.sampled_from(IDS), unique=True))
    def lease(self, asset_ids):
        """Due or not: what is pending and not leased."""
        free = [each for each in asset_ids if each in self.pending and self.pending[each].due is not None]
        leases = self.queue.lease(asset_ids, not_seen_since=float("inf"))
        assert [lease.submission.asset_id for lease in leases] == free
        for lease in leases:
            w = self.pending[lease.submission.asset_id]
            self.check_lease(lease, w)
            self.leases[lease.submission.asset_id] = lease
            w.due = None

    @rule(asset_id=st.sampled_from(IDS))
    def find(self, asset_id):
        """Pending, settled, both or neither."""
        found, w = self.run(self.queue.find(asset_id)), self.pending.get(asset_id)
        assert (found.pending is None) == (w is None)
        if found.pending is not None and w is not None:
            assert (found.pending.accepted_at, found.pending.completion) == (w.accepted_at, w.completion)
            assert found.pending.due_in == (None if w.due is None else max(0.0, w.due - self.now()))
            assert found.pending.progress in (w.progress if w.restored else w.progress[-1:])
        last = None if found.settled is None else (found.settled.completion, found.settled.completed_at)
        known = asset_id in self.settled_at
        assert last == ((self.completions[asset_id], self.settled_at[asset_id]) if known else None)

    @rule(ids=st.lists(st.sampled_from(IDS)))
    def has_room_for(self, ids):
        """What is pending takes no more room, and what comes twice takes it once."""
        new = set(ids) - self.pending.keys()
        assert self.queue.has_room_for(ids) == (not new or len(new) <= self.room_left())

    @precondition(lambda self: sum(w.due is not None and w.due <= self.now() for w in self.pending.values()) > 1)
    @rule()
    def two_take_at_once(self):
        now = self.now()
        [first], [second] = self.run(gathered(self.taken(1, by=now), self.taken(1, by=now)))
        self.check_taken([first, second], 2, 0.0, now)

    @precondition(none_is_due)
    @precondition(lambda self: self.room_left() and self.new_ids())
    @rule(data=st.data())
    def a_put_ends_a_take_that_waits(self, data):
        work, position, new = self.put_with(
            self.submissions([data.draw(st.sampled_from(self.new_ids()))]), [], INTAKES[0]
        )
        now = self.now()
        leases, accepted = self.run(self.taken_after(work, by=now))
        assert accepted == new
        self.put_is_kept(new, [], INTAKES[0], position)
        self.check_taken(leases, 1, 0.0, now)

    @precondition(none_is_due)
    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=DELAYS)
    def a_defer_ends_a_take_that_waits(self, data, delay):
        asset_id = self.draw_leased(data)
        expected_at = min(self.now() + delay, self.next_due() or float("inf"))
        leases, _ = self.run(self.taken_after(self.deferred(asset_id, delay, "waiting"), by=expected_at))
        self.check_taken(leases, 1, 0.0, expected_at)

    async def taken_after(self, work, *, by):
        """What a take returns that waited when `work` began, and what `work` returned."""
        taking = asyncio.ensure_future(self.queue.take(1))
        await turns(3)
        assert not taking.done()
        result = await work
        return await self.ended(taking, by=by), result

    def draw_leased(self, data):
        return data.draw(st.sampled_from(sorted(self.leases)), label="leased")

    async def deferred(self, asset_id, delay, seen) -> None:
        lease, w = self.leases.pop(asset_id), self.pending[asset_id]
        progress = self.progress_after(lease, seen)
        await self.queue.defer(lease, delay, progress)
        w.due = self.now() + delay
        w.progress.append(progress)

    def progress_after(self, lease, seen) -> Progress:
        now, before = self.clock.steady(), lease.progress
        ready_at = now if seen == "ready" and before.ready_at is None else before.ready_at
        missing_at = None if seen != "missing" else now if before.missing_at is None else before.missing_at
        return Progress(
            polls=before.polls + 1,
            waiting_on=WAITING_ON[seen],
            ready_at=ready_at,
            missing_at=missing_at,
            announced=before.announced,
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=DELAYS, seen=SEEN)
    def defer(self, data, delay, seen):
        self.run(self.deferred(self.draw_leased(data), delay, seen))

    def draw_steps(self, data, least=0):
        return data.draw(st.lists(st.sampled_from(Transition), unique=True, min_size=least, max_size=2), label="steps")

    def deferring_with_steps(self, asset_id, delay, steps):
        """The call, the progress that records the steps, and the IDs of their events."""
        lease = self.leases[asset_id]
        before = self.progress_after(lease, "waiting")
        progress = msgspec.structs.replace(before, announced=(*before.announced, *(each.value for each in steps)))
        new = [self.event_for(lease, each) for each in steps if each not in before.announced]
        return self.queue.defer(lease, delay, progress, new), progress, [event.id for event in new]

    def deferred_with_steps(self, asset_id, progress, event_ids) -> None:
        """The progress is kept with the events."""
        del self.leases[asset_id]
        self.pending[asset_id].progress = [progress]
        self.events += event_ids

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=DELAYS)
    def defer_with_steps(self, data, delay):
        asset_id = self.draw_leased(data)
        work, progress, event_ids = self.deferring_with_steps(asset_id, delay, self.draw_steps(data, 1))
        self.run(work)
        before = self.pending[asset_id].progress
        self.deferred_with_steps(asset_id, progress, event_ids)
        if not event_ids:
            self.pending[asset_id].progress = [*before, progress]
        self.pending[asset_id].due = self.now() + delay

    def event_for(self, lease, step=None) -> Event:
        return (completed if step is None else reached)(
            lease.submission,
            Done(Outcome.READY) if step is None else step,
            asset=None,
            completion=lease.completion,
            times=Times(lease.accepted_at, self.clock.now()),
            polls=1,
            redact=Secrets().redact,
            source="s",
        )

    def steps_at_the_end(self, asset_id) -> list[Event]:
        """The event of a step that the look that settles is the first to see, if there is one."""
        lease = self.leases[asset_id]
        return [self.event_for(lease, Transition.PLAYABLE)] if "playable" not in lease.progress.announced else []

    def settling(self, asset_id):
        lease = self.leases[asset_id]
        return self.queue.settle(lease, self.event_for(lease), steps=self.steps_at_the_end(asset_id))

    def settled(self, asset_id) -> None:
        self.events += [event.id for event in self.steps_at_the_end(asset_id)]
        lease = self.leases.pop(asset_id)
        self.events.append(self.event_for(lease).id)
        self.completions[asset_id] = lease.completion
        self.settled_at[asset_id] = self.clock.steady()
        del self.pending[asset_id]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def settle(self, data):
        asset_id = self.draw_leased(data)
        self.run(self.settling(asset_id))
        self.settled(asset_id)

    @precondition(lambda self: len(self.leases) > 1)
    @rule()
    def all_leased_are_settled_at_once(self):
        asset_ids = sorted(self.leases)
        self.run(gathered(*map(self.settling, asset_ids)))
        for asset_id in asset_ids:
            self.settled(asset_id)

    @precondition(some_wait)
    @rule(limit=st.integers(1, MAX_PENDING), data=st.data())
    def a_round_of_looks(self, limit, data):
        self.take(limit, 0.0)
        for asset_id in sorted(self.leases):
            match data.draw(st.sampled_from(["done", "not done", "still looking"])):
                case "done":
                    self.run(self.settling(asset_id))
                    self.settled(asset_id)
                case "not done":
                    self.run(self.deferred(asset_id, data.draw(DELAYS), data.draw(SEEN)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), first=st.booleans())
    def one_is_put_again_while_it_is_settled(self, data, first):
        asset_id = self.draw_leased(data)
        work, position, new = self.put_with(self.submissions([asset_id]), [], INTAKES[1])
        assert not new
        settling = self.settling(asset_id)
        results = self.run(gathered(*((work, settling) if first else (settling, work))))
        assert [] in results
        self.settled(asset_id)
        self.put_is_kept([], [], INTAKES[1], position)

    @precondition(lambda self: self.leases and MAX_PENDING - len(self.pending) <= len(self.new_ids()))
    @precondition(lambda self: self.undelivered() + EVENTS_OF_AN_END <= MAX_PENDING)
    @precondition(lambda self: self.room_left() == MAX_PENDING - len(self.pending))
    @rule(data=st.data())
    def settling_one_makes_room_for_another(self, data):
        self.put(self.new_ids()[: self.room_left()], False, 0, INTAKES[0])
        asset_id = self.draw_leased(data)
        assert self.run(self.room_after(self.settling(asset_id))) == 1
        self.settled(asset_id)

    @precondition(undelivered)
    @rule(data=st.data())
    def the_sink_takes_some(self, data):
        self.run(self.sink_takes(data.draw(st.integers(1, self.undelivered()))))

    async def sink_takes(self, count) -> None:
        self.delivered += count
        await self.queue.outbox.advance("stdout", self.delivered, None)
        if self.undelivered() <= MAX_PENDING // 2:
            self.waiting_since = None

    @precondition(lambda self: len(self.pending) < MAX_PENDING < self.undelivered())
    @rule(data=st.data())
    def a_sink_that_takes_enough_makes_room(self, data):
        count = data.draw(st.integers(self.undelivered() - MAX_PENDING, self.undelivered()))
        room = self.run(self.room_after(self.sink_takes(count)))
        assert room == self.room_left() > 0

    async def room_after(self, work):
        waiting = asyncio.ensure_future(self.queue.room())
        await turns(3)
        assert not waiting.done()
        await work
        return await self.ended(waiting, by=self.now())

    @rule(
        seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0, 100.0, 150.0]),
        stepped=st.none() | st.sampled_from([-100_000.0, -60.0, 0.0, 60.0, 100_000.0]),
        maintained=st.booleans(),
    )
    def time_passes(self, seconds, stepped, maintained):
        """And the wall clock may be set."""
        self.run(asyncio.sleep(seconds))
        if stepped is not None:
            self.clock.stepped = stepped
        if maintained:
            self.run(self.run_maintenance())
            self.progress_is_kept()

    def progress_is_kept(self) -> None:
        for w in self.pending.values():
            if not w.restored:
                del w.progress[:-1]

    @invariant()
    def what_is_pending_and_what_is_undelivered_takes_room(self):
        if self.room_left():
            assert self.run(self.ended(self.queue.room(), by=self.now())) == self.room_left()
        else:
            assert not self.run(self.returns_at_once(self.queue.room()))
        if self.undelivered() > MAX_PENDING and self.waiting_since is None:
            self.waiting_since = self.clock.steady()

    @invariant()
    def operators_see_since_when_the_intakes_wait_for_the_sink(self):
        since = self.waiting_since
        shown = None if since is None else self.clock.now() - (self.clock.steady() - since)
        assert self.queue.waiting_for_sinks_since == shown

    @invariant()
    def each_event_is_in_the_outbox_once_and_in_order(self):
        assert self.run(self.sent()) == self.events[self.delivered :]
        assert len(set(self.events)) == len(self.events)

    @invariant()
    def operators_see_what_is_pending(self):
        queue, now, waiting = self.queue, self.now(), self.pending.values()
        due = sum(w.due is not None and w.due <= now for w in waiting)
        assert queue.pending_count() == len(waiting)
        assert (queue.due_count(), queue.due_count(2)) == (due, min(due, 2))
        assert queue.oldest_age() == max((self.clock.steady() - w.accepted_at for w in waiting), default=0.0)
        assert queue.outbox_depth() == self.undelivered()
        assert not queue.failure

    @precondition(lambda self: not any(w.restored and len(w.progress) > 1 for w in self.pending.values()))
    @invariant()
    def operators_see_what_is_waited_on(self):
        expected = Counter(what for w in self.pending.values() for what in w.progress[-1].waiting_on or ("first look",))
        assert self.queue.waiting_on() == expected

    @invariant()
    def the_queue_is_idle_when_nothing_is_pending(self):
        assert self.run(self.returns_at_once(self.queue.idle())) == (not self.pending)

    async def returns_at_once(self, work):
        waiting = asyncio.ensure_future(work)
        await turns(3)
        returned = waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        return returned

    @invariant()
    def a_step_is_over(self):
        self.steps += 1

    def teardown(self):
        self.run(self.discard())
        self.runner.close()


class DurableQueueMachine(QueueMachine):
    """The same for an engine that keeps what it has accepted: it may be closed, crash, and start again."""

    @abstractmethod
    async def close(self):
        """End the engine in order: it keeps all progress."""

    @abstractmethod
    async def crash(self):
        """End the engine as kill -9 would: what it had not kept is lost, what it was doing is never done."""

    async def discard(self):
        await self.crash()

    def runs_for_a_while(self) -> bool:
        """A restart ends all leases: if it were as frequent as the other steps, few leases would ever be used."""
        return self.steps >= 5

    @abstractmethod
    async def kept_positions(self) -> dict[str, bytes]:
        """Each intake's position, as the engine has kept it."""

    @precondition(runs_for_a_while)
    @rule(crash=st.booleans(), booted=st.booleans())
    def start_again(self, crash, booted):
        if crash:
            self.run(self.crash())
        else:
            self.run(self.close())
            self.progress_is_kept()
        self.started_again(booted=booted)

    @precondition(runs_for_a_while)
    @rule(ids=IDS_OF_ONE_PUT, rejected=st.integers(0, 1), intake=st.sampled_from(INTAKES), turns=TURNS)
    def crash_while_putting(self, ids, rejected, intake, turns):
        """All of it is kept, or nothing; once `put` has returned, all."""
        events = self.rejections(rejected)
        work, position, new = self.put_with(self.submissions(ids[: self.room_left()]), events, intake)
        returned = self.run(self.cut_short(work, turns))
        self.started_again()
        if returned or self.run(self.kept_positions()).get(intake) == position:
            self.put_is_kept(new, events, intake, position)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), turns=TURNS)
    def crash_while_settling(self, data, turns):
        asset_id = self.draw_leased(data)
        leases, event_id = dict(self.leases), self.event_for(self.leases[asset_id]).id
        returned = self.run(self.cut_short(self.settling(asset_id), turns))
        self.started_again()
        if returned or event_id in self.run(self.sent()):
            self.leases = {asset_id: leases[asset_id]}
            self.settled(asset_id)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=DELAYS, turns=TURNS)
    def crash_while_deferring_with_steps(self, data, delay, turns):
        """Both are kept, the events and the progress that records them, or neither."""
        asset_id = self.draw_leased(data)
        leases = dict(self.leases)
        work, progress, event_ids = self.deferring_with_steps(asset_id, delay, self.draw_steps(data, 1))
        returned = self.run(self.cut_short(work, turns))
        self.started_again()
        if event_ids and (returned or event_ids[0] in self.run(self.sent())):
            self.leases = {asset_id: leases[asset_id]}
            self.deferred_with_steps(asset_id, progress, event_ids)
        elif not event_ids:
            self.pending[asset_id].progress.append(progress)

    async def cut_short(self, work, count):
        """Whether it had returned when the crash came."""
        working = asyncio.ensure_future(work)
        await turns(count)
        returned = working.done()
        await self.crash()
        working.cancel()
        await asyncio.wait([working])
        return returned

    def started_again(self, *, booted: bool = False) -> None:
        """The process is another. Within one boot, steady time goes on; after another one, it is the wall clock's."""
        self.steps = 0
        self.waiting_since = None
        self.leases.clear()
        before = self.clock.steady()
        if booted:
            self.clock.boot += "+"
            self.clock.start += 1_000.0
        self.queue = self.run(self.open())
        now = self.clock.steady()
        assert booted or now == pytest.approx(before, abs=1e-6)
        for w in self.pending.values():
            w.due, w.restored = self.now(), True
            w.accepted_at = min(w.accepted_at, now)
            w.progress = [each.not_after(now) for each in w.progress]
        self.settled_at = {asset_id: min(at, now) for asset_id, at in self.settled_at.items()}

    @invariant()
    def the_positions_are_those_of_what_was_kept(self):
        assert self.run(self.kept_positions()) == self.positions


async def gathered(*works):
    return await asyncio.gather(*works)


async def turns(count) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
