"""A worker that is cut off from its fleet's database, while no connection ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.doubles import postgres
from tests.doubles.network import Route
from tests.integration.processes import eventually

IN_FLIGHT = 0.2
"""Seconds after which a request that was sent has come."""
TWO_LOOKS = 1.0
"""Seconds in which a worker looks twice at each of its assets."""


@pytest.fixture
def server() -> Iterator[str]:
    with postgres.running_server(options=postgres.SAFE) as url:
        yield url


@pytest.fixture
async def to_database() -> AsyncIterator[Route]:
    route = Route()
    yield route
    await route.close()


async def test_a_worker_that_is_cut_off_looks_at_nothing_after_its_lease_and_begins_anew_when_it_is_not(
    fleet_at, server, to_database
):
    """What it owned is settled once: by the other worker."""
    fleet = await fleet_at(server)
    port = await to_database.listen(postgres.folder_of(server) / ".s.PGSQL.5432")
    kept = fleet.start("a")
    lost = fleet.start("b", POSTGRES__URL=f"postgresql://postgres@127.0.0.1:{port}/postgres")
    for run in (kept, lost):
        await run.until("worker.started")
    assets = [fleet.store.add(Lifecycle(seconds)) for seconds in range(1, 121)]
    fleet.submit(*assets)
    await eventually(lambda: bool(lost.logs("asset.completed")), otherwise=lambda: lost.stderr)
    to_database.cut()
    await lost.until("fleet.lease_lost")
    kept.send(signal.SIGSTOP)
    await asyncio.sleep(IN_FLIGHT)
    requests = fleet.simulator.stats.requests
    await asyncio.sleep(TWO_LOOKS)
    assert fleet.simulator.stats.requests == requests
    kept.send(signal.SIGCONT)
    await kept.until("fleet.worker_died")
    await fleet.settles_once(*assets)
    to_database.heal()
    await lost.until("fleet.retired")
    more = [fleet.store.add(Lifecycle(5)) for _ in range(60)]
    fleet.submit(*more)
    await fleet.settles_once(*assets, *more)
    assert [run.process.poll() for run in (kept, lost)] == [None, None]
