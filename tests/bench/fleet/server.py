"""A PostgreSQL server to be measured, and both engines of a queue, with their files in memory if there is room.

So all figures compare what the programs do, and not what a disk does: each commit costs the same on both sides.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from asset_worker.queue.local.engine import open_local_queue
from asset_worker.queue.postgres.opening import open_postgres_queue
from asset_worker.runtime.clock import SystemClock
from tests.doubles import postgres
from tests.doubles.local_queue import directory_in_memory

OPTIONS = {"listen_addresses": "", "shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "1h"}
"""What an operator would set; all else, `fsync` and `full_page_writes` too, has its default."""
SCHEMA = "asset_worker"
LEASE = 30.0
DEAD_LIFE = 10**12
"""The id of a life that was retired."""
ENGINES = ("local", "fleet")


@contextmanager
def serving() -> Iterator[str]:
    """Run a server within this context. Provides its URL."""
    with postgres.running_server(options=OPTIONS) as url:
        yield url


def fresh(url: str) -> None:
    """Create the tables anew."""
    execute(url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    postgres.create(url, SCHEMA)


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements. Returns the rows of the last one."""
    with psycopg.connect(url, autocommit=True) as connection:
        for each in statements:
            cursor = connection.execute(each)
        return cursor.fetchall() if cursor.description else []


def insert_pending(url: str, count: int, *, owner: int | None) -> None:
    """Make so many assets pending, in the order of their IDs, as a worker leaves them."""
    execute(
        url,
        f"INSERT INTO {SCHEMA}.pending (asset_id, owner, accepted_at, completion, origin, line) "
        f"SELECT lpad(to_hex(n), 24, '0'), {'NULL' if owner is None else owner}, "
        f"extract(epoch FROM now()) - 60 + n / 1e6, 1, 'file:/q', n FROM generate_series(1, {count}) AS n",
        f"VACUUM ANALYZE {SCHEMA}.pending",
    )


@asynccontextmanager
async def opened(engine: str, url: str, *, sinks: tuple[str, ...] = ("-",), name: str = "a") -> AsyncIterator[Any]:
    """A queue of the engine: `local`, or of a fleet whose tables are in the database."""
    clock, common = SystemClock(), {"dedupe_window": 60, "dead_letter_retention": 86_400.0, "max_pending": 10**7}
    with directory_in_memory() as folder:
        if engine == "local":
            async with open_local_queue(
                Path(folder), clock, sinks=sinks, first_looks=lambda n: [0.0] * n, **common
            ) as queue:
                yield queue
            return
        async with open_postgres_queue(
            url,
            clock,
            Path(folder),
            schema=SCHEMA,
            name=name,
            version="1",
            lease=LEASE,
            sinks=sinks,
            first_looks=lambda n: [random.uniform(0, 30) for _ in range(n)],
            settings={},
            **common,
        ) as queue:
            yield queue


class Cost(NamedTuple):
    """What a server has spent since its start."""

    cpu: float
    """Seconds of all its processes."""
    wal: int
    """Bytes."""
    transactions: int

    def since(self, before: Cost) -> Cost:
        """What was spent between the two."""
        return Cost(self.cpu - before.cpu, self.wal - before.wal, self.transactions - before.transactions)


def cost(url: str) -> Cost:
    """What the server has spent by now. A backend reports its transactions once a second, while it works."""
    parent = psutil.Process(int((postgres.folder_of(url) / "data" / "postmaster.pid").read_text().split()[0]))
    cpu = _cpu(parent)
    [(wal, transactions)] = execute(
        url,
        "SELECT pg_current_wal_insert_lsn() - '0/0', "
        "(SELECT sum(xact_commit)::bigint FROM pg_stat_database WHERE datname = current_database())",
    )
    return Cost(cpu, int(wal), int(transactions))


def _cpu(parent: psutil.Process) -> float:
    """Seconds of a process and its children, those that have ended included. None may end while they are read."""
    while True:
        children = parent.children()
        with suppress(psutil.NoSuchProcess):
            live = sum(times.user + times.system for times in (each.cpu_times() for each in children))
            own = parent.cpu_times()
            if parent.children() == children:
                return float(live + own.user + own.system + own.children_user + own.children_system)
