"""(c) CPU time for each completed asset, at equal lag, against the usual ways of polling.

Real clients against a server in another process, on loopback and in real time: the mix of assets in its steady state,
those that are pending at the start being under way. The assets that end in the time that is measured are too few for a
sharp mean, so the CPU time is divided by the number that end in that time on average: pending assets times seconds over
the mean duration. The ways that share nothing cost the same for each asset however many are pending, so they have
fewer; they poll at an even interval, at which their lag is that of the worker.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from asset_worker import policies
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.runtime.stop import Stop
from asset_worker.settings.tree import Limits, Poll
from tests.bench.isolated import KEY, Figures, measured, worker
from tests.bench.server import end_of, id_of, serving
from tests.bench.workloads import MIX, AssetClass, Workload, taught
from tests.bench.world import BATCH, Row

SECONDS = 45
WARM_UP_SECONDS = 10
PENDING = 2000
PENDING_OF_OTHERS = 300
CONCURRENCY = 20
ONE_CLASS = Workload("one class", (AssetClass(1.0, "video/mp4", "multipart", MIX.pooled),))
"""The server shows the same file type and method of all."""


def draw_under_way(count: int) -> list[tuple[str, float]]:
    """IDs of pending assets, and their ages."""
    source, now = random.Random(7), time.monotonic()
    drawn = [ONE_CLASS.draw_pending(source) for _ in range(count)]
    return [(id_of(number, now + duration - age), age) for number, (_, duration, age) in enumerate(drawn)]


class Followers:
    """Assets that follow, one for each that has ended, and the lags of these."""

    def __init__(self, count: int) -> None:
        self._source, self._number = random.Random(8), count
        self.lags: list[float] = []

    def after(self, asset_id: str) -> str:
        """Note the end of an asset. The ID of the next one."""
        now = time.monotonic()
        self.lags.append(now - end_of(asset_id))
        self._number += 1
        return id_of(self._number, now + ONE_CLASS.draw(self._source)[1])


async def measured_while(followers: Followers, pending: int) -> Figures:
    """CPU seconds for each completed asset, and the mean lag, while the caller's tasks poll."""
    await asyncio.sleep(WARM_UP_SECONDS)
    followers.lags.clear()
    started, began = time.process_time(), time.monotonic()
    await asyncio.sleep(SECONDS)
    cpu, seconds = time.process_time() - started, time.monotonic() - began
    lags = followers.lags
    return {"cpu": cpu / (pending * seconds / ONE_CLASS.mean), "lag": sum(lags) / len(lags)}


async def ours(base_url: str, batch: str) -> Figures:
    """The worker at its defaults, but for `poll.batch`."""
    settings, followers = Poll(batch=batch), Followers(PENDING)

    async def follow(asset_id: str) -> None:
        await queue.put([Submission(followers.after(asset_id), "-", 1)], events=[], intake="-", position=None)

    schedule = policies.schedule(settings, taught(ONE_CLASS), random.Random(1).random)
    batching = policies.batching(settings)
    async with worker(base_url, schedule=schedule, batching=batching, limits=Limits(), on_ended=follow) as (
        queue,
        make_poller,
    ):
        under_way = draw_under_way(PENDING)
        await queue.put([Submission(each, "-", 1) for each, _ in under_way], events=[], intake="-", position=None)
        for asset_id, age in under_way:  # as after a restart
            pending = queue._pending[asset_id]
            now, pending.accepted_at = pending.accepted_at, pending.accepted_at - age
            pending.progress = Progress(1, 1, None, ("asset",), waiting_at=now)
        stop = Stop()
        running = asyncio.ensure_future(make_poller().run(stop))
        found = await measured_while(followers, PENDING)
        stop.set("enough")
        await running
        return found


async def bare(base_url: str, interval: str) -> Figures:
    """A loop over all pending assets that retrieves each with aiohttp."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def status_of(asset_id: str) -> str:
            async with session.get(f"{base_url}/assets/{asset_id}", headers={"x-api-key": KEY}) as response:
                return str((await response.json())["status"])

        return await in_rounds(status_of, float(interval))


async def sdk(base_url: str, interval: str) -> Figures:
    """The same loop with the vendor's SDK."""
    from twelvelabs import AsyncTwelveLabs  # noqa: PLC0415 - a second to import, and only this way needs it

    client = AsyncTwelveLabs(api_key=KEY, base_url=base_url)

    async def status_of(asset_id: str) -> str:
        return str((await client.assets.retrieve(asset_id)).status)

    return await in_rounds(status_of, float(interval))


async def in_rounds(status_of: Callable[[str], Awaitable[str]], interval: float) -> Figures:
    """Ask about all pending assets in each interval, some at a time."""
    followers = Followers(PENDING_OF_OTHERS)
    pending = [asset_id for asset_id, _ in draw_under_way(PENDING_OF_OTHERS)]

    async def poll_some(places: Iterator[int]) -> None:
        for place in places:
            if await status_of(pending[place]) == "ready":
                pending[place] = followers.after(pending[place])

    async def poll_for_ever() -> None:
        at = time.monotonic()
        while True:
            places = iter(range(PENDING_OF_OTHERS))
            await asyncio.gather(*(poll_some(places) for _ in range(CONCURRENCY)))
            at += interval
            await asyncio.sleep(at - time.monotonic())

    polling = asyncio.ensure_future(poll_for_ever())
    found = await measured_while(followers, PENDING_OF_OTHERS)
    assert not polling.done(), polling
    polling.cancel()
    return found


async def tenacious(base_url: str, interval: str) -> Figures:
    """A tenacity coroutine for each asset."""
    followers = Followers(PENDING_OF_OTHERS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def status_of(asset_id: str) -> str:
            async with session.get(f"{base_url}/assets/{asset_id}", headers={"x-api-key": KEY}) as response:
                return str((await response.json())["status"])

        async def wait_for(asset_id: str) -> None:
            await asyncio.sleep(random.uniform(0, float(interval)))
            while True:
                await AsyncRetrying(
                    retry=retry_if_result(lambda status: status == "processing"), wait=wait_fixed(float(interval))
                )(status_of, asset_id)
                asset_id = followers.after(asset_id)

        waiting = [asyncio.ensure_future(wait_for(each)) for each, _ in draw_under_way(PENDING_OF_OTHERS)]
        found = await measured_while(followers, PENDING_OF_OTHERS)
        assert not any(each.done() for each in waiting)
        for each in waiting:
            each.cancel()
        return found


def compare() -> list[Row]:
    """Each way's CPU seconds for each completed asset, and its lag; the worker's comes first."""
    with serving() as base_url, ThreadPoolExecutor(2) as both_cores:
        own = list(both_cores.map(lambda batch: measured(ours, base_url, batch), BATCH[1:]))
        interval = str(2 * own[-1]["lag"])
        others = list(both_cores.map(lambda way: measured(way, base_url, interval), OTHERS.values()))
    names = [*(f"worker, {batch}" for batch in BATCH[1:]), *OTHERS]
    return [{"way": name, **found} for name, found in zip(names, [*own, *others], strict=True)]


OTHERS = {"bare retrieve loop": bare, "tenacity, a coroutine for each": tenacious, "SDK loop": sdk}
