"""Webhooks from the real command to real receivers: every event arrives, signed, under one id."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.signatures import secret_text
from tests.integration.admin import admin_of, status_of
from tests.integration.processes import eventually
from tests.integration.webhooks import SECRET, Hooks, receiver_of, receiving

DONE = Lifecycle()


@pytest.fixture
async def simulator(serve):
    return await serve(time_scale=300, seed=1, receiver=receiving(seed=1))


@pytest.fixture
def hooks(simulator, worker):
    return Hooks(simulator, worker.folder)


def submit(simulator, worker, count):
    """Submit assets that are ready; returns the ids of their events."""
    ids = [simulator.store.add(DONE) for _ in range(count)]
    worker.submit(*ids)
    return [f"{each}.1" for each in ids]


async def received(hooks, count, run):
    """Wait until the receiver has accepted so many events."""
    await eventually(lambda: len(hooks.accepted()) >= count, otherwise=lambda: run.stderr)


async def until_problem(run, *words):
    """Wait until `/readyz` reports one problem with these words; without words: none."""
    admin = await admin_of(run)
    for _ in range(600):
        status, problems = await status_of(admin)
        is_wanted = [all(word in each for word in words) for each in problems] == [True] * bool(words)
        if is_wanted and status == (503 if words else 200):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{status} {problems} instead of {words}: {run.stderr[-4000:]}")


@pytest.mark.parametrize("way", ["sighup", "restart"])
async def test_a_410_pauses_the_sink_until_it_is_resumed(simulator, worker, hooks, way):
    hooks.receiver.faults.replace("gone")
    events = submit(simulator, worker, 20)
    start = partial(worker.run, "--admin-port", "0", base_url=simulator.base_url, webhooks=[hooks.table()])
    run = start()
    assert (await run.until("sink.paused"))["sink"] == "hooks"
    await until_problem(run, "hooks", "paused")
    shown = worker.start("status", "--state-dir", worker.state)
    assert await shown.end() == 0
    assert b"paused" in shown.stdout
    await eventually(lambda: len(worker.events()) == 20, otherwise=lambda: run.stderr)
    hooks.receiver.faults.replace()
    before = hooks.receiver.deliveries.requests
    await asyncio.sleep(2)
    assert (hooks.receiver.deliveries.requests, hooks.accepted()) == (before, [])
    match way:
        case "sighup":
            run.send(signal.SIGHUP)
        case "restart":
            run.send(signal.SIGTERM)
            assert await run.end() == 0
            run = start()
    await received(hooks, 20, run)
    await until_problem(run)
    assert sorted(hooks.accepted()) == sorted(events)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert hooks.wrong(worker) == []


async def test_the_retry_plan_goes_on_after_a_kill(simulator, worker, hooks):
    """A new process neither sends an event before it is due, nor begins with the plan's first step."""
    hooks.receiver.faults.replace("status=500")
    [event] = submit(simulator, worker, 1)
    start = partial(worker.run, base_url=simulator.base_url, webhooks=[hooks.table(retry=["0.1s", "4s"])])
    run = start()
    await eventually(lambda: len(run.logs("sink.attempt_failed")) == 2, otherwise=lambda: run.stderr)
    failed_at = time.monotonic()
    run.send(signal.SIGKILL)
    await run.end()
    hooks.receiver.faults.replace()
    run = start()
    await received(hooks, 1, run)
    assert time.monotonic() - failed_at > 3.5
    assert [(each.id, each.attempts) for each in hooks.receiver.deliveries.events()] == [(event, 3)]


async def test_no_request_is_refused_while_a_secret_is_replaced(simulator, worker, hooks):
    """The three steps of docs/webhooks.md, while the worker runs and sends."""
    deliveries = hooks.receiver.deliveries
    run = worker.run(base_url=simulator.base_url, webhooks=[hooks.table()])
    await run.until("worker.started")
    events = []
    for step in range(3):
        hooks.rotate()
        for _ in range(3):
            await asyncio.sleep(0.7)
            events += submit(simulator, worker, 5)
        await received(hooks, len(events), run)
        assert deliveries.bad_signatures == 0, f"step {step + 1}"
    assert hooks.receiver.secrets != (SECRET,)
    assert sorted(hooks.accepted()) == sorted(events)


