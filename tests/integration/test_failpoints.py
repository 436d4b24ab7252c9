"""A crash at a durable step, and a clock that is set: no event is lost, none is repeated.

`tests/simulation/` kills the whole worker between any two awaits, and the file sink in any system call. Here a real
process dies, with real files: when the journal is made, within a transaction and right after it, and within a write.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections import Counter
from random import Random

import pytest

from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.integration.holding import change, waiting
from tests.integration.processes import eventually

POINTS = [
    "prepare:before:1",
    "prepare:after:1",
    "commit:before:1",  # the migration
    "commit:after:1",
    "commit:before:5",
    "commit:after:5",
    "settle:after:1",
    "advance:after:1",
    "write:half:1",
    "write:half:2",
    "write:after:2",
    "sync:after:1",
]
AT_THE_END_OF_A_RUN = ["tally:before:1", "tally:after:1", "end_run:before:1", "end_run:after:1"]
"""All events are written, but the run is not over yet."""
AFTER_A_CRASH = [
    ("write:half:1", "examine:before:1"),
    ("write:half:1", "examine:after:1"),
    ("write:after:1", "examine:after:1"),
    ("write:half:2", "truncate:before:1"),
    ("write:half:2", "truncate:after:1"),
    ("write:after:2", "sync:before:1"),
    ("sync:after:2", "record:after:1"),
]
"""The first crash leaves something to repair, and the second comes in the middle of the repair."""
DONE, WAITING, REJECTED = 8, 6, 2
"""The number of lines of each kind."""


def fill(simulator, worker):
    """Submit assets that are done, assets that wait, and lines without an asset.

    Returns the IDs of all assets, and of those that wait.
    """
    done, left = [simulator.store.add(Lifecycle()) for _ in range(DONE)], waiting(simulator, WAITING)
    worker.submit(*done[:5], "no asset", *done[5:], *left, "{")
    return [*done, *left], left


async def feed(simulator, worker, run, left):
    """Let the assets end one by one, each after the events of all before it, so that there is always more to write.

    If the run has crashed, let all of them end.
    """
    count = DONE + REJECTED
    for each in left:
        await eventually(lambda count=count: run.process.poll() is not None or len(worker.events()) >= count)
        change(simulator, each)
        count += 1


def check(worker, ids):
    """Each submitted line has exactly one event."""
    lines = worker.events_file.read_bytes().splitlines()
    assert len(lines) == len(set(lines)), "a line is repeated"
    events = [json.loads(line) for line in lines]
    assert sorted(event["id"] for event in events if "subject" in event) == sorted(f"{each}.1" for each in ids)
    assert {event["data"]["outcome"] for event in events if "subject" in event} == {"ready"}
    rejected = [event["data"]["submission"]["source"] for event in events if "subject" not in event]
    assert len(rejected) == len(set(rejected)) == REJECTED


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_step_loses_and_repeats_nothing(serve, worker, point):
    simulator = await serve()
    ids, left = fill(simulator, worker)
    crashing = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
    await feed(simulator, worker, crashing, left)
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    change(simulator, *left)
    assert await worker.run("--once", base_url=simulator.base_url).end() in {0, 1}
    check(worker, ids)


@pytest.mark.parametrize("point", AT_THE_END_OF_A_RUN)
async def test_a_crash_at_the_end_of_a_run_does_not_change_its_exit_code(serve, worker, point):
    """Rejected lines count for the exit code although the process that wrote their events has crashed."""
    simulator = await serve()
    ids, left = fill(simulator, worker)
    change(simulator, *left)
    crashing = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    assert await worker.run("--once", base_url=simulator.base_url).end() == 1
    check(worker, ids)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0


@pytest.mark.parametrize(("first", "second"), AFTER_A_CRASH)
async def test_a_crash_during_the_repair_after_a_crash_loses_and_repeats_nothing(serve, worker, first, second):
    simulator = await serve()
    ids, left = fill(simulator, worker)
    for point in (first, second):
        crashing = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
        await feed(simulator, worker, crashing, left)
        assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    assert await worker.run("--once", base_url=simulator.base_url).end() in {0, 1}
    check(worker, ids)


async def test_a_crash_while_the_schedule_is_stored_leaves_the_earlier_one(serve, worker):
    simulator = await serve()
    _, left = fill(simulator, worker)
    change(simulator, *left)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 1
    path = worker.state / "schedule.msgpack"
    before = path.read_bytes()
    worker.submit(simulator.store.add(Lifecycle()))
    crashing = worker.run(
        "--once", base_url=simulator.base_url, program=("tests.integration.failpoints", "draft:after:1")
    )
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    assert path.read_bytes() == before
    again = worker.run("--once", base_url=simulator.base_url)
    assert await again.end() == 0
    assert again.logs("schedule.unreadable") == []


@pytest.mark.parametrize("step", ["86400", "-86400"])
async def test_a_clock_that_is_set_ends_no_wait_and_loses_nothing(serve, worker, step):
    simulator, now = await serve(), worker.folder / "now"
    done, left = simulator.store.add(Lifecycle()), waiting(simulator, 2)
    worker.submit(done, *left)
    run = worker.run(
        "--once",
        base_url=simulator.base_url,
        program=("tests.integration.failpoints", f"clock:{step}:{now}"),
        POLL__DEADLINE="600",
    )
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    await looked_at_again(simulator, left, run)
    now.touch()
    await looked_at_again(simulator, left, run)
    change(simulator, *left)
    assert await run.end() == 0
    assert sorted(event["subject"] for event in worker.events()) == sorted([done, *left])


async def looked_at_again(simulator, ids, run):
    """Wait until each asset has been looked at three more times."""
    before = Counter(simulator.stats.looks)
    await eventually(
        lambda: all(simulator.stats.looks[each] >= before[each] + 3 for each in ids), otherwise=lambda: run.stderr
    )


@pytest.mark.parametrize("step", ["-86400", "86400"])
async def test_a_clock_that_is_set_while_no_worker_runs_ends_no_wait_and_loses_nothing(serve, worker, step):
    """One asset is processing, and a rendition of another; afterwards the clock is right again."""
    simulator = await serve()
    done = simulator.store.add(Lifecycle())
    ids = [*waiting(simulator, 1), simulator.store.add(Lifecycle(hls=Rendition(math.inf)))]
    deadlines = {"POLL__DEADLINE": "600", "POLL__RENDITION_DEADLINE": "600", "POLL__NOT_FOUND_GRACE": "600"}
    worker.submit(done, *ids)
    run = worker.run(base_url=simulator.base_url, **deadlines)
    await eventually(
        lambda: {line["asset_id"] for line in run.logs("asset.changed")} == {done, *ids}, otherwise=lambda: run.stderr
    )
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    stepped = worker.run(
        "--once", base_url=simulator.base_url, program=("tests.integration.failpoints", f"clock:{step}:"), **deadlines
    )
    assert (await stepped.until("worker.started"))["pending"] == len(ids)
    await looked_at_again(simulator, ids, stepped)
    change(simulator, *ids, to=Lifecycle(hls=Rendition()))
    assert await stepped.end() == 0
    assert await worker.run("--once", base_url=simulator.base_url, **deadlines).end() == 0
    events = worker.events()
    assert sorted(event["id"] for event in events) == sorted(f"{each}.1" for each in (done, *ids))
    assert {event["data"]["outcome"] for event in events} == {"ready"}


@pytest.mark.parametrize("seed", range(4))
async def test_after_a_power_loss_the_synced_part_of_the_journal_is_enough(serve, worker, seed):
    """Unsynced data is gone: the log ends anywhere. Settled assets may repeat their events, with the same IDs."""
    random = Random(seed)
    simulator = await serve()
    ids, left = fill(simulator, worker)
    run = worker.run(base_url=simulator.base_url)
    await feed(simulator, worker, run, left[:seed])
    await eventually(lambda: len(worker.events()) == DONE + REJECTED + seed, otherwise=lambda: run.stderr)
    run.send(signal.SIGKILL)
    await run.end()
    change(simulator, *left)
    log = worker.state / "journal.sqlite3-wal"
    os.truncate(log, random.randrange(log.stat().st_size + 1))
    shutil.rmtree(worker.state / "lock", ignore_errors=True)
    assert await worker.run("--once", base_url=simulator.base_url).end() in {0, 1}
    events = worker.events()
    assert {event["id"] for event in events if "subject" in event} == {f"{each}.1" for each in ids}
    assert {event["data"]["outcome"] for event in events if "subject" in event} == {"ready"}
