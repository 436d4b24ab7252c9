"""Steps in the outbox and among the dead letters: what counts, what may be sent again, what is stored together."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.domain.progress import Progress
from asset_worker.domain.transitions import Transition
from asset_worker.queue.dead_letters import Request
from asset_worker.queue.local.dead_letter_requests import carry_out
from asset_worker.queue.local.journal import DEAD_LETTER
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import event_for, open_local, put
from tests.unit.queue.conformance import IDS
from tests.unit.queue.outbox_model import event_of, wants_all

HOOK = "https://a.example/#1"
ASSET = IDS[0]
STEP, END = f"{ASSET}.1.playable", f"{ASSET}.1"


@pytest.fixture
async def queue(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock(), sinks=[HOOK], independent=[HOOK])
    await queue.begin(ends_by_itself=True)
    yield queue
    queue.crash()


async def report_step(queue):
    """Accept an asset, and report its first step."""
    await put(queue, 0)
    [lease] = await queue.take(1)
    step = event_of(ASSET, 1, Transition.PLAYABLE)
    await queue.defer(lease, 0.0, Progress(polls=1, announced=("playable",)), [step])


async def settle(queue):
    [lease] = await queue.take(1)
    await queue.settle(lease, event_for(lease))


async def take(queue, limit=9, without=()):
    return await queue.outbox.take(
        HOOK, limit, now=50.0, until=50.0, without=without, wants=wants_all, transitions=limit
    )


async def fail(queue, position, *, is_last=False):
    """Let the attempt at an event fail. The IDs of what is superseded."""
    if is_last:
        return await queue.outbox.dead_letter(HOOK, position, attempts=2, first_at=40.0, now=50.0, reason="HTTP 500")
    return await queue.outbox.failed(
        HOOK, position, attempts=1, first_at=50.0, now=50.0, next_at=900.0, error="HTTP 500"
    )


def letters(queue):
    return queue.journal._execute("SELECT id, attempts, first_at, reason FROM dead_letters").fetchall()


def ask(queue, request, request_id="0" * 32):
    with queue.journal.transaction():
        return carry_out(queue.journal, request_id, request, receivers=[HOOK], now=50.0).answer


async def test_a_step_and_the_progress_that_records_it_are_stored_together(queue):
    await report_step(queue)
    [stored] = queue.journal._execute("SELECT progress FROM pending").fetchone()
    assert msgspec.json.decode(stored, type=Progress).announced == ("playable",)
    assert [each[1] for each in queue.journal.events_after(0, 9)] == [STEP]


async def test_an_older_progress_is_not_saved_over_the_one_with_the_step(queue):
    await put(queue, 0)
    [lease] = await queue.take(1)
    await queue.defer(lease, 0.0, Progress(polls=1))
    [lease] = await queue.take(1)
    await queue.defer(lease, 0.0, Progress(polls=2, announced=("playable",)), [event_of(ASSET, 1, Transition.PLAYABLE)])
    await queue._save_progress()
    [stored] = queue.journal._execute("SELECT progress FROM pending").fetchone()
    assert msgspec.json.decode(stored, type=Progress).polls == 2


async def test_a_superseded_step_is_no_failure_of_the_run_and_a_step_is_no_outcome(queue):
    await report_step(queue)
    await settle(queue)
    [step] = (await take(queue)).events
    assert await fail(queue, step.event.position) == (STEP,)
    [end] = (await take(queue)).events
    assert (end.event.id, end.next_at) == (END, 50.0)
    await queue.outbox.delivered(HOOK, end.event.position, now=50.0)
    assert await queue.finish() == {"ready": 1}
    assert letters(queue) == [(STEP, 1, 50.0, "superseded")]
    assert sum(queue.dead_letters_by_sink().values()) == 1


async def test_the_last_attempt_at_a_step_supersedes_it_too_once_the_completion_is_there(queue):
    await report_step(queue)
    await settle(queue)
    await take(queue)
    assert await fail(queue, 1, is_last=True) == (STEP,)
    assert letters(queue) == [(STEP, 2, 40.0, "superseded")]
    assert DEAD_LETTER not in (await queue.finish() or {})


async def test_a_step_that_the_receiver_refused_before_the_completion_is_a_failure_of_the_run(queue):
    await report_step(queue)
    await take(queue)
    assert await fail(queue, 1, is_last=True) == ()
    assert letters(queue) == [(STEP, 2, 40.0, "HTTP 500")]
    await settle(queue)
    assert await queue.finish() == {"ready": 1, DEAD_LETTER: 1}


async def test_a_step_on_its_way_is_not_superseded_when_the_completion_comes(queue):
    await report_step(queue)
    await take(queue)
    await fail(queue, 1)
    taken = await queue.outbox.take(HOOK, 9, now=900.0, until=900.0, without=(), wants=wants_all, transitions=9)
    assert [each.event.id for each in taken.events] == [STEP]
    await settle(queue)
    taken = await queue.outbox.take(HOOK, 9, now=900.0, until=900.0, without=[1], wants=wants_all, transitions=9)
    assert (taken.events, taken.superseded, taken.holding_up) == ([], (), (1,))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(Request("retry", all=True), id="all"),
        pytest.param(Request("retry", sink=HOOK), id="of the sink"),
    ],
)
async def test_a_step_is_not_sent_again_once_its_asset_is_done(queue, request_):
    await report_step(queue)
    await take(queue)
    await fail(queue, 1, is_last=True)
    await settle(queue)
    answer = ask(queue, request_)
    assert (answer.counts, answer.left, answer.over, answer.error) == ({}, {}, {HOOK: 1}, None)
    assert [each[0] for each in letters(queue)] == [STEP]


async def test_a_step_that_is_named_is_refused_once_its_asset_is_done_and_can_be_dropped(queue):
    await report_step(queue)
    await take(queue)
    await fail(queue, 1, is_last=True)
    await settle(queue)
    answer = ask(queue, Request("retry", ids=(STEP,)))
    assert answer.error is not None
    assert "once the asset is done" in answer.error
    assert ask(queue, Request("drop", ids=(STEP,)), "1" * 32).counts == {HOOK: 1}


async def test_a_step_may_be_sent_again_while_its_asset_is_waited_for(queue):
    await report_step(queue)
    await take(queue)
    await fail(queue, 1, is_last=True)
    answer = ask(queue, Request("retry", ids=(STEP,)))
    assert answer.counts == {HOOK: 1}
    queue.outbox.count_request(answer.counts, is_retry=True)
    [step] = (await take(queue)).events
    assert (step.event.id, step.is_transition, step.attempts) == (STEP, True, 0)
    await settle(queue)
    taken = await take(queue, without=[1])
    assert taken.holding_up == (1,)
    assert await fail(queue, 1) == (STEP,)


async def test_a_step_of_an_earlier_wait_is_not_sent_again_in_a_later_one(queue):
    """The count in its ID is that of a wait that is over."""
    await report_step(queue)
    await take(queue)
    await fail(queue, 1, is_last=True)
    await settle(queue)
    queue._clock.move(10_000.0)
    await put(queue, 0)
    assert queue.pending_count() == 1
    assert ask(queue, Request("retry", all=True)).over == {HOOK: 1}


async def test_a_step_whose_attempt_has_just_failed_is_superseded_even_if_it_still_seems_to_be_on_its_way(queue):
    """The failure may be recorded between the moment when a delivery looks what is on its way and the take."""
    await report_step(queue)
    await take(queue)
    await fail(queue, 1)
    await settle(queue)
    taken = await take(queue, without=[1])
    assert taken.superseded == (STEP,)
    assert [each.event.id for each in taken.events] == [END]


async def test_a_completion_supersedes_every_step_of_its_asset_if_one_waits_for_a_retry(queue):
    """Also one that was never sent, for it waits for the other: the completion would wait for both."""
    await report_step(queue)
    await take(queue)
    await fail(queue, 1)
    await put(queue, events=[event_of(ASSET, 1, Transition.OVERDUE)])
    await settle(queue)
    taken = await take(queue)
    assert taken.superseded == (STEP, f"{ASSET}.1.overdue")
    assert [each.event.id for each in taken.events] == [END]
    assert (queue.dead_letters_by_sink(), queue.outbox.owed(HOOK)) == ({HOOK: 2}, 1)


async def test_a_take_says_when_the_retry_of_a_step_is_due(queue):
    await report_step(queue)
    await take(queue)
    await fail(queue, 1)
    assert (await take(queue)).next_at == 900.0


async def test_steps_are_sent_in_the_room_that_completions_leave_and_no_more_of_them_than_may_be(queue):
    steps = [event_of(f"b{number}", 1, Transition.PLAYABLE) for number in range(3)]
    await put(queue, events=[*steps, event_of("a", 1)])
    for limit, at_most, ids in (
        (2, 9, ["a.1", "b0.1.playable"]),
        (9, 2, ["a.1", "b0.1.playable", "b1.1.playable"]),
        (1, 9, ["a.1"]),
    ):
        taken = await queue.outbox.take(
            HOOK, limit, now=50.0, until=50.0, without=(), wants=wants_all, transitions=at_most
        )
        assert [each.event.id for each in taken.events] == ids
