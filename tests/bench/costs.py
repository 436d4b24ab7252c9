"""What the worker costs: requests per CPU second, memory per pending asset, rates of the journal.

Each way runs in a process of its own, in turn with the others, against one server in another process. The CPU times of
the client processes are compared, so that neither the server nor other work on the machine counts. `python -m
tests.bench.costs` prints tables and writes `tests/bench/results/costs.json`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import structlog
import uvloop
from aiohttp import web
from click import echo
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_attempt, wait_exponential, wait_none

from asset_worker.api.bodies import decode_body, decode_list
from asset_worker.api.client import AssetsApi
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import Expectations, Outcome, asset_from
from asset_worker.domain.events import Event
from asset_worker.domain.submissions import Submission
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching, Policy
from asset_worker.queue.local.engine import open_local_queue
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.service import GC_THRESHOLD

RESULTS = Path(__file__).parent / "results" / "costs.json"
REQUESTS = 6000
CONCURRENCY = 20
ASSETS = 400
PENDING = 200_000
COROUTINES = 50_000
ACCEPTED = 300_000
SETTLED = 20_000
REPEATS = 3
IDS = [f"{number:024x}" for number in range(ASSETS)]
DOCUMENT = {
    "_id": "",
    "created_at": "2026-11-24T00:00:00Z",
    "file_type": "video/mp4",
    "filename": "talk.mp4",
    "method": "direct",
    "status": "processing",
    "hls": {"status": "pending"},
    "thumbnail": {"status": "pending"},
}
QUIET = structlog.make_filtering_bound_logger(logging.ERROR)


def serve() -> None:
    """A server that gives two answers, to a retrieve and to a list; it prints its base URL."""

    async def retrieve(request: web.Request) -> web.Response:
        return web.json_response(DOCUMENT | {"_id": request.match_info["id"]})

    async def listing(request: web.Request) -> web.Response:
        data = [DOCUMENT | {"_id": each} for each in request.query.getall("asset_ids")]
        return web.json_response({"data": data, "page_info": {}})

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.get("/v1.3/assets/{id}", retrieve), web.get("/v1.3/assets", listing)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        echo(f"http://127.0.0.1:{runner.addresses[0][1]}/v1.3")
        await asyncio.Event().wait()

    asyncio.run(run())


async def timed(warm: Callable[[], Awaitable[int]]) -> dict[str, float]:
    """CPU seconds of one way, after a first round that fills its pools and caches."""
    await warm()
    started = time.process_time()
    looks = await warm()
    return {"per_cpu_second": looks / (time.process_time() - started)}


async def bare(base_url: str) -> dict[str, float]:
    """aiohttp and the decoder, and nothing else: what any poller in Python must spend."""

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def loop(count: int) -> None:
            for number in range(count):
                url = f"{base_url}/assets/{IDS[number % ASSETS]}"
                async with session.get(url, headers={"x-api-key": "k"}) as response:
                    asset_from(decode_body(await response.read()).document)

        async def all_of_them() -> int:
            await asyncio.gather(*(loop(REQUESTS // CONCURRENCY) for _ in range(CONCURRENCY)))
            return REQUESTS

        return await timed(all_of_them)


async def bare_lists(base_url: str) -> dict[str, float]:
    """The same with lists of fifty: looks per CPU second."""
    fifty = [IDS[start : start + 50] for start in range(0, ASSETS, 50)]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def loop(count: int) -> None:
            for number in range(count):
                query = [("asset_ids", each) for each in fifty[number % len(fifty)]]
                async with session.get(f"{base_url}/assets", params=query, headers={"x-api-key": "k"}) as response:
                    for decoded in decode_list(await response.read()):
                        asset_from(decoded.document)

        async def all_of_them() -> int:
            await asyncio.gather(*(loop(REQUESTS // 50) for _ in range(CONCURRENCY)))
            return REQUESTS * CONCURRENCY

        return await timed(all_of_them)


async def ours(base_url: str, *, batched: bool = False) -> dict[str, float]:
    """The poller with its queue, journal, gate and retries; assets that are always due."""

    structlog.configure(wrapper_class=QUIET)
    clock, never = SystemClock(), Stop()
    gate = Gate(clock=clock, requests_per_second=0, concurrency=CONCURRENCY, share=1.0)
    secrets = Secrets()
    key = ApiKey(value="tlk_benchmark_0123456789", file=None, on_read=secrets.add)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_session(base_url, total_timeout=10) as session,
            open_local_queue(
                Path(folder), clock, sinks=["-"], dedupe_window=60, max_pending=10**6, first_looks=lambda n: [0.0] * n
            ) as queue,
        ):
            api = AssetsApi(session, base_url, key, gate, Retries(never), redact=secrets.redact)
            await queue.put([Submission(each, "-", 1) for each in IDS], events=[], intake="-", position=None)

            async def look() -> int:
                stop = Stop()
                poller = Poller(
                    queue,
                    api,
                    schedule=lambda _: 0.0,
                    policy=Policy(
                        expectations=Expectations(),
                        source="-",
                        redact=secrets.redact,
                        looks_at_once=CONCURRENCY,
                        batching=Batching() if batched else None,
                    ),
                    clock=clock,
                    uniform=lambda: 1.0,
                )
                running = asyncio.ensure_future(poller.run(stop))
                while poller.looks < REQUESTS * (20 if batched else 1):  # noqa: ASYNC110 - it has no event for it
                    await asyncio.sleep(0.01)
                stop.set("enough")
                await running
                return poller.looks

            return await timed(look)


async def batched(base_url: str) -> dict[str, float]:
    """The same, with lists: looks per CPU second."""
    return await ours(base_url, batched=True)


async def sdk(base_url: str) -> dict[str, float]:
    """The vendor's SDK, asynchronous, as one would write it."""
    from twelvelabs import AsyncTwelveLabs  # noqa: PLC0415 - a second to import, and only this way needs it

    client = AsyncTwelveLabs(api_key="k", base_url=base_url)

    async def loop(count: int) -> None:
        for number in range(count):
            await client.assets.retrieve(IDS[number % ASSETS])

    async def all_of_them() -> int:
        await asyncio.gather(*(loop(REQUESTS // CONCURRENCY // 4) for _ in range(CONCURRENCY)))
        return REQUESTS // 4

    return await timed(all_of_them)


async def tenacious(base_url: str) -> dict[str, float]:
    """One tenacity coroutine for each asset, the usual way."""

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:

        async def look(asset_id: str) -> str:
            async with session.get(f"{base_url}/assets/{asset_id}", headers={"x-api-key": "k"}) as response:
                return str((await response.json())["status"])

        async def wait_for(asset_id: str) -> None:
            waiting = AsyncRetrying(
                retry=retry_if_result(lambda status: status == "processing"),
                stop=stop_after_attempt(REQUESTS // ASSETS),
                wait=wait_none(),
            )
            try:
                await waiting(look, asset_id)
            except RetryError:
                pass

        async def all_of_them() -> int:
            await asyncio.gather(*(wait_for(each) for each in IDS))
            return REQUESTS

        return await timed(all_of_them)


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def random_ids(count: int) -> list[str]:
    source = random.Random(1)
    return [f"{source.getrandbits(96):024x}" for _ in range(count)]


async def heap(_: str) -> dict[str, float]:
    """Pending assets in the queue, journal and all."""

    with tempfile.TemporaryDirectory() as folder:
        async with open_local_queue(
            Path(folder), SystemClock(), sinks=["-"], dedupe_window=60, max_pending=10**7, first_looks=lambda _: []
        ) as queue:
            before = resident()
            for start in range(0, PENDING, 10_000):
                source = random.Random(start)
                batch = [Submission(f"{source.getrandbits(96):024x}", "file:/q", start + i) for i in range(10_000)]
                await queue.put(batch, events=[], intake="-", position=b"")
            return {"bytes_each": (resident() - before) / PENDING}


async def coroutines(_base_url: str) -> dict[str, float]:
    """A coroutine for each, asleep between two looks."""

    async def watch(_: str) -> None:
        await asyncio.sleep(3600)

    before = resident()
    tasks = [asyncio.ensure_future(watch(each)) for each in random_ids(COROUTINES)]
    await asyncio.sleep(0)
    bytes_each = (resident() - before) / COROUTINES
    for task in tasks:
        task.cancel()
    return {"bytes_each": bytes_each}


async def tenacity_coroutines(_base_url: str) -> dict[str, float]:
    """A tenacity coroutine for each, asleep between two looks."""

    async def look(_: str) -> str:
        return "processing"

    async def watch(asset_id: str) -> None:
        retry = retry_if_result(lambda status: status == "processing")
        await AsyncRetrying(retry=retry, wait=wait_exponential(min=3600, max=7200))(look, asset_id)

    before = resident()
    tasks = [asyncio.ensure_future(watch(each)) for each in random_ids(COROUTINES)]
    for _turn in range(5):
        await asyncio.sleep(0)
    bytes_each = (resident() - before) / COROUTINES
    for task in tasks:
        task.cancel()
    return {"bytes_each": bytes_each}


async def journal(_: str) -> dict[str, float]:
    """Accepts in batches as the file intake makes them, settles one by one as the poller does; all with fsync."""

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        async with open_local_queue(
            Path(folder), SystemClock(), sinks=["-"], dedupe_window=60, max_pending=10**7, first_looks=lambda _: []
        ) as queue:
            ids = random_ids(ACCEPTED)
            started = time.perf_counter()
            for start in range(0, ACCEPTED, 10_000):
                batch = [Submission(each, "file:/q", start) for each in ids[start : start + 10_000]]
                await queue.put(batch, events=[], intake="-", position=b"")
            accepted = ACCEPTED / (time.perf_counter() - started)
            leases = await queue.take(SETTLED)
            body = json.dumps(DOCUMENT).encode()
            started = time.perf_counter()
            await asyncio.gather(
                *(queue.settle(each, Event(f"{each.submission.asset_id}.1", Outcome.READY, body)) for each in leases)
            )
            settled = SETTLED / (time.perf_counter() - started)
            started = time.perf_counter()
            for lease in await queue.take(300):
                await queue.settle(lease, Event(f"{lease.submission.asset_id}.1", Outcome.READY, body))
            return {"accepted": accepted, "settled": settled, "settled_alone": 300 / (time.perf_counter() - started)}


WAYS = {
    each.__name__: each
    for each in (bare, ours, bare_lists, batched, sdk, tenacious, heap, coroutines, tenacity_coroutines, journal)
}


def run(name: str, base_url: str) -> None:
    """One way, in this process, on uvloop; its figures go to stdout as JSON."""
    gc.freeze()  # as the service does
    gc.set_threshold(GC_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        echo(json.dumps(runner.run(WAYS[name](base_url))))


def measured(name: str, base_url: str) -> dict[str, float]:
    """One way, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.costs", name, base_url]
    ended = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "0"})
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def best(name: str, base_url: str, key: str) -> float:
    return max(measured(name, base_url)[key] for _ in range(REPEATS))


def all_costs() -> dict[str, Any]:
    """Prints and writes all figures."""
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.costs", "serve"], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().decode().strip()
        names = ["bare", "ours", "tenacious", "sdk", "bare_lists", "batched"]
        rates = dict.fromkeys(names, 0.0)
        for _ in range(REPEATS):
            for name in names:
                rates[name] = max(rates[name], measured(name, base_url)["per_cpu_second"])
        echo("(a) looks per CPU second, and beside a bare aiohttp loop")
        for name, rate in rates.items():
            beside = f"  x {rate / rates['bare_lists']:.2f} of bare_lists" if name == "batched" else ""
            echo(f"    {name:24}{rate:10.0f}  x {rate / rates['bare']:.2f}{beside}")
        memory = {name: measured(name, "")["bytes_each"] for name in ("heap", "coroutines", "tenacity_coroutines")}
        echo("(b) resident bytes for each pending asset")
        for name, each in memory.items():
            echo(f"    {name:24}{each:10.0f}  x {each / memory['heap']:.1f}")
        rows = measured("journal", "")
        echo("(e) the journal, with fsync: each second")
        for name, rate in rows.items():
            echo(f"    {name:24}{rate:10.0f}")
    finally:
        server.kill()
        server.wait()
    found = {"requests": rates, "memory": memory, "journal": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1:]:
        run(*sys.argv[1:])
    else:
        all_costs()
