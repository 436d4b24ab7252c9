"""The delivery to an independent sink: the retry plan, order per asset, outages, pauses, the stop. In virtual time."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.assets import Outcome
from asset_worker.domain.deliveries import SinkProblem
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.sinks.ports import Attempt, Delivered, Failed, Gone
from tests.doubles.independent import DOWN, ScriptedReceiver, event
from tests.unit.sinks.deliveries import failing_until, now, running

pytestmark = pytest.mark.virtual_time

HOUR, DAY = 3_600.0, 86_400.0

IS_DOWN = SinkProblem("down", "the sink hook is down")


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


async def test_events_are_sent_at_once_and_as_many_together_as_allowed(path):
    """The ninth waits for a slot."""
    receiver = ScriptedReceiver(latency=1.0)
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(20)))
        await asyncio.sleep(2.5)
        assert (len(receiver.accepted), receiver.most_in_flight) == (16, 8)
        await asyncio.sleep(1)
        assert sorted(receiver.accepted) == sorted(f"a{number}.1" for number in range(20))
        assert (run.outbox.depth(), run.delivery.delivered) == (0, 20)


async def test_an_event_that_fails_follows_the_plan_and_is_a_dead_letter_in_the_end(path):
    """One attempt, then one after each delay of the plan; the others are not held up."""
    receiver = ScriptedReceiver(lambda each: DOWN if each.id == "bad.1" else Delivered())
    async with running(path, receiver) as run:
        with capture_logs() as logs:
            await run.add(event("a"), event("bad"), event("b"))
            await asyncio.sleep(HOUR)
        assert receiver.accepted == ["a.1", "b.1"]
        assert receiver.times_of("bad.1") == pytest.approx([0, 5, 305, 2105], abs=1)
        assert [log["event"] for log in logs] == [*["sink.attempt_failed"] * 3, "sink.dead_letter"]
        assert (logs[-1]["id"], logs[-1]["attempts"], logs[-1]["reason"]) == ("bad.1", 4, "HTTP 503")
        assert (run.outbox.depth(), sum(run.queue.dead_letters_by_sink().values())) == (0, 1)
        assert run.delivery.problem is None
        attempts = run.delivery.attempts
        assert attempts.results == {"delivered": 2, "failed": 4, "dead_letter": 1, "superseded": 0}
        assert (attempts.made.count, attempts.made.succeeded_at) == (6, pytest.approx(run.clock.now() - HOUR, abs=1))


async def test_retry_after_puts_the_next_attempt_off(path):
    """Up to the longest delay of the plan."""
    answers: Iterator[Attempt] = iter([Failed("HTTP 429", 60.0), Failed("HTTP 429", 1e9), Delivered()])
    receiver = ScriptedReceiver(lambda _: next(answers))
    async with running(path, receiver) as run:
        await run.add(event("a"))
        await asyncio.sleep(HOUR)
        assert receiver.times_of("a.1") == pytest.approx([0, 60, 1860], abs=1)


async def test_later_events_of_an_asset_wait_for_the_earlier_one(path):
    """And only those; also after a restart, and if the earlier one is given up."""
    receiver = ScriptedReceiver(lambda each: DOWN if each.id == "a.1" else Delivered(), retry=(5, 10))
    async with running(path, receiver) as run:
        await run.add(event("a", 1), event("b", 1), event("a", 2), event("a", 3), event("b", 2))
        await asyncio.sleep(1)
        assert receiver.accepted == ["b.1", "b.2"]
    async with running(path, receiver) as run:
        await run.add(event("a", 4), event("c"))
        await asyncio.sleep(60)
        assert receiver.accepted == ["b.1", "b.2", "c.1", "a.2", "a.3", "a.4"]
        assert run.outbox.depth() == 0


async def test_attempts_and_their_times_survive_a_crash(path):
    """The plan goes on where it was."""
    receiver = ScriptedReceiver(lambda _: DOWN)
    for _ in range(8):
        async with running(path, receiver) as run:
            if not receiver.attempts:
                await run.add(event("a"))
            await asyncio.sleep(300)
    assert receiver.times_of("a.1") == pytest.approx([0, 5, 305, 2105], abs=5)


async def test_what_the_sink_does_not_want_is_passed_over(path):
    """It needs no record."""
    receiver = ScriptedReceiver(outcomes=["failed"])
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(700)), event("bad", outcome=Outcome.FAILED))
        await run.add(*(event(f"b{number}") for number in range(700)))
        await asyncio.sleep(1)
        assert (receiver.accepted, run.outbox.depth()) == (["bad.1"], 0)
        assert await run.end() == 0


async def test_a_day_without_the_receiver_costs_few_requests_and_no_event(path):
    """While it is down, one probe a minute at most; the first success makes everything due at once."""
    receiver = ScriptedReceiver(failing_until(DAY), retry=(5, 300, 1_800, 7_200, 18_000, 36_000, 50_400))
    ids = [f"a{number}" for number in range(300)]
    with capture_logs() as logs:
        async with running(path, receiver) as run:
            for asset in ids:
                await run.add(event(asset))
                await asyncio.sleep(60)
            assert run.delivery.problem == IS_DOWN
            assert run.delivery.next_try <= run.clock.now() + 60
            await asyncio.sleep(DAY - now() - 1)
            assert (receiver.accepted, run.outbox.depth()) == ([], 300)
            assert len(receiver.attempts) < DAY / 60 + 50
            await asyncio.sleep(70)
            assert sorted(receiver.accepted) == sorted(f"{asset}.1" for asset in ids)
            assert (run.outbox.depth(), run.delivery.problem, sum(run.queue.dead_letters_by_sink().values())) == (
                0,
                None,
                0,
            )
    changes = [log["event"] for log in logs if log["event"] != "sink.attempt_failed"]
    assert changes == ["sink.failed", "sink.recovered"]
    assert [log["trouble"] for log in logs if log["event"] == "sink.failed"] == ["down"]


async def test_while_the_receiver_is_down_no_event_fails_sooner_than_by_its_plan(path):
    """A probe before an event is due uses up none of its attempts: three events last as long as their plan."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(HOUR, HOUR, HOUR))
    async with running(path, receiver) as run:
        await run.add(*(event(asset) for asset in "abc"))
        await asyncio.sleep(3 * HOUR - 60)
        assert run.delivery.problem is None, "three events of one attempt an hour are no ten failures yet"
        await asyncio.sleep(600)
        assert sum(run.queue.dead_letters_by_sink().values()) == 3


