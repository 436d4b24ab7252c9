"""Which events a delivery to an independent sink sends next, and which have to wait. In virtual time."""

import asyncio
from collections import Counter

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.sinks.ports import Delivered, Failed, Gone
from tests.doubles.independent import DOWN, ScriptedReceiver, event, step
from tests.unit.sinks.deliveries import now, running

pytestmark = pytest.mark.virtual_time

HOUR = 3_600.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


def slow(seconds, *ids):
    return lambda each: seconds if each.id in ids else 0.0


async def test_short_delays_of_a_plan_are_kept(path):
    """Also those that have passed before the records are read."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(0.25, 0.25))
    async with running(path, receiver) as run:
        await run.add(event("a"))
        await asyncio.sleep(5)
    assert receiver.times_of("a.1") == [0.0, 0.25, 0.5]


async def test_an_event_is_tried_again_while_another_is_on_its_way(path):
    """As long as there is a slot for it."""
    receiver = ScriptedReceiver(lambda each: DOWN if each.id == "a.1" else Delivered(), latency=slow(30.0, "b.1"))
    async with running(path, receiver) as run:
        await run.add(event("a"), event("b"))
        await asyncio.sleep(10)
    assert receiver.times_of("a.1") == [0.0, 5.0]


@pytest.mark.parametrize(("concurrency", "steps"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)])
async def test_steps_have_half_of_the_slots_but_one_at_least(path, concurrency, steps):
    """However many of them wait, and whatever else comes."""
    receiver = ScriptedReceiver(latency=15.0, concurrency=concurrency)
    async with running(path, receiver) as run:
        await run.add(*(step(f"a{number}", "processed") for number in range(20)))
        await asyncio.sleep(1)
        assert receiver.in_flight.total() == steps
        await run.add(*(step(f"b{number}", "processed") for number in range(20)))
        await asyncio.sleep(1)
        assert receiver.in_flight.total() == steps


async def test_while_a_receiver_is_down_each_event_is_a_probe_in_its_turn(path):
    """And again when all have had it."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(24 * HOUR,))
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(12)))
        await asyncio.sleep(HOUR)
        probes = Counter(each for at, each in receiver.attempts if at > 0)
    assert len(probes) == 12
    assert max(probes.values()) - min(probes.values()) <= 1
    assert min(probes.values()) >= 4


async def test_a_step_gives_way_to_a_completion_also_beside_another_completion(path):
    """What is on its way besides does not matter."""
    receiver = ScriptedReceiver(latency=slow(15.0, "a.1.processed", "b.1"), concurrency=2)
    async with running(path, receiver) as run:
        await run.add(step("a", "processed"), event("b"))
        await asyncio.sleep(5)
        assert receiver.in_flight.total() == 2
        await run.add(event("c"))
        await asyncio.sleep(0.1)
    assert receiver.times_of("c.1") == [5.0]


async def test_while_the_sink_is_paused_no_step_is_cut_off(path):
    """Nothing could be sent in its place."""
    receiver = ScriptedReceiver(
        lambda each: Gone("HTTP 410") if each.id == "b.1" else Delivered(), latency=slow(15.0, "a.1.processed")
    )
    async with running(path, receiver) as run:
        await run.add(step("a", "processed"), event("b"))
        await asyncio.sleep(2)
        assert run.delivery.problem.trouble == "paused"
        await run.add(event("c"))
        await asyncio.sleep(20)
    assert receiver.accepted == ["a.1.processed"]


async def test_a_step_that_is_accepted_at_this_moment_is_not_cut_off(path):
    """Its completion comes while the result is being recorded."""
    receiver = ScriptedReceiver()
    async with running(path, receiver) as run:
        record = run.outbox.delivered

        async def slowly(*arguments, **options):
            await asyncio.sleep(1.0)
            await record(*arguments, **options)

        run.outbox.delivered = slowly
        await run.add(step("a", "processed"))
        await asyncio.sleep(0.5)
        await run.add(event("a"))
        await asyncio.sleep(5)
        assert (receiver.accepted, run.outbox.depth()) == (["a.1.processed", "a.1"], 0)


@pytest.mark.parametrize("is_full", [False, True], ids=["there is a slot", "the only slot is taken"])
async def test_a_step_that_waits_for_its_retry_is_counted_when_it_is_superseded(path, is_full):
    """And named in the log."""
    receiver = ScriptedReceiver(
        lambda each: Failed("HTTP 400") if each.id == "a.1.processed" else Delivered(),
        retry=(600.0,),
        latency=slow(15.0, "b.1.processed"),
        concurrency=1,
    )
    async with running(path, receiver) as run:
        await run.add(step("a", "processed"))
        await asyncio.sleep(1)
        await run.add(*[step("b", "processed")] * is_full)
        await asyncio.sleep(1)
        with capture_logs() as logs:
            await run.add(event("a"))
            await asyncio.sleep(2)
        superseded = [log["id"] for log in logs if log["event"] == "sink.superseded"]
        assert superseded == ["a.1.processed"]
        assert run.delivery.attempts.results["superseded"] == 1
        assert receiver.times_of("a.1") == [2.0]


async def test_attempts_begin_until_the_last_start_after_the_stop_and_not_after_the_start_of_the_run(path):
    """The very instant included."""
    receiver = ScriptedReceiver(latency=2.0, concurrency=1)
    async with running(path, receiver, last_start=1.0) as run:
        await asyncio.sleep(10)
        await run.add(event("a"), event("b"), event("c"))
        await asyncio.sleep(1)
        assert await run.end() == 3.0
    assert receiver.attempts == [(10.0, "a.1"), (12.0, "b.1")]


@pytest.mark.parametrize(("patience", "times"), [(19.5, [0.0, 20.0]), (19.25, [0.0])])
async def test_the_patience_of_a_stop_reaches_to_its_very_end(path, patience, times):
    """What is due then is still sent."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(20.0,))
    async with running(path, receiver, patience=patience) as run:
        await run.add(event("a"))
        await asyncio.sleep(0.5)
        await run.end()
        assert now() == max(times[-1], 0.5)
    assert receiver.times_of("a.1") == times


async def test_what_is_on_its_way_when_a_run_is_cancelled_has_ended_when_the_sink_is_closed(path):
    """A sink that is closed is used by nobody."""
    receiver = ScriptedReceiver(latency=60.0)
    at_close = []

    async def close():
        at_close.append(receiver.in_flight.total())

    receiver.close = close
    async with running(path, receiver) as run:
        await run.add(event("a"), event("b"))
        await asyncio.sleep(1)
        assert receiver.in_flight.total() == 2
    assert at_close == [0]


async def test_a_step_is_not_cut_off_for_another_step(path):
    """Only completions must not wait."""
    receiver = ScriptedReceiver(latency=15.0, concurrency=1)
    async with running(path, receiver) as run:
        await run.add(step("a", "processed"), step("b", "processed"))
        await asyncio.sleep(5)
        await run.add(step("c", "processed"))
        await asyncio.sleep(11)
    assert receiver.accepted == ["a.1.processed"]
