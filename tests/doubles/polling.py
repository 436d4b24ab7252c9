"""A poller on a queue in memory, in the event loop's time."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import msgspec

from asset_worker.domain.assets import Expectations
from asset_worker.domain.submissions import Submission
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Policy
from asset_worker.queue.memory import MemoryQueue
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.waits import exponential, from_tenacity
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID

SINK = "stdout"


def queue_in_memory(clock):
    """An empty queue that keeps nothing, with one sink."""
    return MemoryQueue(clock, sinks=(SINK,), dedupe_window=60, max_pending=10**6)


async def put(queue, asset_ids, options=None):
    """Submit assets, all with these options."""
    submissions = [Submission(each, "stdin", 1, options) for each in asset_ids]
    await queue.put(submissions, events=[], intake="i", position=None)


async def events_in(queue):
    """The events in the outbox, decoded, in their order."""
    return [msgspec.json.decode(stored.body) for stored in await queue.outbox.read(SINK, 100_000)]


def outcomes(events):
    """The outcome of each asset."""
    return {event["subject"]: event["data"]["outcome"] for event in events}


def policy(**changes):
    """A policy with these changes from what most tests use: four looks at once, no lists, default expectations."""
    usual = {"expectations": Expectations(), "source": "s", "redact": Secrets().redact, "looks_at_once": 4}
    return Policy(**(usual | changes))


async def poll(api, *, ids=(ID,), schedule=None, feedback=None, uniform=lambda: 1.0, seconds=3600.0, **policy_changes):
    """Poll these assets until all are settled, for `seconds` at most. The events, the poller and its queue.

    For tests in virtual time.
    """
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    growing = exponential(initial=2, multiplier=1.5, maximum=30, uniform=random.Random(1).random)
    poller = Poller(
        queue,
        api,
        schedule=schedule or from_tenacity(growing),
        policy=policy(**policy_changes),
        clock=clock,
        feedback=feedback,
        uniform=uniform,
    )
    await put(queue, ids)
    running = asyncio.ensure_future(poller.run(stop))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await queue.idle()
    stop.set("test")
    await running
    return await events_in(queue), poller, queue
