"""A worker's outbox, and the deliveries from it to scripted receivers, in virtual time."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager

from asset_worker.runtime.stop import Stop
from asset_worker.sinks.independent import IndependentDelivery
from asset_worker.sinks.ports import Delivered
from tests.doubles.clocks import LoopClock
from tests.doubles.independent import DOWN
from tests.doubles.local_queue import open_local, put


def now():
    return asyncio.get_running_loop().time()


class Run:
    """A worker's outbox and the deliveries from it."""

    def __init__(self, path, *receivers, patience=0.0, last_start=math.inf):
        self.clock = LoopClock(asyncio.get_running_loop())
        names = [each.name for each in receivers]
        self.queue = open_local(path, self.clock, sinks=names, independent=names)
        self.outbox = self.queue.outbox
        self.stop = Stop()
        self.deliveries = [
            IndependentDelivery(
                each,
                self.outbox,
                self.clock,
                drain_patience=patience,
                last_start=last_start,
                uniform=lambda: 0.0,
            )
            for each in receivers
        ]
        self.delivery = self.deliveries[0]

    async def __aenter__(self):
        await self.queue.begin(ends_by_itself=False)
        self.tasks = [asyncio.create_task(each.run(self.stop)) for each in self.deliveries]
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        self.queue.crash()

    async def add(self, *events):
        await put(self.queue, events=events)

    async def end(self):
        """Stop, and wait for the deliveries. Return how long that took."""
        began = now()
        self.stop.set("test")
        await asyncio.gather(*self.tasks)
        return now() - began


@asynccontextmanager
async def running(path, *receivers, **options):
    async with Run(path, *receivers, **options) as run:
        yield run


def failing_until(instant, answer=DOWN):
    return lambda _: Delivered() if now() >= instant else answer
