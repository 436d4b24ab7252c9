"""What the two engines do in a second: looks, acceptances, settlements; and claims, which only a fleet has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import psycopg

from asset_worker.domain.assets import Done, Outcome
from asset_worker.domain.events import Event, Times, completed
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Submission
from asset_worker.poller.policy import Batching
from asset_worker.queue.ports import Lease
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.settings.tree import Limits
from tests.bench import server as api_server
from tests.bench.fleet.server import DEAD_LIFE, ENGINES, fresh, insert_pending, opened
from tests.bench.isolated import Figures, measured, worker
from tests.bench.rates import ASSETS, CONCURRENCY

LOOKS = 150_000
TURNS = 300_000
PENDING = 2_000
BATCH = 50
"""Looks that share a list."""
SEEN = Progress(1, 1, LastSeen("processing"), ("asset",), waiting_at=1.0)
ACCEPTED = 60_000
ACCEPTED_AT_ONCE = 1_000
SETTLED = 20_000
SETTLED_AT_ONCE = 20
CLAIMED = 1_000_000
LEFT = 240_000
REPEATS = 3
_redact = Secrets().redact


def submissions(start: int, count: int) -> list[Submission]:
    """Submissions of assets whose IDs ascend, as those of the vendor do by their time."""
    return [Submission(f"{number:024x}", "file:/q", number) for number in range(start, start + count)]


def event_of(lease: Lease) -> Event:
    """The event of an asset that is ready."""
    return completed(
        lease.submission,
        Done(Outcome.READY),
        asset=None,
        completion=lease.completion,
        times=Times(lease.accepted_at, lease.accepted_at + 60),
        polls=2,
        redact=_redact,
        source="/asset-worker",
    )


async def take_all(queue: Any, count: int) -> list[Lease]:
    """Leases on so many assets."""
    leases: list[Lease] = []
    while len(leases) < count:
        leases += await queue.take(count - len(leases))
    return leases


async def settle_all(queue: Any, leases: list[Lease], *, at_once: int) -> None:
    """Settle these assets, so many at a time."""
    waiting = iter([(lease, event_of(lease)) for lease in leases])

    async def settle_some() -> None:
        for lease, event in waiting:
            await queue.settle(lease, event)

    await asyncio.gather(*(settle_some() for _ in range(at_once)))


@asynccontextmanager
async def maintained(queue: Any) -> AsyncIterator[None]:
    """The queue's own work goes on within this context: leases, claims, progress."""
    await queue.begin(ends_by_itself=False)
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    try:
        yield
    finally:
        maintaining.cancel()
        await asyncio.wait([maintaining])
        with suppress(asyncio.CancelledError):
            maintaining.result()


class Statements:
    """How many statements this process has sent to a database."""

    def __init__(self) -> None:
        self.count = 0
        run = psycopg.Connection.execute

        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            return run(*arguments, **options)

        psycopg.Connection.execute = counted