async def test_the_secrets_in_use_stay_while_their_file_is_missing_or_damaged(simulator, worker, hooks):
    run = worker.run(base_url=simulator.base_url, webhooks=[hooks.table()])
    await run.until("worker.started")
    events = []
    for damage in (hooks.file.unlink, lambda: hooks.file.write_text("junk\n"), lambda: hooks.file.write_text("")):
        damage()
        await asyncio.sleep(1.2)
        events += submit(simulator, worker, 3)
        await received(hooks, len(events), run)
    assert hooks.receiver.deliveries.bad_signatures == 0
    assert run.process.poll() is None
    assert secret_text(SECRET) not in run.stderr


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_only_the_wanted_outcomes_are_sent_in_either_mode(simulator, worker, hooks, mode):
    worker.submit(simulator.store.add(DONE), simulator.store.add(Lifecycle(0, "failed")), "no asset", "f" * 24)
    wanted = ["failed", "rejected"]
    run = worker.run(
        "--once",
        base_url=simulator.base_url,
        webhooks=[hooks.table(mode=mode, outcomes=wanted)],
        POLL__NOT_FOUND_GRACE="0.5",
    )
    assert await run.end() == 1
    received = hooks.receiver.deliveries.events()
    assert sorted(event.type.rsplit(".", 1)[1] for event in received) == wanted
    assert {event.mode for event in received} == {mode}
    assert {event.id for event in received} < {event["id"] for event in worker.events()}
    assert hooks.receiver.deliveries.bad_signatures == 0


async def test_a_dead_endpoint_does_not_hold_up_a_good_one(simulator, serve, worker, hooks):
    """The dead one is down, and named as a problem; the good one has all events; both have all in the end."""
    other = await serve(receiver=receiving())
    dead = Hooks(other, worker.folder, name="dead")
    dead.receiver.faults.replace("hang")
    events = submit(simulator, worker, 60)
    tables = [hooks.table(), dead.table(timeout="0.5s")]
    run = worker.run("--admin-port", "0", base_url=simulator.base_url, webhooks=tables)
    await received(hooks, 60, run)
    failed = await run.until("sink.failed")
    assert failed["sink"] == "dead"
    await until_problem(run, "dead", "down")
    later = submit(simulator, worker, 10)
    await received(hooks, 70, run)
    assert dead.accepted() == []
    dead.receiver.faults.replace()
    await received(dead, 70, run)
    assert sorted(dead.accepted()) == sorted(hooks.accepted()) == sorted(events + later)
    await until_problem(run)
    assert [line["sink"] for line in run.logs("sink.recovered")] == ["dead"]


async def test_events_of_one_asset_keep_their_order(simulator, worker, hooks):
    """The second event waits until the first is delivered, however often that fails; other assets don't wait."""
    hooks.receiver.faults.replace("status=500")
    [first] = submit(simulator, worker, 1)
    run = worker.run(base_url=simulator.base_url, webhooks=[hooks.table()], QUEUE__DEDUPE_WINDOW="0.2")
    asset_id = first.removesuffix(".1")
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    await asyncio.sleep(0.5)
    while len(worker.events()) < 2:
        worker.submit(asset_id)
        await asyncio.sleep(0.3)
    hooks.receiver.faults.replace()
    await received(hooks, 2, run)
    assert hooks.accepted()[:2] == [first, f"{asset_id}.2"]
    assert hooks.receiver.deliveries.events()[1].attempts == 1


async def test_dead_letters_are_sent_again_beside_a_running_worker(simulator, worker, hooks):
    hooks.receiver.faults.replace("status=500")
    events = submit(simulator, worker, 8)
    run = worker.run(base_url=simulator.base_url, webhooks=[hooks.table(retry=[])])
    await eventually(lambda: len(run.logs("sink.dead_letter")) == 8, otherwise=lambda: run.stderr)
    hooks.receiver.faults.replace()
    one = worker.start("dead-letters", "retry", events[0], "--state-dir", worker.state)
    assert await one.end() == 0
    await eventually(lambda: hooks.accepted() == [events[0]], otherwise=lambda: run.stderr)
    rest = worker.start("dead-letters", "retry", "--all", "--state-dir", worker.state)
    assert await rest.end() == 0
    await received(hooks, 8, run)
    assert sorted(hooks.accepted()) == sorted(events)
    assert hooks.receiver.deliveries.repeats == 0
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert hooks.wrong(worker) == []


async def test_the_example_receiver_takes_what_the_worker_sends(simulator, worker, hooks, example):
    """The receiver that people copy, as a process, with the secret of the worker."""
    await example.start(secret=secret_text(SECRET))
    events = submit(simulator, worker, 5)
    run = worker.run("--once", base_url=simulator.base_url, webhooks=[hooks.table(url=example.url)])
    assert await run.end() == 0
    assert sorted(example.kept()) == sorted(events)
    await eventually(lambda: len(example.handled()) == 5, otherwise=example.output.read_text)
    assert receiver_of(simulator).deliveries.requests == 0
