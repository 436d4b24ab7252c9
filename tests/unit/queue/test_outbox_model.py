"""Both engines keep to the model of the outbox; a local one crashes at any moment.

Its sinks come and go, and commands ask for dead letters.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from asset_worker.queue.dead_letters import Request
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.request_files import RequestFiles
from tests.doubles.local_queue import RETENTION, directory_in_memory, end_all_tasks, open_local
from tests.doubles.threads import SuspendingThread
from tests.unit.queue.conformance import DEDUPE_WINDOW, turns
from tests.unit.queue.outbox_model import (
    HOOKS,
    ORDERED,
    Hook,
    IndependentMachine,
    Record,
)


class LocalMachine(IndependentMachine):
    """The worker is closed or crashes, sinks come and go, commands ask for dead letters, and they expire."""

    def __init__(self):
        super().__init__()
        self.directory = directory_in_memory()
        self.crashes = 0
        self.steps = 0
        self.requests = 0
        self.path.parent.mkdir()

    @property
    def path(self):
        return Path(self.directory.name) / str(self.crashes) / FILE_NAME

    async def opened(self):
        self.steps = 0
        queue = open_local(
            self.path, self.clock, thread=SuspendingThread(), sinks=[ORDERED, *self.hooks], independent=self.hooks
        )
        self.begin()
        await queue.begin(ends_by_itself=False)
        self.expire()
        return queue

    def begin(self):
        kept = self.kept
        for sink in self.hooks:
            hook = kept.hooks.setdefault(sink, Hook())
            hook.position = max(hook.position, kept.passed)
            kept.held.pop(sink, None)
            kept.released.discard(sink)
        for sink in kept.hooks.keys() - self.hooks - kept.held.keys() - kept.released:
            if kept.hooks[sink].records or kept.hooks[sink].position < self.last:
                kept.held[sink] = self.now()
            else:
                kept.released.add(sink)

    def expire(self):
        kept = self.kept
        for sink, since in list(kept.held.items()):
            if self.now() - since >= DEDUPE_WINDOW:
                del kept.held[sink]
                kept.released.add(sink)
                kept.hooks[sink].records.clear()
                self.pass_events(kept)

    @rule(share=st.sampled_from([0.4, 1.0]))
    def a_window_passes(self, share):
        self.clock.move(share * DEDUPE_WINDOW)
        self.run(self.queue.outbox.drop_expired(self.now()))
        self.expire()

    @rule(share=st.sampled_from([0.6, 1.0]))
    def dead_letters_expire(self, share):
        self.clock.move(share * RETENTION)
        self.run(self.queue._prune_dead_letters())
        for hook in self.kept.hooks.values():
            for position, (_, _, last) in list(hook.dead.items()):
                if last < self.now() - RETENTION:
                    del hook.dead[position]

    @precondition(lambda self: self.steps >= 4)
    @rule(hooks=st.sets(st.sampled_from(HOOKS)), in_order=st.booleans())
    def start_again_with_other_sinks(self, hooks, in_order):
        self.run(self.queue.close() if in_order else self.crashed())
        self.start(hooks or {"hook"})

    def dead(self):
        return sorted((sink, position) for sink in self.hooks for position in self.kept.hooks[sink].dead)

    @precondition(lambda self: self.dead())
    @rule(data=st.data(), action=st.sampled_from(["retry", "drop"]), turns=st.integers(0, 30))
    def a_command_asks(self, data, action, turns):
        """It is carried out once, also if the worker crashes meanwhile and finds it again."""
        sink, position = data.draw(st.sampled_from(self.dead()))
        event_id = self.ids[position - 1]
        request = Request(action, ids=(event_id,), sink=sink)
        self.requests += 1
        request_id = f"{self.requests:032x}"
        RequestFiles(self.path.parent).write(request_id, request)
        hook = self.kept.hooks[sink]
        is_left = action == "retry" and self.is_step(position)  # in this model, no wait goes on
        if not is_left:
            del hook.dead[position]
        if action == "retry" and not is_left:
            hook.records[position] = Record(0, None, self.now())
        finished = self.run(self.cut_short(self.queue._requests.serve(), turns))
        if not finished:
            self.start(set(self.hooks))
            self.run(self.queue._requests.serve())
        answer = RequestFiles(self.path.parent).read_answer(request_id)
        assert answer is not None
        assert (answer.counts, answer.error is None) == (({}, False) if is_left else ({sink: 1}, True))
        assert [path.name for path in (self.path.parent / "requests").iterdir()] == [f"{request_id}.answer.json"]
        RequestFiles(self.path.parent).delete(request_id)
        if finished and action == "retry" and not is_left:
            self.run(asyncio.wait_for(self.queue.outbox.wait_for_retry(sink), 1))

    async def cut_short(self, work, count):
        """Do the work, or crash after so many turns of the event loop. Return whether it was done."""
        working = asyncio.ensure_future(work)
        await turns(count)
        if working.done():
            working.result()
            return True
        await self.crashed()
        return False

    @precondition(lambda self: self.hooks)
    @rule(data=st.data(), limit=st.integers(1, 4), transitions=st.integers(0, 4), count=st.integers(0, 9))
    def crash_while_one_takes(self, data, limit, transitions, count):
        sink = data.draw(st.sampled_from(self.hooks))
        after = deepcopy(self.kept)
        self.model_take(after, sink, limit, self.now(), self.in_flight[sink], transitions)
        self.crash_during(self.take(sink, limit, self.now(), transitions), after, count)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), how=st.sampled_from(["delivered", "failed", "dead"]), count=st.integers(0, 7))
    def crash_while_an_attempt_ends(self, data, how, count):
        sink = data.draw(st.sampled_from(self.busy()))
        position = data.draw(st.sampled_from(sorted(self.in_flight[sink])))
        call, change = self.ends_of_attempt(sink, position, how, 5.0)
        after = deepcopy(self.kept)
        change(after)
        self.crash_during(call, after, count)

    def crash_during(self, work, after, count):
        """All of it was durable, or nothing; all, if the call has returned."""
        returned = self.run(self.cut_short(work, count))
        if returned:
            self.run(self.crashed())
        before, self.kept = self.kept, after
        if not returned and self.found() != self.expected():
            self.kept = before
        assert self.found() == self.expected()
        self.start(set(self.hooks))

    async def crashed(self):
        before = self.path
        self.crashes += 1
        self.path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{before}{suffix}", f"{self.path}{suffix}")
        if (before.parent / "requests").exists():
            shutil.copytree(before.parent / "requests", self.path.parent / "requests")
        await end_all_tasks()
        self.queue.crash()

    def found(self):
        """What the journal holds."""
        with closing(sqlite3.connect(self.path)) as connection:
            execute = connection.execute
            return (
                {
                    (sink, position): (asset, attempts, first_at, next_at)
                    for sink, position, asset, attempts, first_at, next_at in execute(
                        "SELECT sink, position, asset_id, attempts, first_at, next_at FROM undelivered"
                    )
                },
                {
                    (sink, position): (asset, attempts, first_at, last_at)
                    for sink, position, asset, attempts, first_at, last_at in execute(
                        "SELECT sink, position, asset_id, attempts, first_at, last_at FROM dead_letters"
                    )
                },
                dict(execute("SELECT name, position FROM sinks WHERE position > 0").fetchall()),
                [position for [position] in execute("SELECT position FROM outbox ORDER BY position")],
                execute("SELECT position FROM passed").fetchall(),
            )

    def expected(self):
        hooks = self.kept.hooks
        return (
            {
                (sink, position): (self.asset(position), record.attempts, record.first_at, record.next_at)
                for sink, hook in hooks.items()
                for position, record in hook.records.items()
            },
            {
                (sink, position): (self.asset(position), *times)
                for sink, hook in hooks.items()
                for position, times in hook.dead.items()
            },
            {
                sink: position
                for sink, position in {ORDERED: self.kept.ordered, **{s: h.position for s, h in hooks.items()}}.items()
                if position
            },
            self.needed(),
            [(self.kept.passed,)],
        )

    @invariant()
    @precondition(lambda self: self.starts)
    def an_event_is_kept_as_long_as_it_is_needed(self):
        assert self.found() == self.expected()
        dead = {name: len(hook.dead) for name, hook in self.kept.hooks.items() if hook.dead}
        assert {name: count for name, count in self.queue.dead_letters_by_sink().items() if count} == dead

    @invariant()
    def a_step_is_over(self):
        self.steps += 1

    async def discard(self):
        self.queue.crash()

    def teardown(self):
        super().teardown()
        self.directory.cleanup()


TestMemory = pytest.mark.timeout(3600)(IndependentMachine.TestCase)
TestLocal = pytest.mark.timeout(3600)(LocalMachine.TestCase)
