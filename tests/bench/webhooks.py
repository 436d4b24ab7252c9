"""Webhooks: CPU time of a delivery, lag from settled to received, and what slow and dead receivers cost the others.

The worker is the real command, in a process of its own; the receiver, and the simulated API, are in this one. What is
compared is measured at once, side by side. Backlogs are made with a receiver that has answered 410, so that nothing but
deliveries is measured when it takes events again.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import psutil

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.receiver import Receiver
from asset_worker.simulator.server import Options, Simulator
from tests.bench.isolated import Figures
from tests.integration.processes import Run, Worker, eventually
from tests.integration.webhooks import TIMEOUT, Hooks, receiving

BACKLOG = 5000
SLOW_BACKLOG = 2000
SLOW_SECONDS = 0.2
CONCURRENCIES = (8, 64)
RATE = 25
"""Assets that are done in a second, while the lag is measured."""
LAG_SECONDS = 40
WARM_UP_SECONDS = 5
PATIENCE = 300.0


@contextmanager
def _worker() -> Iterator[Worker]:
    with tempfile.TemporaryDirectory() as folder:
        it = Worker(Path(folder))
        try:
            yield it
        finally:
            it.kill_all()


async def _with_backlog(simulator: Simulator, worker: Worker, hooks: Hooks, count: int, **table: Any) -> Run:
    """A worker that owes the receiver so many events, and is paused."""
    hooks.receiver.faults.replace("gone")
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(count)))
    run = worker.run(base_url=simulator.base_url, webhooks=[hooks.table(**table)], LOG__LEVEL="warning")
    await eventually(
        lambda: worker.events_file.exists() and worker.events_file.read_bytes().count(b"\n") == count,
        PATIENCE,
        lambda: run.stderr,
    )
    await run.until("sink.paused")
    return run


async def _drain(run: Run, receiver: Receiver, count: int, *faults: str) -> Figures:
    """Seconds, and CPU seconds of the worker, in which a backlog is delivered."""
    process = psutil.Process(run.process.pid)
    receiver.faults.replace(*faults)
    before, began = process.cpu_times(), time.monotonic()
    run.send(signal.SIGHUP)
    await eventually(lambda: receiver.deliveries.accepted == count, PATIENCE, lambda: run.stderr)
    after, seconds = process.cpu_times(), time.monotonic() - began
    return {"seconds": seconds, "cpu": after.user + after.system - before.user - before.system}


async def _price() -> Figures:
    async with Simulator(Options(receiver=receiving())) as simulator:
        with _worker() as worker:
            hooks = Hooks(simulator, worker.folder)
            run = await _with_backlog(simulator, worker, hooks, BACKLOG)
            found = await _drain(run, hooks.receiver, BACKLOG)
    return {"events_per_cpu_second": BACKLOG / found["cpu"], "events_per_second": BACKLOG / found["seconds"]}


async def _slow(concurrency: int) -> Figures:
    """A receiver that takes a while for each: events a second, and what share of the possible that is."""
    async with Simulator(Options(receiver=receiving())) as simulator:
        with _worker() as worker:
            hooks = Hooks(simulator, worker.folder)
            table = {"concurrency": concurrency}
            run = await _with_backlog(simulator, worker, hooks, SLOW_BACKLOG, **table)
            found = await _drain(run, hooks.receiver, SLOW_BACKLOG, f"slow={SLOW_SECONDS}")
    rate = SLOW_BACKLOG / (found["seconds"] + SLOW_SECONDS)
    return {"concurrency": concurrency, "events_per_second": rate, "share": rate * SLOW_SECONDS / concurrency}


def _lags(receiver: Receiver, warm_at: float) -> list[float]:
    """Seconds from settled to received, of the events that were settled after an instant."""
    settled = {
        event.id: (datetime.fromisoformat(event.time or "").timestamp(), datetime.fromisoformat(event.at).timestamp())
        for event in receiver.deliveries.events()
    }
    return [received - at for at, received in settled.values() if at > warm_at]


async def _lag() -> list[Figures]:
    """Lags of a worker with a good receiver, and, at once, of another that has a dead one beside the good one."""
    options = Options(receiver=receiving())
    async with Simulator(options) as alone, Simulator(options) as beside, Simulator(options) as dead:
        with _worker() as first, _worker() as second:
            good, other, broken = (
                Hooks(alone, first.folder, name="good"),
                Hooks(beside, second.folder, name="good"),
                Hooks(dead, second.folder, name="dead"),
            )
            broken.receiver.faults.replace("hang")
            base = {"base_url": alone.base_url, "LOG__LEVEL": "warning"}
            runs = [
                first.run(webhooks=[good.table()], **base),
                second.run(webhooks=[other.table(), broken.table(timeout=TIMEOUT)], **base),
            ]
            warm_at = time.time() + WARM_UP_SECONDS
            count, step = 0, 1 / RATE
            next_at = time.monotonic()
            while time.time() < warm_at + LAG_SECONDS:
                new = alone.store.add(Lifecycle(0.5))
                first.submit(new)
                second.submit(new)
                count, next_at = count + 1, next_at + step
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            for each in (good, other):
                await eventually(
                    lambda each=each: each.receiver.deliveries.accepted == count, 60, lambda: runs[1].stderr
                )
            assert not broken.accepted()
            found = [_lags(each.receiver, warm_at) for each in (good, other)]
    rows: list[Figures] = []
    for lags in found:
        cuts = quantiles(lags, n=100)
        rows.append({"mean": mean(lags), "p50": cuts[49], "p99": cuts[98], "events": len(lags)})
    return rows


def measure() -> dict[str, Any]:
    """All figures, by what they are about."""
    alone, beside = asyncio.run(_lag())
    return {
        "price": asyncio.run(_price()),
        "lag": alone,
        "lag_beside_dead": beside | {"ratio": beside["mean"] / alone["mean"]},
        "slow": [asyncio.run(_slow(each)) for each in CONCURRENCIES],
    }
