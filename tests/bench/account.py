"""Following the account: what it costs at rest, and how late a new asset is first looked at.

The worker is the real command, in a process of its own; the simulated API is in this one. All situations are measured
at once, side by side.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.server import Simulator
from tests.bench.isolated import Figures
from tests.integration.accounts import add_older, follow
from tests.integration.processes import Worker, eventually

INTERVALS = (2.0, 10.0)
"""Seconds; 10 is the default."""
ALLOWED = 1.0
"""Seconds, besides the interval, within which a new asset is to be looked at."""
SECONDS = 60.0
RATE = 5
"""Uploads in a second."""
BURST = 500
OLDER = 10_000
WARM_UP = 300
"""Uploads before the measurement, so that lists are trusted: else confirmations share the ten requests a second."""
PATIENCE = 120.0


@contextmanager
def _following(simulator: Simulator, interval: float) -> Iterator[Worker]:
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder))
        settings = {"ACCOUNT__INTERVAL": str(interval), "ACCOUNT__OVERLAP": "120", "LIMITS__REQUESTS_PER_SECOND": "10"}
        try:
            follow(worker, simulator.base_url, LOG__LEVEL="warning", **settings)
            yield worker
        finally:
            worker.kill_all()


async def _uploads(simulator: Simulator, ids: list[str]) -> list[float]:
    """Seconds from the upload of each asset to the first look at it."""
    await eventually(lambda: all(each in simulator.stats.first_looks for each in ids), PATIENCE)
    return [simulator.stats.first_looks[each] - simulator.store.visible_at(each) for each in ids]


async def _warm_up(simulator: Simulator, worker: Worker) -> None:
    for _ in range(WARM_UP):
        simulator.store.add(Lifecycle(0.5))
    await eventually(
        lambda: worker.events_file.exists() and worker.events_file.read_bytes().count(b"\n") == WARM_UP, PATIENCE
    )


async def _measure(interval: float, uploads: str) -> Figures:
    async with Simulator() as simulator:
        add_older(simulator, OLDER)
        with _following(simulator, interval) as worker:
            await eventually(lambda: simulator.stats.pages[1], PATIENCE)
            await _warm_up(simulator, worker)
            loop, ids = asyncio.get_running_loop(), list[str]()
            counted_from, began = simulator.stats.requests, loop.time()
            if uploads == "burst":
                await asyncio.sleep(interval / 2)
                ids += [simulator.store.add(Lifecycle(0.5)) for _ in range(BURST)]
            while loop.time() < began + SECONDS:
                if uploads == "steady":
                    ids.append(simulator.store.add(Lifecycle(0.5)))
                await asyncio.sleep(1 / RATE)
            requests = simulator.stats.requests - counted_from
            seconds = loop.time() - began
            lags = await _uploads(simulator, ids)
    found: Figures = {"interval": interval, "requests_per_interval": requests * interval / seconds}
    if lags:
        found |= {"mean": mean(lags), "most": max(lags), "most_ratio": max(lags) / (interval + ALLOWED)}
    return found


async def _all() -> list[tuple[str, Figures]]:
    situations = [(interval, uploads) for uploads in ("none", "steady", "burst") for interval in INTERVALS]
    found = await asyncio.gather(*(_measure(*each) for each in situations))
    return [(uploads, row) for (_, uploads), row in zip(situations, found, strict=True)]


def measure() -> list[tuple[str, dict[str, Any]]]:
    """The figures of each situation: how the assets are uploaded, and the interval."""
    return asyncio.run(_all())
