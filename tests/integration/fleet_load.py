"""What a fleet has to bear: many assets that wait, and a snapshot that is held open."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import msgspec
import psutil
import psycopg

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.fleets import Fleet
from tests.integration.processes import eventually

RARE_LOOKS = {
    "POLL__INITIAL": "3600",
    "POLL__MAX": "3600",
    "POLL__NOT_FOUND_GRACE": "3600",
    "QUEUE__MAX_PENDING": "2000000",
}
"""Settings with which assets that nobody knows stay pending, and a worker has room for more than a million."""
AT_ONCE = 100
"""Assets that a producer submits in one transaction."""
AHEAD = 1_000
"""Assets that are submitted and not settled yet, at most."""

_OWNS_ALL = (
    "SELECT NOT EXISTS (SELECT FROM asset_worker.inbox) AND NOT EXISTS (SELECT FROM asset_worker.pending "
    "WHERE owner IS NULL) AND (SELECT ARRAY[min(owner), max(owner)] FROM asset_worker.pending "
    "WHERE owner IS NOT NULL) = (SELECT ARRAY[id, id] FROM asset_worker.workers)"
)
"""Whether all that was submitted is one worker's. It reads indexes: to count a million again and again would be a load
of its own."""


class Restarted(msgspec.Struct, frozen=True):
    """What it took a worker to own all that waited."""

    started: float
    """Seconds until it had started."""
    owned: float
    """Seconds until it owned all."""
    memory: float
    """Bytes for each asset."""


def let_wait(fleet: Fleet, count: int) -> None:
    """Make assets pending that were looked at before. Half of them belong to a dead worker, half to nobody."""
    fleet.sql(
        "INSERT INTO asset_worker.pending (asset_id, owner, accepted_at, completion, origin, line, progress) "
        "SELECT lpad(to_hex(n), 24, '0'), CASE WHEN n %% 2 = 0 THEN 0 END, extract(epoch FROM clock_timestamp()), 1, "
        "'inbox', n, '{\"polls\":1}' FROM generate_series(1, %s) AS n",
        count,
    )


async def restarts_with(fleet: Fleet, count: int, *, within: float = 120, **settings: str) -> Restarted:
    """Start a worker while so many assets wait. It claims them all, and then accepts what is submitted."""
    loop = asyncio.get_running_loop()

    async def owns_all() -> None:
        await eventually(lambda: fleet.sql(_OWNS_ALL) == [(True,)], within, lambda: run.stderr)

    began = loop.time()
    run = fleet.start("a", **RARE_LOOKS | settings)
    await run.until("worker.started", within)
    started, process = loop.time(), psutil.Process(run.process.pid)
    before = process.memory_info().rss
    await owns_all()
    owned, memory = loop.time(), process.memory_info().rss - before
    fleet.submit(*(fleet.store.add(Lifecycle(ends_after=math.inf)) for _ in range(50)))
    await owns_all()
    return Restarted(started - began, owned - began, memory / count)


@contextmanager
def snapshot_of(fleet: Fleet) -> Iterator[None]:
    """Hold open what a report or a backup sees: the server keeps each row that is deleted meanwhile."""
    with psycopg.connect(fleet.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM asset_worker.pending")
        yield
        connection.rollback()


async def settles(fleet: Fleet, count: int, *, seconds: float = 0.0, within: float = 120) -> list[int]:
    """Submit assets, which are ready, as fast as the fleet settles them: `count`, and more until `seconds` have passed.

    Return how many were settled in each tenth of the time.
    """
    loop = asyncio.get_running_loop()
    began, submitted, settled = loop.time(), 0, [0]

    def done() -> int:
        [(found,)] = fleet.sql("SELECT count(*) FROM asset_worker.settled")
        return int(found)

    while submitted < count or loop.time() - began < seconds:
        if submitted - done() < AHEAD:
            fleet.submit(*(fleet.store.add(Lifecycle()) for _ in range(AT_ONCE)))
            submitted += AT_ONCE
        if loop.time() - began >= len(settled) * seconds / 10:
            settled.append(done())
        await asyncio.sleep(0.01)
    await eventually(lambda: done() == submitted, within, lambda: "".join(run.stderr for run in fleet.runs))
    return [after - before for before, after in pairwise(settled)]
