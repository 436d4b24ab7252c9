"""The engine of a fleet keeps to the model of the outbox, also over restarts."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from tests.doubles import postgres
from tests.doubles.fleet import open_fleet
from tests.doubles.local_queue import end_all_tasks
from tests.doubles.threads import SuspendingThread
from tests.unit.queue.outbox_model import ORDERED, Hook, IndependentMachine

EXAMPLES = settings().max_examples // 2
"""Fewer than over the local engine: a step takes some milliseconds."""


class FleetMachine(IndependentMachine):
    url = ""
    schema = ""
    connection: psycopg.Connection
    """For what the machine itself reads: to connect takes longer than a step."""

    def __init__(self):
        postgres.empty(self.connection, self.schema)
        self.life = None
        self.steps = 0
        super().__init__()

    async def opened(self):
        self.steps = 0
        for sink in self.hooks:
            self.kept.hooks.setdefault(sink, Hook())
        queue = open_fleet(
            self.url,
            self.schema,
            self.clock,
            thread=SuspendingThread(),
            sinks=[ORDERED, *self.hooks],
            former_life=self.life,
        )
        await queue.begin(ends_by_itself=False)
        self.life = queue.life
        return queue

    async def added(self, assets, events):
        made = list(zip(assets, events, strict=True))
        await self.queue._commits.write(
            lambda tables: tables.pending.add_events(
                tables.connection, made, life=tables.life, sinks=self.queue.outbox.sinks
            )
        )
        self.queue.outbox.add(len(events))

    @precondition(lambda self: self.steps >= 4)
    @rule(in_order=st.booleans())
    def start_again(self, in_order):
        self.run(self.closed() if in_order else self.crashed())
        self.start(set(self.hooks))

    async def closed(self):
        await self.queue.finish()
        await self.queue.close()

    async def crashed(self):
        await end_all_tasks()
        self.queue.crash()

    async def discard(self):
        await self.crashed()

    @invariant()
    @precondition(lambda self: self.starts)
    def an_event_is_kept_as_long_as_it_is_needed(self):
        hooks = self.kept.hooks
        execute = self.connection.execute
        rows = execute(
            "SELECT sink, position, is_new, asset_id, attempts, first_at, next_at "
            f"FROM {self.schema}.deliveries ORDER BY position"
        ).fetchall()
        positions = [each for [each] in execute(f"SELECT position FROM {self.schema}.events ORDER BY position")]
        dead = execute(
            f"SELECT sink, position, asset_id, attempts, first_at, last_at FROM {self.schema}.dead_letters"
        ).fetchall()
        assert {(sink, position): rest for sink, position, is_new, *rest in rows if not is_new} == {
            (sink, position): [self.asset(position), record.attempts, record.first_at, record.next_at]
            for sink, hook in hooks.items()
            for position, record in hook.records.items()
        }
        new = {ORDERED: self.kept.ordered, **{sink: hooks[sink].position for sink in self.hooks}}
        assert sorted((sink, position) for sink, position, is_new, *_ in rows if is_new) == sorted(
            (sink, position) for sink, passed in new.items() for position in range(passed + 1, self.last + 1)
        )
        assert positions == sorted({position for _, position, *_ in rows})
        assert {(sink, position): rest for sink, position, *rest in dead} == {
            (sink, position): [self.asset(position), *times]
            for sink, hook in hooks.items()
            for position, times in hook.dead.items()
        }
        counts = {name: len(hook.dead) for name, hook in hooks.items() if hook.dead}
        assert {name: count for name, count in self.queue.dead_letters_by_sink().items() if count} == counts

    @invariant()
    def a_step_is_over(self):
        self.steps += 1


@pytest.mark.timeout(3600)
def test_outbox(server, schema):
    FleetMachine.url, FleetMachine.schema = server, schema
    with psycopg.connect(server, autocommit=True) as FleetMachine.connection:
        run_state_machine_as_test(FleetMachine, settings=settings(max_examples=EXAMPLES))
