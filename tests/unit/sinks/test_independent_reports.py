"""What a delivery to an independent sink counts, logs and makes due when its receiver changes. In virtual time."""

import asyncio

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


def many(count=12):
    return [event(f"a{number}") for number in range(count)]


async def test_the_log_says_in_milliseconds_how_long_an_outage_lasts_and_when_it_is_probed(path):
    receiver = ScriptedReceiver(lambda _: Failed("HTTP 429", 2.34567))
    with capture_logs() as logs:
        async with running(path, receiver) as run:
            await run.add(*many())
            await asyncio.sleep(1)
            receiver.answer, receiver.latency = lambda _: Delivered(), 0.11111
            await asyncio.sleep(5)
    failed, recovered = (log for log in logs if log["event"] in {"sink.failed", "sink.recovered"})
    assert (failed["retry_in"], recovered["failed_for"]) == (2.346, 2.457)


async def test_a_resume_asks_for_one_probe(path):
    """The next ones come at the intervals of an outage."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(HOUR,), latency=0.125)
    async with running(path, receiver) as run:
        await run.add(*many())
        await asyncio.sleep(100)
        began = now()
        run.delivery.resume()
        await asyncio.sleep(10)
        assert len([at for at, _ in receiver.attempts if at >= began]) == 3


async def test_only_a_receiver_that_works_again_makes_everything_due(path):
    """A pause that follows an outage does not."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(HOUR,))
    async with running(path, receiver) as run:
        make_all_due, made_due = run.outbox.make_all_due, []

        async def noting(*arguments, **options):
            made_due.append(now())
            await make_all_due(*arguments, **options)

        run.outbox.make_all_due = noting
        await run.add(*many())
        await asyncio.sleep(10)
        receiver.answer = lambda _: Gone("HTTP 410")
        await asyncio.sleep(90)
        assert (run.delivery.problem.trouble, made_due) == ("paused", [])
        receiver.answer = lambda _: Delivered()
        run.delivery.resume()
        await asyncio.sleep(1)
        assert (len(receiver.accepted), made_due) == (12, [100.0])


async def test_attempts_are_timed_each_by_itself(path):
    receiver = ScriptedReceiver(latency=2.0)
    async with running(path, receiver) as run:
        await asyncio.sleep(5)
        await run.add(*many(3))
        await asyncio.sleep(5)
        made = run.delivery.attempts.made
        assert (made.count, made.durations.read()[()].sum) == (3, 6.0)


async def test_a_step_whose_last_attempt_fails_before_its_completion_is_superseded(path):
    """It is counted as that, and as no dead letter."""
    receiver = ScriptedReceiver(lambda each: DOWN if each.id == "a.1.processed" else Delivered(), retry=())
    with capture_logs() as logs:
        async with running(path, receiver) as run:
            await run.add(step("a", "processed"), event("a"))
            await asyncio.sleep(1)
            assert run.delivery.attempts.results == {"delivered": 1, "failed": 1, "dead_letter": 0, "superseded": 1}
    assert [log["id"] for log in logs if log["event"] == "sink.superseded"] == ["a.1.processed"]
