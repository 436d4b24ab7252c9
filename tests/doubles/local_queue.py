"""The local engine, as its tests open and use it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from asset_worker.domain.assets import Done, Outcome
from asset_worker.domain.events import Times, completed, rejected
from asset_worker.domain.submissions import Rejection, Submission
from asset_worker.queue.local.engine import PROGRESS_EVERY_SECONDS, LocalQueue
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.migrations import MIGRATIONS
from asset_worker.runtime.redaction import Secrets
from tests.doubles.threads import InlineThread
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS

RETENTION = 1000.0


@contextmanager
def tables_in_memory() -> Iterator[sqlite3.Connection]:
    """The tables of a journal, without a file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migrate in MIGRATIONS:
            migrate(connection)
        yield connection


class CrashableQueue(LocalQueue):
    """A local engine that a test may end as kill -9 would; the test may look into its journal."""

    def __init__(self, journal, *args, **options):
        self.journal = journal
        super().__init__(journal, *args, **options)

    def crash(self):
        """Save nothing more."""
        self.journal.close()


def directory_in_memory():
    """A directory on which a sync costs nothing, if there is one: a state machine makes thousands."""
    memory = Path("/dev/shm")
    return TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def open_local(
    path,
    clock,
    *,
    thread=None,
    max_pending=1_000_000,
    sinks=("stdout",),
    independent=(),
    window=DEDUPE_WINDOW,
    keeps_events=False,
):
    return CrashableQueue(
        Journal(path),
        thread or InlineThread(),
        clock,
        sinks=sinks,
        independent=independent,
        dedupe_window=window,
        dead_letter_retention=RETENTION,
        max_pending=max_pending,
        first_looks=lambda count: [0.0] * count,
        keeps_events=keeps_events,
    )


async def maintain(queue):
    """Let the queue do all maintenance that is due now, in virtual time."""
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(PROGRESS_EVERY_SECONDS / 2)
    maintaining.cancel()
    await asyncio.wait([maintaining])


def submission(number, options=None):
    return Submission(IDS[number], "stdin", number + 1, options)


def event_for(lease):
    return completed(
        lease.submission,
        Done(Outcome.READY),
        asset=None,
        completion=lease.completion,
        times=Times(lease.accepted_at, 0.0),
        polls=1,
        redact=Secrets().redact,
        source="s",
    )


def rejection(key):
    """The event `rejected.<key>`."""
    return rejected(Rejection("file:/q", 1, "why", b"x", key), at=0.0, source="s")


async def put(queue, *numbers, options=None, events=(), position=None):
    return await queue.put([submission(n, options) for n in numbers], events=events, intake="i", position=position)


async def settle(queue, *numbers):
    """Put these, and settle them at once. Returns their leases."""
    await put(queue, *numbers)
    leases = await queue.take(len(numbers))
    for lease in leases:
        await queue.settle(lease, event_for(lease))
    return leases


async def end_all_tasks():
    """Cancel all tasks of this loop but the caller's."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