async def test_a_probe_that_is_early_does_not_count(path):
    """Two events, twelve failures: then probes come every minute, and the plan's hours go on."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(*[1.0] * 5, HOUR, HOUR))
    async with running(path, receiver) as run:
        await run.add(event("a"), event("b"))
        await asyncio.sleep(2 * HOUR - 60)
        assert len(receiver.attempts) > 100
        assert sum(run.queue.dead_letters_by_sink().values()) == 0
        await asyncio.sleep(300)
        assert sum(run.queue.dead_letters_by_sink().values()) == 2


async def test_a_receiver_that_can_not_take_several_events_at_once_uses_up_no_attempts(path):
    """Each probe is accepted, so that everything is due, and fails: that is soon over and over again."""
    plan = (5, 300, HOUR, 5 * HOUR)
    receiver = ScriptedReceiver(latency=15, retry=plan)

    def answer(_):
        was_alone = receiver.most_in_flight == 1
        if not receiver.in_flight.total():
            receiver.most_in_flight = 0
        return Delivered() if was_alone else DOWN

    receiver.answer = answer
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(40)))
        await asyncio.sleep(sum(plan))
        assert sum(run.queue.dead_letters_by_sink().values()) == 0
        assert len(receiver.accepted) > 30


async def test_an_event_that_fails_by_itself_is_not_the_only_probe(path):
    """The receiver works again for all others: one of them is soon the probe."""
    receiver = ScriptedReceiver(lambda each: DOWN if now() < HOUR or each.id == "bad.1" else Delivered())
    async with running(path, receiver) as run:
        await run.add(event("bad"), *(event(f"a{number}") for number in range(30)))
        await asyncio.sleep(HOUR + 200)
        assert len(receiver.accepted) == 30


async def test_a_receiver_that_is_gone_pauses_the_sink_and_a_resume_goes_on(path):
    """Nothing is sent, nothing counts, and it is a problem that says what to do."""
    receiver = ScriptedReceiver(failing_until(HOUR, Gone("HTTP 410: gone")))
    with capture_logs() as logs:
        async with running(path, receiver) as run:
            await run.add(*(event(f"a{number}") for number in range(20)))
            await asyncio.sleep(2 * HOUR)
            assert 1 <= len(receiver.attempts) <= 8
            assert "dead-letters retry --sink hook" in run.delivery.problem.text
            assert (run.delivery.last_error, run.delivery.next_try) == ("HTTP 410: gone", None)
            assert run.delivery.failing_for == pytest.approx(2 * HOUR)
            await run.delivery.reload()
            await asyncio.sleep(1)
            assert (len(receiver.accepted), run.delivery.problem, receiver.reloads) == (20, None, 1)
    assert [log["event"] for log in logs] == ["sink.paused", "sink.recovered"]


@pytest.mark.parametrize("answer", [Gone("HTTP 410"), DOWN])
async def test_what_is_read_while_the_receiver_is_found_to_be_away_is_not_sent(path, answer):
    """The journal is slow, and takes a second to find the next event."""
    receiver = ScriptedReceiver(lambda each: Delivered() if each.id == "quick.1" else answer, concurrency=11)
    attempt = receiver.attempt

    async def slow_attempt(each):
        await asyncio.sleep(0.0 if each.id == "quick.1" else 0.5)
        return await attempt(each)

    receiver.attempt = slow_attempt
    async with running(path, receiver) as run:
        take = run.outbox.take

        async def slow_take(*arguments, **options):
            taken = await take(*arguments, **options)
            await asyncio.sleep(1.0 if receiver.accepted else 0.0)
            return taken

        run.outbox.take = slow_take
        await run.add(event("quick"), *(event(f"a{number}") for number in range(20)))
        await asyncio.sleep(1.75)
        assert len(receiver.attempts) == 11


async def test_a_receiver_that_was_down_at_the_last_stop_is_down_until_it_accepts_an_event(path):
    """A restart uses up no attempt, and when the receiver works again, what is due in hours is due at once."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=(5, *[5 * HOUR] * 3))
    for number in range(4):
        async with running(path, receiver) as run:
            if not number:
                await run.add(*(event(f"a{number}") for number in range(30)))
            await asyncio.sleep(1)
            assert run.delivery.problem == IS_DOWN
            assert run.delivery.failing_since == pytest.approx(run.clock.now() - now(), abs=1)
            assert run.delivery.failing_for <= 1, "a run gives it up only after its own grace period"
            await asyncio.sleep(600)
    receiver.answer, before = lambda _: Delivered(), len(receiver.attempts)
    async with running(path, receiver) as run:
        await asyncio.sleep(1)
        assert (len(receiver.accepted), run.outbox.depth(), run.delivery.problem) == (30, 0, None)
        assert len(receiver.attempts) == before + 30
    async with running(path, receiver) as run:
        assert run.delivery.problem is None


