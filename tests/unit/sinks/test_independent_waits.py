"""What the delivery to an independent sink waits for, and what it keeps of an attempt. In virtual time."""

import asyncio

import pytest

from asset_worker.domain.deliveries import SinkProblem
from asset_worker.queue.dead_letters import Request
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.sinks.ports import Delivered, Gone
from tests.doubles.independent import DOWN, ScriptedReceiver, event
from tests.unit.sinks.deliveries import failing_until, running

pytestmark = pytest.mark.virtual_time

HOUR = 3_600.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


def many(count=20):
    return [event(f"a{number}") for number in range(count)]


async def test_a_dead_letter_says_when_its_first_and_last_attempt_failed(path):
    """By the clock that other instants in the journal are in."""
    receiver = ScriptedReceiver(lambda _: DOWN, latency=3.0)
    async with running(path, receiver) as run:
        began = run.clock.steady()
        await run.add(event("a"))
        await asyncio.sleep(HOUR)
        [(attempts, first_at, last_at)] = run.queue.journal._execute(
            "SELECT attempts, first_at, last_at FROM dead_letters"
        )
    assert (attempts, first_at - began, last_at - began) == (4, pytest.approx(3), pytest.approx(2117))


async def test_no_attempt_is_recorded_that_began_before_its_event_was_due(path):
    """Not even if the event is due when it ends."""
    receiver = ScriptedReceiver(lambda _: DOWN, latency=15.0, retry=(*[1] * 5, *range(200, 500, 7)))
    async with running(path, receiver) as run:
        due_at, record, recorded = {}, run.outbox.failed, []

        async def failed(sink, position, *, next_at, **others):
            recorded.append((run.clock.steady() - receiver.latency, due_at.get(position, 0.0)))
            due_at[position] = next_at
            return await record(sink, position, next_at=next_at, **others)

        run.outbox.failed = failed
        await run.add(event("a"), event("b"))
        await asyncio.sleep(3 * HOUR)
    assert len(recorded) > 20
    assert all(began >= due for began, due in recorded)


async def test_each_outage_begins_with_all_events_as_probes(path):
    """What was a probe in an earlier one does not count, and is not remembered for ever."""
    receiver = ScriptedReceiver(failing_until(60))
    async with running(path, receiver) as run:
        await run.add(*many())
        await asyncio.sleep(HOUR)
        assert len(receiver.accepted) == 20
        take, left_out = run.outbox.take, []

        async def spied(*arguments, without, **others):
            left_out.append(len(without))
            return await take(*arguments, without=without, **others)

        run.outbox.take, receiver.answer = spied, lambda _: DOWN
        await run.add(*(event(f"b{number}") for number in range(20)))
        await asyncio.sleep(2)
        assert (run.delivery.problem, left_out[-1]) == (SinkProblem("down", "the sink hook is down"), 0)


async def test_a_receiver_that_works_again_is_noticed_at_the_next_probe(path):
    """1, 2, 4 and 8 seconds after one another."""
    receiver = ScriptedReceiver(failing_until(10))
    async with running(path, receiver) as run:
        await run.add(*many())
        await asyncio.sleep(16)
        assert len(receiver.accepted) == 20


async def test_a_receiver_that_is_down_is_probed_at_once_if_somebody_asks_for_it(path):
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(5, HOUR))
    async with running(path, receiver) as run:
        await run.add(*many())
        await asyncio.sleep(600)
        await asyncio.sleep(run.delivery.next_try - run.clock.now() + 1)
        receiver.answer = lambda _: Delivered()
        run.delivery.resume()
        await asyncio.sleep(1)
        assert len(receiver.accepted) == 20


async def test_a_dead_letter_is_sent_as_soon_as_a_command_asks_for_it(path):
    """The delivery does not wait for something else to happen."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=())
    async with running(path, receiver) as run:
        await run.add(event("a"))
        await asyncio.sleep(1)
        assert sum(run.queue.dead_letters_by_sink().values()) == 1
        receiver.answer = lambda _: Delivered()
        RequestFiles(path.parent).write("0" * 32, Request("retry", ids=("a.1",)))
        await run.queue._requests.serve()
        await asyncio.sleep(1)
        assert receiver.accepted == ["a.1"]


async def test_a_pause_makes_nothing_due(path):
    """It says nothing about an event that failed before."""
    receiver = ScriptedReceiver(lambda each: DOWN if each.id == "bad.1" else Gone("HTTP 410"), retry=(HOUR,))
    async with running(path, receiver) as run:
        await run.add(event("bad"), event("a"))
        await asyncio.sleep(10)
        receiver.answer = lambda _: Delivered()
        run.delivery.resume()
        await asyncio.sleep(10)
        assert receiver.accepted == ["a.1"]
        await asyncio.sleep(HOUR)
        assert receiver.accepted == ["a.1", "bad.1"]


async def test_a_probe_that_takes_long_costs_no_work_meanwhile(path):
    """The loop waits for its end."""
    receiver = ScriptedReceiver(lambda _: DOWN, latency=90.0)
    async with running(path, receiver) as run:
        await run.add(*many())
        await asyncio.sleep(200)
        steady, count = run.clock.steady, 0

        def counting():
            nonlocal count
            count += 1
            assert count < 1_000, "it spins"
            return steady()

        run.clock.steady = counting
        await asyncio.sleep(600)
        assert 0 < count < 100


async def test_what_is_due_is_noticed_within_a_minute_after_the_machine_was_suspended(path):
    """The timers of the loop stand still meanwhile."""
    receiver = ScriptedReceiver(failing_until(1), retry=(HOUR,))
    async with running(path, receiver) as run:
        await run.add(event("a"))
        await asyncio.sleep(10)
        run.clock.suspend(HOUR)
        await asyncio.sleep(60)
        assert receiver.accepted == ["a.1"]


async def test_a_run_that_is_done_waits_no_longer_than_its_patience_in_all(path):
    """However short the delays of the plan are."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(20,) * 9)
    async with running(path, receiver, patience=25) as run:
        await run.add(event("a"))
        await asyncio.sleep(0.5)
        assert await run.end() == pytest.approx(19.5, abs=0.1)
        assert receiver.times_of("a.1") == pytest.approx([0, 20])