async def looks(engine: str, url: str, base_url: str) -> Figures:
    """Looks per CPU second, by lists, at assets that are always due, and statements for each."""

    async def nothing(_: str) -> None: ...

    statements, limits = Statements(), Limits(requests_per_second=0, concurrency=CONCURRENCY)
    ids = [api_server.id_of(number, None) for number in range(ASSETS)]
    async with (
        worker(
            base_url,
            schedule=lambda _: 0.0,
            batching=Batching(),
            limits=limits,
            on_ended=nothing,
            open_queue=partial(opened, engine, url),
        ) as (queue, make_poller),
        maintained(queue),
    ):
        await queue.put([Submission(each, "-", 1) for each in ids], events=[], intake="-", position=None)
        await _look(make_poller(), LOOKS // 3)  # fills pools and caches
        queue._uncounted = {}
        before, began, sent = time.process_time(), time.monotonic(), statements.count
        made = await _look(make_poller(), LOOKS)
        cpu, seconds, sent = time.process_time() - before, time.monotonic() - began, statements.count - sent
        idle = statements.count
        await asyncio.sleep(seconds)
        return {"per_cpu_second": made / cpu, "statements_per_look": max(0, sent - statements.count + idle) / made}


async def _look(poller: Any, count: int) -> int:
    stop = Stop()
    running = asyncio.ensure_future(poller.run(stop))
    while poller.looks < count:  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(0.01)
    stop.set("enough")
    await running
    return int(poller.looks)


async def turns(engine: str, url: str) -> Figures:
    """What a look costs the queue, without request and decoder: assets taken and deferred per CPU second."""
    async with opened(engine, url) as queue:
        await queue.put(submissions(1, PENDING), events=[], intake="-", position=None)

        async def turn(count: int) -> None:
            done = 0
            while done < count:
                for lease in await queue.take(BATCH):
                    await queue.defer(lease, 0.0, SEEN)
                    done += 1

        await turn(TURNS // 3)
        before = time.process_time()
        await turn(TURNS)
        return {"turns": TURNS / (time.process_time() - before)}


async def accepted_and_settled(engine: str, url: str) -> Figures:
    """Assets accepted in a second, by thousands, and settled, by twenties."""
    async with opened(engine, url) as queue:
        began = time.monotonic()
        for start in range(0, ACCEPTED, ACCEPTED_AT_ONCE):
            await queue.put(submissions(start, ACCEPTED_AT_ONCE), events=[], intake="file:/q", position=b"x")
        accepting = time.monotonic() - began
        leases = await take_all(queue, SETTLED)
        began = time.monotonic()
        await settle_all(queue, leases, at_once=SETTLED_AT_ONCE)
        settling = time.monotonic() - began
    return {"accepted": ACCEPTED / accepting, "settled": SETTLED / settling}


async def claimed(url: str) -> Figures:
    """Assets claimed in a second that nobody owns."""
    async with opened("fleet", url) as queue:
        began = time.monotonic()
        await queue.claim()
        seconds = time.monotonic() - began
        assert queue.pending_count() == CLAIMED, queue.pending_count()
    return {"per_second": CLAIMED / seconds, "seconds": seconds}


async def taken_over(url: str) -> Figures:
    """Seconds until what a retired life owned is free, and until another worker has all of it in its heap."""
    async with opened("fleet", url) as queue:
        began = time.monotonic()
        await queue.restore_balance()
        freed = time.monotonic() - began
        await queue.claim()
        seconds = time.monotonic() - began
        assert queue.pending_count() == LEFT, queue.pending_count()
    return {"freed": freed, "seconds": seconds}


def measure(url: str) -> dict[str, Any]:
    """All figures. The engines take turns; each ratio is the median of those of some rounds."""
    rounds: dict[str, list[Figures]] = {engine: [] for engine in ENGINES}
    with api_server.serving() as base_url:
        for _ in range(REPEATS):
            for engine in ENGINES:
                fresh(url)
                found = measured(accepted_and_settled, engine, url)
                fresh(url)
                found |= measured(looks, engine, url, base_url)
                fresh(url)
                rounds[engine].append(found | measured(turns, engine, url))
    figures = {
        engine: {name: _median(each[name] for each in found) for name in found[0]} for engine, found in rounds.items()
    }
    pairs = list(zip(rounds["fleet"], rounds["local"], strict=True))
    ratios = {
        name: _median(fleet[name] / local[name] for fleet, local in pairs)
        for name in ("per_cpu_second", "turns", "accepted", "settled")
    }
    fresh(url)
    insert_pending(url, CLAIMED, owner=None)
    claims = measured(claimed, url)
    fresh(url)
    insert_pending(url, LEFT, owner=DEAD_LIFE)
    return {**figures, "ratios": ratios, "claimed": claims, "taken_over": measured(taken_over, url)}


def _median(values: Any) -> float:
    each = sorted(values)
    return float(each[len(each) // 2])
