"""Steps and completions of assets on their way to an independent sink: a step never delays a completion."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from asset_worker.domain.events import heading_of
from asset_worker.sinks.independent import CUT_OFF_SECONDS
from asset_worker.sinks.ports import Delivered, Failed
from tests.doubles.independent import DOWN, ScriptedReceiver, event, step
from tests.doubles.local_queue import directory_in_memory
from tests.doubles.virtual_time import VirtualTimeLoop
from tests.unit.sinks.deliveries import now, running

pytestmark = pytest.mark.virtual_time

NAMES = ["processed", "playable", "thumbnail_ready"]
TIMEOUT = 15.0


def steps(asset, names=NAMES):
    return [step(asset, name) for name in names]


def is_step(stored):
    return heading_of(stored).is_transition


def refuses_steps(stored):
    return Failed("HTTP 400") if is_step(stored) else Delivered()


def hangs_on_steps(stored):
    return TIMEOUT if is_step(stored) else 0.01


async def test_steps_come_in_order_and_before_the_completion(tmp_path):
    receiver = ScriptedReceiver(latency=0.1)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*steps("a"), event("a"))
        await asyncio.sleep(1)
    assert receiver.accepted == ["a.1.processed", "a.1.playable", "a.1.thumbnail_ready", "a.1"]


async def test_a_step_that_fails_once_the_completion_is_there_is_superseded_with_all_others(tmp_path):
    receiver = ScriptedReceiver(refuses_steps)
    with capture_logs() as logs:
        async with running(tmp_path / "j", receiver) as run:
            await run.add(*steps("a"), event("a"))
            await asyncio.sleep(0.1)
            assert sum(run.queue.dead_letters_by_sink().values()) == 3
            assert run.outbox.owed("hook") == 0
            assert run.delivery.attempts.results == {"delivered": 1, "failed": 1, "dead_letter": 0, "superseded": 3}
            found = run.queue.journal._execute("SELECT id, attempts, reason FROM dead_letters ORDER BY id").fetchall()
    assert receiver.accepted == ["a.1"]
    assert found == [
        ("a.1.playable", 0, "superseded"),
        ("a.1.processed", 1, "superseded"),
        ("a.1.thumbnail_ready", 0, "superseded"),
    ]
    named = [log["id"] for log in logs if log["event"] == "sink.superseded"]
    assert sorted(named) == ["a.1.playable", "a.1.processed", "a.1.thumbnail_ready"]
    assert not [log for log in logs if log["event"] == "sink.dead_letter"]


async def test_a_completion_does_not_wait_for_the_retry_of_a_step(tmp_path):
    receiver = ScriptedReceiver(refuses_steps, retry=[600.0])
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*steps("a"))
        await asyncio.sleep(100)
        assert sum(run.queue.dead_letters_by_sink().values()) == 0
        began = now()
        await run.add(event("a"))
        await asyncio.sleep(0.1)
        assert receiver.times_of("a.1") == [began]
        assert sum(run.queue.dead_letters_by_sink().values()) == 3
        await asyncio.sleep(10_000)
    assert len(receiver.attempts) == 2, "a superseded step was sent again"


async def test_steps_without_a_completion_are_tried_by_the_plan_and_become_dead_letters(tmp_path):
    receiver = ScriptedReceiver(refuses_steps, retry=[5.0])
    with capture_logs() as logs:
        async with running(tmp_path / "j", receiver) as run:
            await run.add(step("a", "processed"))
            await asyncio.sleep(100)
            assert sum(run.queue.dead_letters_by_sink().values()) == 1
    assert len(receiver.attempts) == 2
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["sink.dead_letter"]


async def test_a_receiver_that_refuses_steps_is_not_down(tmp_path):
    receiver = ScriptedReceiver(refuses_steps)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*(step(f"a{number}", "processed") for number in range(50)))
        await asyncio.sleep(1)
        assert run.delivery.problem is None
        began = now()
        await run.add(*(event(f"b{number}") for number in range(20)))
        await asyncio.sleep(0.1)
    assert all(receiver.times_of(f"b{number}.1") == [began] for number in range(20))


async def test_a_receiver_that_was_down_gets_the_completion_though_it_refuses_steps(tmp_path):
    receiver = ScriptedReceiver(lambda stored: refuses_steps(stored) if now() >= 100 else DOWN)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(
            *(each for number in range(30) for each in [step(f"a{number}", "processed"), event(f"a{number}")])
        )
        await asyncio.sleep(300)
    assert sorted(receiver.accepted) == sorted(f"a{number}.1" for number in range(30))


async def test_an_attempt_at_a_step_is_cut_off_when_it_holds_up_the_completion(tmp_path):
    receiver = ScriptedReceiver(latency=hangs_on_steps)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*steps("a"))
        await asyncio.sleep(5)
        began = now()
        await run.add(event("a"))
        await asyncio.sleep(0.5)
        assert receiver.times_of("a.1") == [began]
        began = now()
        await run.add(*steps("b"), event("b"))
        await asyncio.sleep(2)
        assert receiver.times_of("b.1") == [began + CUT_OFF_SECONDS]
    assert receiver.accepted == ["a.1", "b.1"]


async def test_an_attempt_at_a_step_takes_its_time_while_no_completion_waits(tmp_path):
    receiver = ScriptedReceiver(latency=hangs_on_steps)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(step("a", "processed"))
        await asyncio.sleep(TIMEOUT + 1)
    assert receiver.accepted == ["a.1.processed"]


async def test_steps_leave_slots_for_the_completions_of_others(tmp_path):
    receiver = ScriptedReceiver(latency=hangs_on_steps, concurrency=8)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*(step(f"a{number}", "processed") for number in range(100)))
        await asyncio.sleep(1)
        assert sum(receiver.in_flight.values()) == 4
        began = now()
        await run.add(event("b"))
        await asyncio.sleep(0.1)
    assert receiver.times_of("b.1") == [began]


@pytest.mark.parametrize("asset", ["a0", "b"], ids=["of the same asset", "of another asset"])
async def test_with_one_slot_a_completion_waits_a_second_for_a_step_at_most(tmp_path, asset):
    receiver = ScriptedReceiver(latency=hangs_on_steps, concurrency=1)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*(step(f"a{number}", "processed") for number in range(10)))
        await asyncio.sleep(5)
        began = now()
        await run.add(step("c", "processed"), event(asset))
        await asyncio.sleep(0.1)
        assert receiver.times_of(f"{asset}.1") == [began]
        await run.add(event("d"))
        await asyncio.sleep(0.1)
        began = now()
        await run.add(event("e"))
        await asyncio.sleep(1.1)
        assert receiver.times_of("e.1")[0] <= began + CUT_OFF_SECONDS


async def test_with_one_slot_steps_that_wait_for_nothing_else_take_their_time(tmp_path):
    receiver = ScriptedReceiver(latency=hangs_on_steps, concurrency=1)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*(step(f"a{number}", "processed") for number in range(3)))
        await asyncio.sleep(3 * TIMEOUT + 1)
    assert len(receiver.accepted) == 3


async def test_completions_are_sent_before_the_steps_of_others_that_are_due(tmp_path):
    receiver = ScriptedReceiver(failing, concurrency=2, retry=[5.0], latency=0.01)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(*(step(f"a{number}", "processed") for number in range(40)))
        await asyncio.sleep(1)
        await run.add(event("b"))
        await asyncio.sleep(8)
    again = [each for at, each in receiver.attempts if at >= 6.0]
    assert "b.1" in again[:2]


def failing(_stored):
    return DOWN if now() < 5 else Delivered()


async def test_a_wait_that_comes_later_has_steps_of_its_own(tmp_path):
    """Those behind the completion of the wait before are not superseded with the earlier ones."""
    receiver = ScriptedReceiver(refuses_steps)
    async with running(tmp_path / "j", receiver) as run:
        await run.add(step("a", "playable", 1), event("a", 1), step("a", "playable", 2))
        await asyncio.sleep(1)
        assert sum(run.queue.dead_letters_by_sink().values()) == 1
        await run.add(event("a", 2))
        await asyncio.sleep(1)
        assert sum(run.queue.dead_letters_by_sink().values()) == 2
    assert receiver.accepted == ["a.1", "a.2"]


ANSWERS = ["ok", "fails", "hangs"]


@given(
    data=st.data(),
    delays=st.lists(st.sampled_from([0.0, 0.5, 3.0, 20.0, 400.0]), min_size=4, max_size=4),
    assets=st.integers(1, 6),
)
def test_a_completion_is_never_late_for_its_steps_and_no_step_comes_after_it(data, delays, assets):
    """Whatever the receiver does with steps, as long as it takes completions."""
    answers = {
        (f"a{number}.1.{name}"): data.draw(st.sampled_from(ANSWERS)) for number in range(assets) for name in NAMES
    }

    def answer(stored):
        return Delivered() if answers.get(stored.id, "ok") == "ok" else DOWN

    def latency(stored):
        return TIMEOUT if answers.get(stored.id) == "hangs" else 0.05

    async def run_all():
        receiver = ScriptedReceiver(answer, latency=latency)
        recorded = {}
        with directory_in_memory() as directory:
            async with running(Path(directory) / "j", receiver) as run:
                for name, delay in zip([*NAMES, None], delays, strict=True):
                    for number in range(assets):
                        asset = f"a{number}"
                        await run.add(event(asset) if name is None else step(asset, name))
                        recorded[f"{asset}.1"] = now()
                    await asyncio.sleep(delay)
                await asyncio.sleep(60)
        return receiver, recorded

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        receiver, recorded = runner.run(run_all())
    for number in range(assets):
        sent = [each for _, each in receiver.attempts if each.startswith(f"a{number}.")]
        assert sent[-1] == f"a{number}.1", "a step was sent after the completion"
        [at] = receiver.times_of(f"a{number}.1")
        # At best it follows three steps that are answered in time, and one that is cut off.
        assert at - recorded[f"a{number}.1"] <= CUT_OFF_SECONDS + 3 * 0.05 * assets + 0.1
        order = [name for name in NAMES if f"a{number}.1.{name}" in receiver.accepted]
        assert [each.rsplit(".", 1)[1] for each in receiver.accepted if each.startswith(f"a{number}.1.")] == order
