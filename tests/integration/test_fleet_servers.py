"""A fleet on other servers than the newest PostgreSQL: an older one, behind a pooler, and one that fails over."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import psycopg
import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.doubles import postgres
from tests.doubles.poolers import LENT, running_pooler
from tests.integration.fleets import LEASE, Fleet
from tests.integration.processes import eventually

CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


@pytest.fixture
def older_server() -> Iterator[str]:
    with postgres.running_server(postgres.programs_of_the_system()) as url:
        yield url


@pytest.fixture
def server() -> Iterator[str]:
    with postgres.running_server(options=postgres.SAFE) as url:
        yield url


@pytest.fixture
def pooler(server: str) -> Iterator[str]:
    with running_pooler(server) as url:
        yield url


async def outlives_a_worker_that_hangs(fleet: Fleet) -> None:
    """Stop a worker for longer than its lease: the other one settles all, and the first begins another life."""
    first, second = (fleet.start(name) for name in "ab")
    for run in (first, second):
        await run.until("worker.started")
    assets = [fleet.store.add(Lifecycle(60)) for _ in range(60)]
    fleet.submit(*assets)
    await eventually(lambda: fleet.sql("SELECT count(DISTINCT owner) FROM asset_worker.pending") == [(2,)])
    first.send(signal.SIGSTOP)
    await second.until("fleet.worker_died")
    first.send(signal.SIGCONT)
    await first.until("fleet.retired")
    await fleet.settles_once(*assets)
    for run in (first, second):
        run.send(signal.SIGTERM)
    assert [await first.end(), await second.end()] == [0, 0]
    assert fleet.sql("SELECT count(*) FROM asset_worker.workers") == [(0,)]


async def test_a_fleet_works_on_the_oldest_supported_server(fleet_at, older_server):
    await outlives_a_worker_that_hangs(await fleet_at(older_server))


async def test_a_fleet_works_behind_a_pooler_in_transaction_mode(fleet_at, server, pooler):
    """All workers share two connections of the server, and each transaction may be on another one."""
    fleet = await fleet_at(pooler)
    await outlives_a_worker_that_hangs(fleet)
    with psycopg.connect(server, autocommit=True) as connection:
        [used] = connection.execute(CONNECTIONS).fetchall()
    assert used <= (LENT,)


async def test_a_fleet_goes_on_with_the_synchronous_standby_when_the_primary_is_killed(fleet_at, server):
    """Nothing is lost: what was committed is on both."""
    with postgres.running_standby(server) as standby:
        fleet = await fleet_at(postgres.url_of_one(server, standby))
        runs = [fleet.start(name) for name in "ab"]
        for run in runs:
            await run.until("worker.started")
        assets = [fleet.store.add(Lifecycle(seconds)) for seconds in range(5, 65) for _ in range(4)]
        fleet.submit(*assets)
        await eventually(lambda: len(fleet.events()) >= 40, otherwise=lambda: runs[0].stderr)
        postgres.crash(server)
        await eventually(lambda: any(run.logs("database.failed") for run in runs), otherwise=lambda: runs[0].stderr)
        before = len(fleet.events())
        await asyncio.sleep(2 * LEASE)
        postgres.promote(standby)
        await fleet.settles_once(*assets)
        assert before < len(assets)
        assert [run.process.poll() for run in runs] == [None, None]
