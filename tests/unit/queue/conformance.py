"""What every engine of the queue promises, as a state machine that searches for its own counter-examples.

An engine's test subclasses `QueueMachine` and says how to open and how to crash. Nothing here knows how an engine
works.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worker.assets import AssetId, Done, Outcome
from worker.events import Times, completed
from worker.queue import Lease, Progress
from worker.submissions import Options, Submission

IDS = [AssetId(f"asset-{number}") for number in range(6)]
DEDUPE_WINDOW = 100.0


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.mono = 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


class QueueMachine(RuleBasedStateMachine):
    """put, take, defer, settle, crash, reopen, against a model of dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.due: dict[AssetId, float] = {}
        self.leases: dict[AssetId, Lease] = {}
        self.accepted_at: dict[AssetId, float] = {}
        self.polls: dict[AssetId, int] = {}
        self.settled_at: dict[AssetId, float] = {}
        self.completions: dict[AssetId, int] = {}
        self.events: list[str] = []
        self.line = 0
        self.position: bytes | None = None
        self.queue = self.run(self.open())

    def run(self, work):
        return self.runner.run(work)

    @abstractmethod
    async def open(self):
        """The engine, opened on what it kept."""

    @abstractmethod
    async def crash(self):
        """End the engine as kill -9 would."""

    @abstractmethod
    async def sent(self) -> list[str]:
        """The IDs of all events in the outbox, in order."""

    @abstractmethod
    async def kept_position(self) -> bytes | None:
        """The intake's position, as kept."""

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=4), metadata=st.booleans())
    def put(self, ids, metadata):
        options = Options(metadata={"k": "v"}) if metadata else None
        submissions = []
        for asset_id in ids:
            self.line += 1
            submissions.append(Submission(asset_id, "file:/q", self.line, options))
        self.position = b"%d" % self.line
        new = self.run(self.queue.put(submissions, events=[], intake="file:/q", position=self.position))
        now = self.clock.now()
        expected = [
            asset_id
            for asset_id in dict.fromkeys(ids)
            if asset_id not in self.accepted_at and self.settled_at.get(asset_id, -1e9) < now - DEDUPE_WINDOW
        ]
        assert [submission.asset_id for submission in new] == expected
        for asset_id in expected:
            self.accepted_at[asset_id] = now
            self.polls[asset_id] = 0
            self.due[asset_id] = self.clock.monotonic()

    @rule(limit=st.integers(1, 4), ahead=st.sampled_from([0.0, 3.0]))
    def take(self, limit, ahead):
        now = self.clock.monotonic()
        if not any(due <= now for due in self.due.values()):
            self.run(self.takes_nothing())
            return
        leases = self.run(self.queue.take(limit, ahead=ahead))
        ids = [lease.submission.asset_id for lease in leases]
        dues = [self.due.pop(asset_id) for asset_id in ids]
        assert len(leases) == min(limit, len(ids) + sum(due <= now + ahead for due in self.due.values()))
        assert dues == sorted(dues)
        assert all(due <= now + ahead for due in dues)
        assert all(due >= max(dues) for due in self.due.values())
        for lease in leases:
            asset_id = lease.submission.asset_id
            assert lease.accepted_at == self.accepted_at[asset_id]
            assert abs(lease.age - (self.clock.now() - lease.accepted_at)) < 1e-6
            assert lease.completion == self.completions.get(asset_id, 0) + 1
            assert lease.progress.polls <= self.polls[asset_id]
            self.leases[asset_id] = lease

    async def takes_nothing(self):
        taking = asyncio.ensure_future(self.queue.take(1))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not taking.done()
        taking.cancel()
        await asyncio.wait([taking])

    @rule(data=st.data(), delay=st.sampled_from([0.0, 1.0, 2.5, 10.0]))
    def defer(self, data, delay):
        if not self.leases:
            return
        asset_id = data.draw(st.sampled_from(sorted(self.leases)))
        lease = self.leases.pop(asset_id)
        self.polls[asset_id] += 1
        progress = Progress(polls=lease.progress.polls + 1)
        self.run(self.queue.defer(lease, delay, progress))
        self.due[asset_id] = self.clock.monotonic() + delay

    @rule(data=st.data())
    def settle(self, data):
        if not self.leases:
            return
        asset_id = data.draw(st.sampled_from(sorted(self.leases)))
        lease = self.leases.pop(asset_id)
        event = completed(
            lease.submission,
            Done(Outcome.READY),
            asset=None,
            completion=lease.completion,
            times=Times(lease.accepted_at, self.clock.now()),
            polls=1,
            source="s",
        )
        self.run(self.queue.settle(lease, event))
        self.events.append(event.id)
        self.completions[asset_id] = lease.completion
        self.settled_at[asset_id] = self.clock.now()
        del self.accepted_at[asset_id]

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0, 150.0]))
    def time_passes(self, seconds):
        self.clock.move(seconds)

    @rule()
    def crash_and_reopen(self):
        self.run(self.crash())
        self.leases.clear()
        self.queue = self.run(self.open())
        # First looks after a restart are due at once here: every engine is opened with no spread.
        self.due = dict.fromkeys(self.accepted_at, self.clock.monotonic())

    @invariant()
    def nothing_is_lost_and_nothing_is_settled_twice(self):
        assert self.queue.pending_count() == len(self.accepted_at)
        sent = self.run(self.sent())
        assert sent == self.events
        assert len(set(sent)) == len(sent)

    @invariant()
    def the_position_is_that_of_what_was_accepted(self):
        assert self.run(self.kept_position()) == self.position

    def teardown(self):
        self.run(self.crash())
        self.runner.close()
