"""What a delivery to an independent sink says about itself, and what it keeps for the next run. In virtual time."""

import asyncio

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.deliveries import Condition, SinkProblem
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.independent import IndependentDelivery
from asset_worker.sinks.ports import Delivered, Gone
from tests.doubles.clocks import LoopClock
from tests.doubles.independent import DOWN, ScriptedReceiver, event
from tests.unit.sinks.deliveries import Run, running

pytestmark = pytest.mark.virtual_time

IS_DOWN = SinkProblem("down", "the sink hook is down")


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


def many(count=20):
    return [event(f"a{number}") for number in range(count)]


def status_of(run):
    """Instants are in seconds from the start of the loop's time."""
    each, began = run.delivery, run.clock.now() - asyncio.get_running_loop().time()
    since = None if each.failing_since is None else each.failing_since - began
    next_try = None if each.next_try is None else each.next_try - began
    return each.problem, each.failing_for, since, each.last_error, next_try


class Owing:
    """An outbox that owes some events."""

    count = 3
    made_at: float | None = None

    def owed(self, _sink):
        return self.count

    def oldest_at(self, _sink):
        return self.made_at


async def test_the_backlog_is_what_the_sink_lacks_and_its_age_that_of_the_oldest():
    """A wall clock that was set back makes no age negative."""
    outbox, clock = Owing(), LoopClock(asyncio.get_running_loop())
    delivery = IndependentDelivery(ScriptedReceiver(), outbox, clock)
    assert (delivery.backlog, delivery.oldest_age) == (3, 0.0), "it is not known yet"
    outbox.made_at = clock.now() - 60.0
    assert delivery.oldest_age == 60.0
    clock.stepped = -100.0
    assert delivery.oldest_age == 0.0


async def test_a_receiver_that_works_or_was_never_asked_is_no_problem(path):
    async with running(path, ScriptedReceiver()) as run:
        assert status_of(run) == (None, None, None, None, None)
        assert await run.delivery.check() is True
        await run.add(event("a"))
        await asyncio.sleep(1)
        assert status_of(run) == (None, None, None, None, None)


async def test_a_receiver_that_is_down_is_told_since_when_and_when_it_is_probed_next(path):
    """From the first failure on, by a clock that nobody sets."""
    async with running(path, ScriptedReceiver(lambda _: DOWN)) as run:
        await run.add(*many())
        await asyncio.sleep(0.25)
        assert status_of(run) == (IS_DOWN, 0.25, 0.0, "HTTP 503", 1.0)
        assert await run.outbox.condition("hook") == Condition("down", run.clock.steady() - 0.25, "HTTP 503")


async def test_what_has_just_begun_lasts_for_no_time_and_what_is_due_is_due_now(path):
    """A probe that takes its time is due until it ends."""
    receiver = ScriptedReceiver(lambda _: DOWN)
    async with running(path, receiver) as run:
        record, at_first = run.outbox.set_condition, []

        async def noting(*arguments):
            at_first.append(status_of(run))
            await record(*arguments)

        run.outbox.set_condition = noting
        await run.add(*many())
        await asyncio.sleep(0.5)
        receiver.latency = 10.0
        await asyncio.sleep(2.5)
        assert at_first[-1] == (IS_DOWN, 0.0, 0.0, "HTTP 503", 1.0)
        assert status_of(run) == (IS_DOWN, 3.0, 0.0, "HTTP 503", 3.0)


async def test_a_restart_finds_no_pause_and_records_that_there_is_none(path):
    """Nobody is told that the receiver is away before it has said so again."""
    receiver = ScriptedReceiver(lambda _: Gone("HTTP 410"))
    async with running(path, receiver) as run:
        await run.add(event("a"))
        await asyncio.sleep(5)
        assert (await run.outbox.condition("hook")).kind == "paused"
    receiver.latency = 60.0
    async with running(path, receiver) as run:
        await asyncio.sleep(1)
        assert (run.delivery.problem, await run.outbox.condition("hook")) == (None, None)


async def test_a_restart_says_that_a_receiver_is_still_down(path):
    """In the log as in the status, and until it works."""
    receiver = ScriptedReceiver(lambda _: DOWN)
    async with running(path, receiver) as run:
        await run.add(*many())
        await asyncio.sleep(5)
    receiver.latency = 2.0
    with capture_logs() as logs:
        async with running(path, receiver) as run:
            await asyncio.sleep(1)
            assert status_of(run)[0] == IS_DOWN
            assert logs == [
                {
                    "event": "sink.failed",
                    "log_level": "error",
                    "sink": "hook",
                    "trouble": "down",
                    "error": "HTTP 503",
                    "retry_in": 0.0,
                }
            ]
            receiver.answer = lambda _: Delivered()
            await asyncio.sleep(2)
            assert (logs[-1]["event"], logs[-1]["failed_for"]) == ("sink.recovered", pytest.approx(7, abs=1))
            assert await run.outbox.condition("hook") is None


async def test_a_receiver_that_is_owed_nothing_is_asked_nothing_after_a_restart(path):
    """That it was down is forgotten: there is nothing to probe it with."""
    async with running(path, ScriptedReceiver(lambda _: DOWN, retry=())) as run:
        await run.add(*many(12))
        await asyncio.sleep(100)
        assert run.outbox.owed("hook") == 0
        assert (await run.outbox.condition("hook")).kind == "down"
    async with running(path, ScriptedReceiver()) as run:
        await asyncio.sleep(1)
        assert (run.delivery.problem, await run.outbox.condition("hook")) == (None, None)


async def test_by_default_the_stop_waits_for_no_retry(path):
    """Which takes patience."""
    async with running(path, ScriptedReceiver()) as run:
        await run.end()
        receiver, stop = ScriptedReceiver(lambda _: DOWN, retry=(0.5,)), Stop()
        stop.set("test")
        await run.add(event("a"))
        await IndependentDelivery(receiver, run.outbox, run.clock, uniform=lambda: 0.0).run(stop)
        assert len(receiver.attempts) == 1


async def test_a_pause_that_an_earlier_run_has_left_is_over_when_a_run_begins(path):
    """Also if the outbox still knows of it."""
    run = Run(path, ScriptedReceiver(latency=60.0))

    async def condition(_sink):
        return Condition("paused", run.clock.steady() - 100.0, "HTTP 410")

    run.outbox.condition = condition
    await run.queue.begin(ends_by_itself=False)
    await run.add(event("a"))
    async with run:
        await asyncio.sleep(1)
        assert run.delivery.problem is None
