"""Looks per CPU second, and memory for each pending asset."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil
from tenacity import AsyncRetrying, retry_if_result, wait_exponential

from asset_worker.api.bodies import decode_body, decode_list
from asset_worker.domain.assets import asset_from
from asset_worker.domain.submissions import Submission
from asset_worker.poller.policy import Batching
from asset_worker.queue.local.engine import open_local_queue
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from asset_worker.settings.tree import Limits
from tests.bench.isolated import KEY, Figures, measured, worker
from tests.bench.server import id_of, serving

REQUESTS = 6000
CONCURRENCY = 20
ASSETS = 400
IN_MEMORY = 200_000
COROUTINES = 50_000
REPEATS = 3
IDS = [id_of(number, None) for number in range(ASSETS)]


async def timed(warm: Callable[[], Awaitable[int]]) -> Figures:
    """CPU seconds of one way, after a first round that fills its pools and caches."""
    await warm()
    started = time.process_time()
    looks = await warm()
    return {"per_cpu_second": looks / (time.process_time() - started)}


async def bare_retrieves(base_url: str) -> Figures:
    """aiohttp and the decoder, and nothing else: what any poller in Python must spend."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def loop(count: int) -> None:
            for number in range(count):
                url = f"{base_url}/assets/{IDS[number % ASSETS]}"
                async with session.get(url, headers={"x-api-key": KEY}) as response:
                    asset_from(decode_body(await response.read()).document)

        async def all_of_them() -> int:
            await asyncio.gather(*(loop(REQUESTS // CONCURRENCY) for _ in range(CONCURRENCY)))
            return REQUESTS

        return await timed(all_of_them)


async def bare_lists(base_url: str) -> Figures:
    """The same with lists of fifty: looks per CPU second."""
    fifty = [IDS[start : start + 50] for start in range(0, ASSETS, 50)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def loop(count: int) -> None:
            for number in range(count):
                query = [("asset_ids", each) for each in fifty[number % len(fifty)]]
                async with session.get(f"{base_url}/assets", params=query, headers={"x-api-key": KEY}) as response:
                    for decoded in decode_list(await response.read()):
                        asset_from(decoded.document)

        async def all_of_them() -> int:
            await asyncio.gather(*(loop(REQUESTS // 50) for _ in range(CONCURRENCY)))
            return REQUESTS * CONCURRENCY

        return await timed(all_of_them)


async def worker_retrieves(base_url: str, batching: Batching | None = None) -> Figures:
    """The worker, with assets that are always due."""

    async def nothing(_: str) -> None: ...

    limits = Limits(requests_per_second=0, concurrency=CONCURRENCY)
    async with worker(base_url, schedule=lambda _: 0.0, batching=batching, limits=limits, on_ended=nothing) as (
        queue,
        make_poller,
    ):
        await queue.put([Submission(each, "-", 1) for each in IDS], events=[], intake="-", position=None)

        async def look() -> int:
            stop, poller = Stop(), make_poller()
            running = asyncio.ensure_future(poller.run(stop))
            while poller.looks < REQUESTS * (20 if batching else 1):  # noqa: ASYNC110 - it has no event for it
                await asyncio.sleep(0.01)
            stop.set("enough")
            await running
            return poller.looks

        return await timed(look)


async def worker_lists(base_url: str) -> Figures:
    """The same, with lists: looks per CPU second."""
    return await worker_retrieves(base_url, Batching())


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def random_ids(count: int) -> list[str]:
    source = random.Random(1)
    return [f"{source.getrandbits(96):024x}" for _ in range(count)]


async def queued() -> Figures:
    """Pending assets in the queue, journal and all."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_local_queue(
            Path(folder),
            SystemClock(),
            sinks=["-"],
            dedupe_window=60,
            dead_letter_retention=86_400.0,
            max_pending=10**7,
            first_looks=lambda _: [],
        ) as queue:
            before = resident()
            for start in range(0, IN_MEMORY, 10_000):
                source = random.Random(start)
                batch = [Submission(f"{source.getrandbits(96):024x}", "file:/q", start + i) for i in range(10_000)]
                await queue.put(batch, events=[], intake="-", position=b"")
            return {"bytes_each": (resident() - before) / IN_MEMORY}


async def coroutines() -> Figures:
    """A coroutine for each, asleep between two looks."""

    async def watch(_: str) -> None:
        await asyncio.sleep(3600)

    return await _bytes_of_each(watch)


async def tenacity_coroutines() -> Figures:
    """A tenacity coroutine for each, asleep between two looks."""

    async def look(_: str) -> str:
        return "processing"

    async def watch(asset_id: str) -> None:
        retry = retry_if_result(lambda status: status == "processing")
        await AsyncRetrying(retry=retry, wait=wait_exponential(min=3600, max=7200))(look, asset_id)

    return await _bytes_of_each(watch)


async def _bytes_of_each(watch: Callable[[str], Awaitable[None]]) -> Figures:
    before = resident()
    tasks = [asyncio.ensure_future(watch(each)) for each in random_ids(COROUTINES)]
    for _turn in range(5):
        await asyncio.sleep(0)
    bytes_each = (resident() - before) / COROUTINES
    for task in tasks:
        task.cancel()
    return {"bytes_each": bytes_each}


def looks_per_cpu_second() -> Figures:
    """The best of some rounds, in turn."""
    ways = (bare_retrieves, worker_retrieves, bare_lists, worker_lists)
    rates = {way.__name__: 0.0 for way in ways}
    with serving() as base_url:
        for _ in range(REPEATS):
            for way in ways:
                rates[way.__name__] = max(rates[way.__name__], measured(way, base_url)["per_cpu_second"])
    return rates


def memory() -> Figures:
    """Resident bytes for each pending asset."""
    return {way.__name__: measured(way)["bytes_each"] for way in (queued, coroutines, tenacity_coroutines)}