async def test_a_receiver_that_was_down_and_is_owed_nothing_is_no_problem_after_a_restart(path):
    """There is no event to probe it with."""
    receiver = ScriptedReceiver(lambda _: DOWN, retry=())
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(20)))
        await asyncio.sleep(HOUR)
        assert (run.delivery.problem, run.outbox.depth()) == (IS_DOWN, 0)
    async with running(path, receiver) as run:
        await asyncio.sleep(1)
        assert run.delivery.problem is None


async def test_all_is_due_when_a_receiver_works_that_was_down_and_then_paused(path):
    """What failed while it was down would be due in hours."""
    answers: dict[float, Attempt] = {0: DOWN, 600: Gone("HTTP 410"), HOUR: Delivered()}
    receiver = ScriptedReceiver(lambda _: answers[max(at for at in answers if at <= now())], retry=(5, 5 * HOUR))
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(20)))
        await asyncio.sleep(HOUR)
        assert "is paused" in run.delivery.problem.text
        run.delivery.resume()
        await asyncio.sleep(1)
        assert (len(receiver.accepted), run.delivery.problem) == (20, None)


async def test_a_restart_resumes_a_paused_sink(path):
    """Its events are sent again."""
    receiver = ScriptedReceiver(lambda _: Gone("HTTP 410"))
    async with running(path, receiver) as run:
        await run.add(event("a"))
        await asyncio.sleep(5)
    receiver.answer = lambda _: Delivered()
    async with running(path, receiver):
        await asyncio.sleep(1)
        assert receiver.accepted == ["a.1"]


