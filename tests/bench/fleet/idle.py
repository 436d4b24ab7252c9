"""What a fleet costs while nothing happens, and what memory it takes: the base of an estimate for many of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from asset_worker.simulator.server import Simulator
from tests.bench.fleet.rates import submissions
from tests.bench.fleet.server import cost, execute, opened
from tests.bench.isolated import Figures, measured
from tests.bench.rates import IN_MEMORY, resident
from tests.doubles import postgres
from tests.integration.processes import Worker

WORKERS = 4
SETTLING_SECONDS = 12.0
"""After the start: by then a worker has taken part in three renewals."""
SECONDS = 30.0
SCHEMAS = 60
_AS_A_WORKER_DOES = (
    "SELECT count(*) FROM (SELECT FROM {s}.pending WHERE owner IS NULL LIMIT 50000) AS counted",
    "SELECT id, owned, portion, facts FROM {s}.workers",
    "SELECT number, asset_id, options::text FROM {s}.inbox ORDER BY number LIMIT 1000",
    "INSERT INTO {s}.pending (asset_id, owner, accepted_at, completion, origin, line) VALUES ('a', 1, 0, 1, '-', 1)",
    "DELETE FROM {s}.pending",
    "INSERT INTO {s}.settled VALUES ('a', 1, 1, 'ready', 0, 0) ON CONFLICT (asset_id) DO UPDATE SET completion = 2",
    "INSERT INTO {s}.events (id, body) VALUES ('a', 'b')",
    "INSERT INTO {s}.deliveries (position, sink) VALUES (1, '-')",
    "DELETE FROM {s}.deliveries",
)


async def bytes_each(url: str) -> Figures:
    """Resident bytes of a worker for each asset that it owns."""
    async with opened("fleet", url) as queue:
        before = resident()
        for start in range(0, IN_MEMORY, 10_000):
            await queue.put(submissions(start, 10_000), events=[], intake="-", position=b"")
        return {"bytes_each": (resident() - before) / IN_MEMORY}


async def _idle(url: str) -> Figures:
    async with Simulator() as simulator:
        with tempfile.TemporaryDirectory() as folder:
            members = [Worker(Path(folder, str(number))) for number in range(WORKERS)]
            try:
                return await _measure(url, simulator.base_url, members)
            finally:
                for each in members:
                    each.kill_all()


async def _measure(url: str, base_url: str, members: list[Worker]) -> Figures:
    runs = []
    for number, each in enumerate(members):
        each.folder.mkdir()
        fleet = {"QUEUE__ENGINE": "postgres", "POSTGRES__URL": url, "FLEET__NAME": str(number)}
        runs.append(
            each.start(
                "run",
                "--state-dir",
                each.state,
                "--events",
                "-",
                base_url=base_url,
                LOG__LEVEL="info",
                **fleet,
            )
        )
    for run in runs:
        await run.until("worker.started")
    await asyncio.sleep(SETTLING_SECONDS)
    processes = [psutil.Process(run.process.pid) for run in runs]
    before, own, began = cost(url), _cpu(processes), time.monotonic()
    await asyncio.sleep(SECONDS)
    spent, own, seconds = cost(url).since(before), _cpu(processes) - own, time.monotonic() - began
    backends = execute(url, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'asset-worker%'")
    memory = [psutil.Process(pid).memory_full_info().uss for [pid] in backends]
    share = 1 / (seconds * WORKERS)
    return {
        "database_ms_per_second": 1e3 * spent.cpu * share,
        "worker_ms_per_second": 1e3 * own * share,
        "transactions_per_second": spent.transactions * share,
        "wal_bytes_per_second": spent.wal * share,
        "connections": len(backends) / WORKERS,
        "worker_bytes": sum(each.memory_full_info().uss for each in processes) / WORKERS,
        "worker_resident_bytes": sum(each.memory_info().rss for each in processes) / WORKERS,
        "backend_bytes": sum(memory) / len(memory),
    }


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (each.cpu_times() for each in processes))


def bytes_of_a_schema(url: str) -> float:
    """By how much a server's connection grows with each fleet that it serves, as those of a pooler do in time."""
    names = [f"fleet_{number}" for number in range(SCHEMAS)]
    for each in names:
        postgres.create(url, each)
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        backend = psutil.Process(connection.info.backend_pid)

        def use(some: list[str]) -> int:
            for each in some:
                for statement in _AS_A_WORKER_DOES:
                    connection.execute(statement.format(s=each))
            return int(backend.memory_full_info().uss)

        before = use(names[: SCHEMAS // 3])
        return (use(names[SCHEMAS // 3 :]) - before) / (SCHEMAS - SCHEMAS // 3)


def measure(url: str) -> dict[str, Any]:
    """All figures, for one worker."""
    found: dict[str, Any] = {**asyncio.run(_idle(url)), **measured(bytes_each, url)}
    return found | {"schema_bytes": bytes_of_a_schema(url)}
