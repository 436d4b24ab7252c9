"""Callers that wait for assets of a simulated world, in virtual time: `Waits` between a poller and a queue."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from random import Random

from asset_worker.domain.assets import Expectations
from asset_worker.embedding.completion import completion_of
from asset_worker.embedding.terms import terms_of
from asset_worker.embedding.waits import Wait, Waits
from asset_worker.poller.loop import Poller
from asset_worker.queue.memory import MemoryQueue
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.waits import fixed, from_tenacity
from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.doubles.clocks import LoopClock
from tests.doubles.local_queue import open_local
from tests.doubles.polling import policy
from tests.doubles.world import World

DEFAULTS = Expectations(deadline=3600, not_found_grace=60, unanswered_factor=1.0)
INTERVAL = 10.0
"""Seconds between two looks."""


class Call:
    """A caller's wait, and what became of it."""

    def __init__(self, asset_id, **arguments):
        usual = {"timeout": None, "wait_for": None, "not_found_grace": None, "metadata": None}
        terms = terms_of(DEFAULTS, **(usual | arguments), redact=lambda data: data)
        self.wait = Wait(asset_id, terms, self._end)
        self.reports = []
        self.ended_at = None

    def _end(self, wait, how):
        assert wait is self.wait
        self.reports.append(how)
        self.ended_at = asyncio.get_running_loop().time()

    @property
    def completion(self):
        [event] = self.reports
        return completion_of(event.body)

    @property
    def outcome(self):
        return self.completion.outcome.value if self.reports else None


class Host:
    """The waits, and the world that they are about."""

    def __init__(self, queue, clock, world):
        self.queue, self.world, self.refusal = queue, world, None
        self.waits = Waits(
            queue,
            clock=clock,
            accept=self._accept,
            decide=self._decide,
            refusal=lambda: self.refusal,
            drop=getattr(queue, "drop", None),
        )
        self.poller = Poller(
            self.waits,
            world,
            schedule=from_tenacity(fixed(interval=INTERVAL, uniform=lambda: 0.5)),
            policy=policy(expectations=DEFAULTS, refusal_is_final=True),
            clock=clock,
            observe=self.waits.observe,
        )

    def _decide(self, lease, observation):
        return self.poller.decide(lease, observation)

    async def _accept(self, batch):
        await self.queue.put(batch.submissions, events=[], intake=batch.intake, position=None)

    async def call(self, asset_id, **arguments):
        """Begin a wait."""
        call = Call(asset_id, **arguments)
        await self.waits.begin([call.wait])
        return call

    def looks(self):
        """How many requests were made so far."""
        return self.world.retrieves + len(self.world.lists)


@asynccontextmanager
async def hosted(path=None):
    """A host with its poller running; with a path, its journal is there."""
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    if path is None:
        queue = MemoryQueue(clock, sinks=("python",), dedupe_window=-1.0, max_pending=100)
    else:
        queue = open_local(path, clock, sinks=("python",), window=-1.0)
        await queue.begin(ends_by_itself=False)
    host = Host(queue, clock, World(Random(1), delay=lambda _: 0.1))
    polling = asyncio.ensure_future(host.poller.run(stop))
    try:
        yield host
    finally:
        stop.set("test")
        await polling
        await queue.close()


def asset(world, *, ready_after, hls_after=None, ends_in="ready"):
    """Add a clip to the world, and return its ID."""
    hls = None if hls_after is None else Rendition(ends_after=hls_after)
    lifecycle = Lifecycle(ends_after=ready_after, ends_in=ends_in, hls=hls)
    return world.add(lifecycle, KINDS["clip"], born=asyncio.get_running_loop().time())
