"""The engine of a fleet: the conformance suite."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.doubles import postgres
from tests.doubles.fleet import maintain, open_fleet
from tests.doubles.local_queue import end_all_tasks
from tests.doubles.threads import SuspendingThread
from tests.unit.queue.conformance import MAX_PENDING, DurableQueueMachine

EXAMPLES = settings().max_examples // 3
"""Fewer than over the local engine: a step takes some milliseconds."""


class FleetQueueMachine(DurableQueueMachine):
    url = ""
    schema = ""
    connection: psycopg.Connection
    """For what the machine itself reads: to connect takes longer than a step."""

    def __init__(self):
        postgres.empty(self.connection, self.schema)
        self.life = None
        super().__init__()

    async def open(self):
        queue = open_fleet(
            self.url,
            self.schema,
            self.clock,
            thread=SuspendingThread(),
            max_pending=MAX_PENDING,
            former_life=self.life,
        )
        await queue.begin(ends_by_itself=False)
        self.life = queue.life
        return queue

    async def run_maintenance(self):
        await maintain(self.queue)

    async def sink_takes(self, count):
        stored = await self.queue.outbox.read("stdout", count)
        self.delivered += count
        await self.queue.outbox.advance("stdout", stored[-1].position, None)
        if self.undelivered() <= MAX_PENDING // 2:
            self.waiting_since = None

    async def close(self):
        await self.queue.finish()
        await self.queue.close()

    async def crash(self):
        await end_all_tasks()
        self.queue.crash()

    async def kept_positions(self):
        return dict(self.connection.execute(f"SELECT file, position FROM {self.schema}.checkpoints").fetchall())


@pytest.mark.timeout(3600)
def test_conformance(server, schema):
    FleetQueueMachine.url, FleetQueueMachine.schema = server, schema
    with psycopg.connect(server, autocommit=True) as FleetQueueMachine.connection:
        run_state_machine_as_test(FleetQueueMachine, settings=settings(max_examples=EXAMPLES))
