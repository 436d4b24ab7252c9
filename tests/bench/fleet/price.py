"""What each step of an asset's life costs: CPU of the database and of the worker, and bytes of write-ahead log.

A step is made one asset at a time, as where an organisation has an asset a second, and by groups, as under load. Before
each, a checkpoint: so each page that it changes is logged once in full, as after each checkpoint of a real server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from asset_worker.domain.inbox import INBOX
from asset_worker.intake.inbox import batch_of
from tests.bench.fleet.rates import SEEN, settle_all, submissions, take_all
from tests.bench.fleet.server import SCHEMA, cost, execute, fresh, opened
from tests.bench.isolated import Figures, measured

COUNT = 6_000
ALONE = 2_000
"""Assets that are measured; `ALONE` of them, one at a time."""
GROUPS = (1, 20, 1_000)
WEBHOOK = "https://app.example/hooks"
FILE = "file:/events"
Step = Callable[[], Awaitable[None]]


async def lives(url: str, group: str, sink: str) -> dict[str, Figures]:
    """The cost of each step for one asset: accepted from a file, seen, settled, delivered."""
    size = int(group)
    total = _total(size)
    async with opened("fleet", url, sinks=(sink,)) as queue:
        found: dict[str, Figures] = {}
        leases: list[Any] = []

        async def accept() -> None:
            for start in range(1, total + 1, size):
                some = submissions(start, min(size, total + 1 - start))
                await queue.put(some, events=[], intake="file:/q", position=b"x")

        async def save() -> None:
            for start in range(0, total, size):
                for lease in leases[start : start + size]:
                    await queue.defer(lease, 0.0, SEEN)
                await queue._save_progress(with_counts=True)

        async def settle() -> None:
            await settle_all(queue, leases, at_once=size)

        async def deliver() -> None:
            await (_call(queue, size) if sink == WEBHOOK else _append(queue, size))

        await _step(found, "accepted", url, accept, total)
        leases += await take_all(queue, total)
        await _step(found, "progress", url, save, total)
        leases[:] = await take_all(queue, total)
        await _step(found, "settled", url, settle, total)
        await _step(found, "delivered", url, deliver, total)
        assert queue.outbox.owed(sink) == queue.pending_count() == 0
        [(size_of_all,)] = execute(url, f"SELECT pg_total_relation_size('{SCHEMA}.settled')")
        found["settled"]["bytes_kept"] = size_of_all / total
    return found


async def submitted(url: str, group: str) -> dict[str, Figures]:
    """The cost of what is submitted in SQL: by the producer, and then by the worker that accepts it."""
    size = int(group)
    total = _total(size)
    async with opened("fleet", url) as queue:
        found: dict[str, Figures] = {}

        async def submit() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                for start in range(1, total + 1, size):
                    ids = [each.asset_id for each in submissions(start, min(size, total + 1 - start))]
                    connection.execute(f"SELECT {SCHEMA}.submit(id) FROM unnest(%s::text[]) AS id", (ids,))

        async def accept() -> None:
            while rows := await queue.read_inbox(size):
                batch = batch_of(rows)
                await queue.put(batch.submissions, events=[], intake=INBOX, position=batch.position)

        await _step(found, "submitted", url, submit, total)
        await _step(found, "accepted from SQL", url, accept, total)
        assert queue.pending_count() == total
    return found


def _total(size: int) -> int:
    return ALONE if size == 1 else COUNT


async def _step(found: dict[str, Figures], name: str, url: str, step: Step, total: int) -> None:
    execute(url, "CHECKPOINT")
    before, own, began = cost(url), time.process_time(), time.monotonic()
    await step()
    own, seconds = time.process_time() - own, time.monotonic() - began
    spent = cost(url).since(before)
    found[name] = {
        "database_us": 1e6 * spent.cpu / total,
        "worker_us": 1e6 * own / total,
        "wal_bytes": spent.wal / total,
        "per_second": total / seconds,
    }


async def _append(queue: Any, size: int) -> None:
    """A file or stdout has all events."""
    while events := await queue.outbox.read(FILE, size):
        await queue.outbox.advance(FILE, events[-1].position, b"x")


async def _call(queue: Any, size: int) -> None:
    """A webhook has accepted all events."""
    while queue.outbox.owed(WEBHOOK):
        now = time.time()
        taken = await queue.outbox.take(WEBHOOK, size, now=now, until=now, without=(), wants=lambda _: True)
        await asyncio.gather(*(queue.outbox.delivered(WEBHOOK, each.event.position, now=now) for each in taken.events))


def measure(url: str) -> list[dict[str, Any]]:
    """The steps by their names, by the size of the groups."""
    rows: list[dict[str, Any]] = []
    for group in GROUPS:
        fresh(url)
        found: Any = measured(lives, url, str(group), WEBHOOK)
        fresh(url)
        found["delivered to a file"] = measured(lives, url, str(group), FILE)["delivered"]
        fresh(url)
        found |= measured(submitted, url, str(group))
        rows += [{"group": group, "step": name, **figures} for name, figures in found.items()]
    return rows
