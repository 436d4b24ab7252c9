"""The engine of a fleet, as its tests open and use it."""

from __future__ import annotations

import asyncio

from asset_worker.queue.postgres.connection import Link
from asset_worker.queue.postgres.database import Database
from asset_worker.queue.postgres.engine import PROGRESS_EVERY_SECONDS, PostgresQueue
from asset_worker.queue.postgres.membership import Membership
from asset_worker.queue.postgres.workers import Lives
from asset_worker.runtime.threads import DaemonThread
from tests.doubles.threads import InlineThread
from tests.unit.queue.conformance import DEDUPE_WINDOW

RETENTION = 1000.0
NEVER = 1e8
"""A lease that outlasts every test, in seconds."""


class CrashableFleetQueue(PostgresQueue):
    """An engine that a test may end as kill -9 would."""

    def __init__(self, database, thread, membership, *args, links, **options):
        self.links = links
        super().__init__(database, thread, membership, *args, **options)

    @property
    def life(self):
        return self._life

    def crash(self):
        """Save nothing more."""
        for link in self.links:
            link.close()


def open_fleet(
    url,
    schema,
    clock,
    *,
    thread=None,
    name="worker",
    lease=NEVER,
    max_pending=1_000_000,
    sinks=("stdout",),
    window=DEDUPE_WINDOW,
    former_life=None,
):
    thread = thread or InlineThread()
    lease_thread = DaemonThread(f"{name} lease") if isinstance(thread, DaemonThread) else thread
    links = [Link(url, application=f"{name} {what}", idle_seconds=60.0) for what in ("queue", "lease")]
    membership = Membership(
        links[1],
        lease_thread,
        clock,
        Lives(schema, lease=lease),
        name=name,
        version="1",
        lease=lease,
        read_time=lambda _: clock.now() - getattr(clock, "stepped", 0.0),
    )
    return CrashableFleetQueue(
        Database(links[0], schema, name),
        thread,
        membership,
        clock,
        sinks=sinks,
        dedupe_window=window,
        dead_letter_retention=RETENTION,
        max_pending=max_pending,
        first_looks=lambda count: [0.0] * count,
        former_life=former_life,
        links=links,
    )


async def maintain(queue):
    """Let the queue do all maintenance that is due now or within a minute, in virtual time."""
    await queue._save_progress(with_counts=True)
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(PROGRESS_EVERY_SECONDS / 2)
    maintaining.cancel()
    await asyncio.wait([maintaining])


async def tick(queue):
    """Let the queue do what it does three times in a lease."""
    await queue.renew()
    await queue.restore_balance()


async def prune(queue):
    """Let the queue delete what is too old."""
    await queue._pruning.prune(queue._clock.steady())
