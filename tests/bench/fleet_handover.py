"""How long assets of a fleet are without a look when a worker is killed, and when it is stopped in order.

Real processes, the simulator and a PostgreSQL server of its own. `python -m tests.bench.fleet_handover` prints them.
"""

from __future__ import annotations

import asyncio
import math
import signal
import tempfile
from pathlib import Path

import click
import msgspec

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.server import Options, Simulator
from tests.doubles import postgres
from tests.integration.fleets import Fleet
from tests.integration.processes import Worker, eventually

PENDING = 2_000
LEASE = 10.0
"""Seconds; the default."""
POLLING = {"POLL__STRATEGY": "fixed", "POLL__INITIAL": "2", "POLL__MAX": "2", "FLEET__LEASE": str(LEASE)}
"""Each asset is looked at every two seconds, so that a later look is due to a take-over, and not to the schedule."""
SETTLING_SECONDS = 2 * LEASE
"""Until then the workers have shared the assets, and may retire others."""


class HandOver(msgspec.Struct, frozen=True):
    """Seconds from the signal until the assets of the worker were looked at again."""

    owned: int
    """How many it had."""
    median: float
    last: float


async def hand_over(number: signal.Signals, *, pending: int = PENDING) -> HandOver:
    """Let two workers share assets, and send one of them this signal."""
    with tempfile.TemporaryDirectory() as folder, postgres.running_server(options=postgres.SAFE) as url:
        workers: dict[str, Worker] = {}

        def make(name: str) -> Worker:
            (Path(folder) / name).mkdir()
            return workers.setdefault(name, Worker(Path(folder) / name))

        async with Simulator(Options()) as simulator:
            fleet = Fleet(url, simulator.base_url, make, Path(folder))
            await fleet.init()
            try:
                return await _measure(fleet, simulator, number, pending)
            finally:
                for worker in workers.values():
                    worker.kill_all()


async def _measure(fleet: Fleet, simulator: Simulator, number: signal.Signals, pending: int) -> HandOver:
    runs = {name: fleet.start(name, **POLLING) for name in "ab"}
    for run in runs.values():
        await run.until("worker.started")
    assets = [simulator.store.add(Lifecycle(ends_after=math.inf)) for _ in range(pending)]
    await asyncio.sleep(LEASE)
    fleet.submit(*assets)
    await eventually(lambda: fleet.sql("SELECT count(owner) FROM asset_worker.pending") == [(pending,)])
    await asyncio.sleep(SETTLING_SECONDS)
    owned = fleet.sql(
        "SELECT asset_id FROM asset_worker.pending WHERE owner = (SELECT id FROM asset_worker.workers WHERE name = 'a')"
    )
    sent = simulator.clock.now()
    runs["a"].send(number)
    await runs["a"].end()
    simulator.stats.first_looks.clear()  # from now on, all are the other worker's
    left = {asset_id for [asset_id] in owned}
    await eventually(lambda: left <= simulator.stats.first_looks.keys(), 10 * LEASE)
    looks = sorted(simulator.stats.first_looks[each] - sent for each in left)
    return HandOver(len(left), looks[len(looks) // 2], looks[-1])


def main() -> None:
    """Print both."""
    killed = asyncio.run(hand_over(signal.SIGKILL))
    stopped = asyncio.run(hand_over(signal.SIGTERM))
    click.echo(
        f"kill -9: {killed.owned} assets, median {killed.median:.1f} s, last {killed.last:.1f} s; lease {LEASE:g} s"
    )
    click.echo(f"SIGTERM: {stopped.owned} assets, median {stopped.median:.2f} s, last {stopped.last:.2f} s")


if __name__ == "__main__":
    main()