async def test_a_dead_receiver_holds_up_no_other(path):
    """Each has its own delivery."""
    dead, good = ScriptedReceiver(lambda _: DOWN, name="dead", latency=15), ScriptedReceiver(name="good")
    async with running(path, dead, good) as run:
        for number in range(100):
            await run.add(event(f"a{number}"))
            await asyncio.sleep(1)
            assert good.accepted[-1] == f"a{number}.1"
        assert run.outbox.depth() == 100


async def test_the_stop_finishes_what_is_in_flight_and_leaves_what_is_due_later(path):
    """It is kept for the next run."""
    receiver = ScriptedReceiver(lambda each: DOWN if each.id == "bad.1" else Delivered(), latency=2)
    async with running(path, receiver) as run:
        await run.add(event("bad"), *(event(f"a{number}") for number in range(12)))
        await asyncio.sleep(0.5)
        assert await run.end() == pytest.approx(3.5, abs=0.1)
        assert (len(receiver.accepted), receiver.closed, run.outbox.depth()) == (12, True, 1)


async def test_a_stop_begins_no_attempt_that_may_not_end_in_time(path):
    """What is left is for the next run."""
    receiver = ScriptedReceiver(latency=2)
    async with running(path, receiver, last_start=5) as run:
        await run.add(*(event(f"a{number}") for number in range(100)))
        await asyncio.sleep(0.5)
        assert await run.end() == pytest.approx(5.5, abs=0.1)
        assert (len(receiver.accepted), run.outbox.depth()) == (24, 76)


async def test_a_run_that_is_done_waits_for_attempts_that_are_due_soon(path):
    """But not for those that are due in five minutes."""
    answers: Iterator[Attempt] = iter([DOWN, Delivered()])
    soon = ScriptedReceiver(lambda _: next(answers), name="soon")
    never = ScriptedReceiver(lambda _: DOWN, name="never")
    async with running(path, soon, never, patience=25) as run:
        await run.add(event("a"))
        await asyncio.sleep(0.5)
        assert await run.end() == pytest.approx(4.5, abs=0.1)
        assert soon.accepted == ["a.1"]
        assert [at for at, _ in never.attempts] == pytest.approx([0, 5])


@pytest.mark.parametrize("answer", [DOWN, Gone("HTTP 410")])
async def test_the_stop_does_not_wait_for_a_receiver_that_is_away(path, answer):
    """What is owed is kept."""
    receiver = ScriptedReceiver(lambda _: answer)
    async with running(path, receiver) as run:
        await run.add(*(event(f"a{number}") for number in range(20)))
        await asyncio.sleep(100)
        assert await run.end() < 1
        assert run.outbox.depth() == 20


async def test_a_failure_of_the_journal_ends_the_delivery(path):
    """What was accepted could be sent again and again, and nobody would know."""
    receiver = ScriptedReceiver()
    async with running(path, receiver) as run:

        async def broken(*_, **__):
            raise OSError("damaged")

        run.outbox.delivered = broken
        await run.add(event("a"))
        with pytest.raises(OSError, match="damaged"):
            await asyncio.gather(*run.tasks)
