"""Requests of several workers against those of one, with as many pending assets: the real engine, in virtual time.

Each worker has its own poller, schedule, gate and engine; the database is real. Its answers take no virtual time. The
steady state is measured, as in `grid`: the assets that are pending at the start are under way, and each one that ends
makes room for the next, which one of the workers accepts.
"""

from __future__ import annotations

import asyncio
import random as own_random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, NamedTuple

import msgspec
import psycopg

from asset_worker import policies
from asset_worker.domain.assets import AssetId
from asset_worker.domain.submissions import Submission
from asset_worker.queue.postgres.learning import share_periodically
from asset_worker.settings.tree import Limits, Poll
from tests.bench.fleet.server import SCHEMA
from tests.bench.targets import NO_RATE
from tests.bench.workloads import MIX, taught
from tests.bench.world import Row, World, summary
from tests.doubles import postgres
from tests.doubles.fleet import open_fleet
from tests.doubles.limited_fleet import RENEWAL_SECONDS
from tests.doubles.virtual_time import run_virtually

PENDING = 2_000
WORKERS = (1, 3)
WARM_UP = 500
"""Assets that end before the measurement."""
COMPLETIONS = 2_500
SEEDS = (4, 5, 6)
"""Of the assets: the same for any number of workers. From one to the next, the ratio changes by some hundredths."""


class Case(NamedTuple):
    """One measurement."""

    workers: int
    is_taught: bool
    has_rate: bool
    """Whether there is the default rate: it then decides how many requests there are, and more of them show as lag."""
    seed: int


def cases() -> list[Case]:
    """All measurements."""
    free = [(is_taught, False, seed) for is_taught in (True, False) for seed in SEEDS]
    return [Case(workers, *each) for workers in reversed(WORKERS) for each in (*free, (True, True, SEEDS[0]))]


def measure_requests(case: Case) -> Row:
    """Requests for each asset that ended, mean lag, and how often progress was written for each."""
    own_random.seed(5)  # of the intervals at which workers begin
    with postgres.running_server() as url:
        postgres.create(url, SCHEMA)
        found: Row = run_virtually(_measure(case, url))
    return case._asdict() | found


class _Fleet:
    def __init__(self, case: Case, url: str) -> None:
        learned = taught(MIX) if case.is_taught else None
        limits = Limits() if case.has_rate else NO_RATE
        self._random = Random(case.seed)
        self.saved = 0
        self.worlds = [
            World(
                Poll(), learned, limits=limits, seed=case.seed - 1 + number, make_queue=self._opening(url, f"{number}")
            )
            for number in range(case.workers)
        ]
        self.first = self.worlds[0]
        self._accepting: set[asyncio.Task[Any]] = set()
        for world in self.worlds:
            world.api.watched = self.first.api.watched
            world.on_ended = self._add_next
            world.queue.share_limits(world.gate)
        self.submit_under_way(url)

    def _opening(self, url: str, name: str) -> Any:
        def make(clock: Any, on_settled: Any) -> Any:
            queue: Any = open_fleet(url, SCHEMA, clock, name=name, sinks=())
            queue._first_looks = lambda count: policies.first_looks(count, Poll(), self._random.random)
            settle, rows = queue.settle, queue._database._statements.pending
            save = rows.save_progress

            async def settle_and_report(lease: Any, event: Any, **steps: Any) -> None:
                await settle(lease, event, **steps)
                on_settled(lease.submission.asset_id, event.outcome)

            def count_and_save(connection: Any, progress: Any, *, life: int) -> Any:
                self.saved += len(progress)
                return save(connection, progress, life=life)

            queue.settle, rows.save_progress = settle_and_report, count_and_save
            return queue

        return make

    def submit_under_way(self, url: str) -> None:
        """Assets that others have waited for, and that nobody owns now."""
        rows = []
        for line in range(PENDING):
            asset_class, duration, age = MIX.draw_pending(self._random)
            asset_id = self.first.watch(asset_class, duration, age)
            progress = msgspec.json.encode(self.first.progress_of(asset_id)).decode()
            rows.append((asset_id, self.first._clock.steady() - age, line, progress))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.cursor().executemany(
                f"INSERT INTO {SCHEMA}.pending (asset_id, accepted_at, completion, origin, line, progress) "
                "VALUES (%s, %s, 1, '-', %s, %s)",
                rows,
            )

    def _add_next(self) -> None:
        asset_id = self.first.watch(*MIX.draw(self._random))
        task = asyncio.ensure_future(self._accept(self._random.choice(self.worlds), asset_id))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, world: World, asset_id: AssetId) -> None:
        await world.queue.put([Submission(asset_id, "-", 1)], events=[], intake="-", position=None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        queues = [each.queue for each in self.worlds]
        for _ in range(2):  # with the second renewal a worker uses the portion that the first asks for
            for each in queues:
                await each.renew()
        while any([await self._claimed(each) for each in queues]):
            pass
        async with AsyncExitStack() as stack:
            tasks = [asyncio.ensure_future(work) for each in self.worlds for work in self._works(each)]
            for each in self.worlds:
                await stack.enter_async_context(each.running())
            yield
            for task in [*tasks, *self._accepting]:
                assert not task.done(), task
                task.cancel()
            await asyncio.wait(tasks)
        for each in queues:
            each.crash()

    async def _claimed(self, queue: Any) -> int:
        before = queue.pending_count()
        await queue.claim()
        await queue.renew()
        return int(queue.pending_count() - before)

    def _works(self, world: World) -> list[Any]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(RENEWAL_SECONDS)
                await world.queue.renew()

        queue = world.queue
        return [
            renew(),
            queue._claim_again_and_again(),
            queue._save_and_prune(),
            share_periodically(world.schedule, queue),
        ]

    @property
    def ended(self) -> int:
        return sum(len(each.ended) for each in self.worlds)

    @property
    def requests(self) -> int:
        return sum(each.requests for each in self.worlds)

    @property
    def lists(self) -> tuple[int, int]:
        """How many lists were asked for, and how many assets with them."""
        apis = [each.api for each in self.worlds]
        return sum(each.lists for each in apis), sum(each.listed for each in apis)

    async def until(self, ended: int) -> None:
        while self.ended < ended:  # noqa: ASYNC110 - of any of the workers
            await asyncio.sleep(1.0)


async def _measure(case: Case, url: str) -> Row:
    fleet = _Fleet(case, url)
    async with fleet.running():
        await fleet.until(WARM_UP)
        places = [len(each.ended) for each in fleet.worlds]
        before, requests, saved, began = fleet.ended, fleet.requests, fleet.saved, fleet.first.now
        lists, listed = fleet.lists
        await fleet.until(WARM_UP + COMPLETIONS)
        lists, listed = fleet.lists[0] - lists, fleet.lists[1] - listed
        count = fleet.ended - before
        lags = [lag for each, place in zip(fleet.worlds, places, strict=True) for lag in each.lags(place)]
        return {
            "requests": (fleet.requests - requests) / count,
            **summary(lags),
            "fill": listed / lists,
            "lists": lists / count,
            "progress": (fleet.saved - saved) / count,
            "seconds": fleet.first.now - began,
            "owned": [each.queue.pending_count() for each in fleet.worlds],
            "portions": [each.queue.fleet.portion for each in fleet.worlds],
        }
