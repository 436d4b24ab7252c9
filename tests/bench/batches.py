"""What shared list requests save: the whole poller, with lists and without, on the same assets in virtual time.

Two thousand assets are pending at a time, and one that is done makes room for the next. Requests are counted in two
parts: those that look, and the one retrieve for each asset that a list shows done, which its event is made from. Every
way of polling needs that one. What lists save may be spent on looks, as the adaptive schedule with forty of them does.

`python -m tests.bench.batches` prints a table and writes `tests/bench/results/batches.json`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import structlog
from click import echo

from asset_worker.domain.assets import Asset, AssetId, Expectations, asset_from
from asset_worker.domain.events import Event
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.queue.ports import Lease, Queue
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import Schedule
from asset_worker.schedule.waits import exponential, fixed, from_tenacity
from tests.bench.lag import taught
from tests.bench.workloads import FEATURES, MIXED, AssetClass, Workload
from tests.doubles.polling import policy, put, queue_in_memory
from tests.doubles.virtual_time import run_virtually

RESULTS = Path(__file__).parent / "results" / "batches.json"
PENDING = 2000
FOLLOWING = 2000
ARRIVE_WITHIN = 30.0
LATENCY = 0.2
MAXIMUM = 30.0
BATCHING = Batching(50, ahead=1.5, gather=0.5)
"""As the service sets it for this maximum."""
Row = dict[str, Any]


class Assets:
    """The API's side: assets that end when their time has come, and a count of requests."""

    def __init__(self) -> None:
        self._ends: dict[AssetId, tuple[AssetClass, float]] = {}
        self.retrieves = self.lists = self.listed = 0
        self.latest_failure = None

    def begin(self, asset_id: AssetId, asset_class: AssetClass, duration: float) -> None:
        self._ends[asset_id] = (asset_class, asyncio.get_running_loop().time() + duration)

    def lag(self, asset_id: AssetId) -> float:
        return asyncio.get_running_loop().time() - self._ends[asset_id][1]

    def _asset(self, asset_id: AssetId) -> Asset:
        asset_class, ends_at = self._ends[asset_id]
        status = "ready" if asyncio.get_running_loop().time() >= ends_at else "processing"
        return asset_from(
            {"_id": asset_id, "status": status, "file_type": asset_class.file_type, "method": asset_class.method}
        )

    async def wait_for_capacity(self) -> None:
        """No limit."""

    async def retrieve(self, asset_id: AssetId) -> Asset:
        self.retrieves += 1
        await asyncio.sleep(LATENCY)
        return self._asset(asset_id)

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset | None]:
        self.lists += 1
        self.listed += len(asset_ids)
        await asyncio.sleep(LATENCY)
        return {asset_id: self._asset(asset_id) for asset_id in asset_ids}


class VirtualClock(SystemClock):
    """All times are the loop's: the schedule learns from the ages of assets."""

    def now(self) -> float:
        return 1_800_000_000.0 + self.monotonic()

    def steady(self) -> float:
        return self.now()


class LagRecorder:
    """A queue as the poller sees it, which reports the lag of each asset that is settled."""

    def __init__(self, queue: Queue, api: Assets) -> None:
        self.room, self.put, self.take, self.defer = queue.room, queue.put, queue.take, queue.defer
        self._settle = queue.settle
        self._api = api
        self.lags: asyncio.Queue[float] = asyncio.Queue()
        """Seconds from an asset's end to its settlement."""

    async def settle(self, lease: Lease, event: Event) -> None:
        await self._settle(lease, event)
        self.lags.put_nowait(self._api.lag(lease.submission.asset_id))


async def measure(workload: Workload, schedule: Schedule, batching: Batching | None) -> Row:
    """`PENDING` assets at a time until as many more have been followed to their ends, and then all to theirs."""
    durations = Random(4)  # the same assets for each way
    clock, api, stop = VirtualClock(), Assets(), Stop()
    queue = queue_in_memory(clock)
    recorder = LagRecorder(queue, api)
    poller = Poller(
        recorder,
        api,
        schedule=schedule,
        policy=policy(
            expectations=Expectations(deadline=10**6),
            looks_at_once=400,  # so many that retrieves never wait for one another, and are not late for that
            batching=batching,
        ),
        clock=clock,
        feedback=Feedback(schedule) if isinstance(schedule, AdaptiveSchedule) else None,
        uniform=Random(3).random,
    )
    polling = asyncio.ensure_future(poller.run(stop))
    lags: list[float] = []
    count = 0

    async def begin_next() -> None:
        nonlocal count
        count += 1
        asset_id = AssetId(f"{count:024x}")
        api.begin(asset_id, *workload.draw(durations))
        await put(queue, [asset_id])

    for _ in range(PENDING):
        await begin_next()
        await asyncio.sleep(ARRIVE_WITHIN / PENDING)
    while queue.pending_count() or not recorder.lags.empty():
        lags.append(await recorder.lags.get())
        if count < PENDING + FOLLOWING:
            await begin_next()
    stop.set("done")
    await polling
    await queue.close()
    confirmed = count if batching else 0
    return {
        "assets": count,
        "requests": api.retrieves + api.lists,
        "lists": api.lists,
        "fill": api.listed / api.lists if api.lists else 0.0,
        "confirming": confirmed,
        "looking": api.retrieves + api.lists - confirmed,
        "lag": sum(lags) / len(lags),
        "p95": sorted(lags)[int(len(lags) * 0.95)],
    }


def ways(workload: Workload) -> Iterator[tuple[str, Schedule, Batching | None]]:
    """Ways of polling: the first is what the others are compared with."""

    def growing(initial: float, multiplier: float, maximum: float) -> Schedule:
        return from_tenacity(
            exponential(initial=initial, multiplier=multiplier, maximum=maximum, uniform=Random(5).random)
        )

    yield "retrieves, 2 s x1.5 to 30 s", growing(2, 1.5, MAXIMUM), None
    yield "lists, 2 s x1.5 to 30 s", growing(2, 1.5, MAXIMUM), BATCHING
    if workload is MIXED:
        yield "retrieves, 1 s x2 to 60 s", growing(1, 2, 60), None
        yield "retrieves, 1 s x1.5 to 20 s", growing(1, 1.5, 20), None
        yield "retrieves, each 5 s", from_tenacity(fixed(interval=5, uniform=Random(5).random)), None
        yield "lists, adaptive", taught(workload), BATCHING
        yield "lists, adaptive, 40 looks", taught(workload, looks=40), BATCHING


def main() -> None:
    """Runs all and writes the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rows = []
    echo(f"(f) {PENDING} pending at a time, with lists and without")
    for workload in (MIXED, FEATURES):
        alone: Row = {}
        for way, schedule, batching in ways(workload):
            row = run_virtually(measure(workload, schedule, batching))
            alone = alone or row
            rows.append({"workload": workload.name, "way": way, **row})
            each = {part: row[part] / row["assets"] for part in ("requests", "looking", "confirming")}
            ratio = {part: row[part] / alone[part] for part in ("requests", "looking")}
            echo(
                f"{workload.name:32}{way:38}{each['requests']:8.2f} requests an asset (x {ratio['requests']:.3f}): "
                f"{each['looking']:.2f} to look (x {ratio['looking']:.3f}) and {each['confirming']:.0f} to confirm; "
                f"{row['fill']:.0f} to a list; lag {row['lag']:.2f} s, p95 {row['p95']:.2f} s"
            )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
