"""Death at every durable step, and a clock that steps: nothing lost, nothing told twice."""

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
    "commit:before:2",
    "commit:after:2",
    "commit:before:4",
    "commit:after:4",
    "commit:before:5",
    "commit:after:5",
    "accept:after:1",
    "position:before:1",
    "position:after:1",
    "settle:before:1",
    "settle:after:1",
    "settle:after:5",
    "outbox:before:2",
    "outbox:after:2",
    "advance:before:1",
    "advance:after:1",
    "advance:before:3",
    "progress:after:1",
    "read:after:1",
    "write:before:1",
    "write:half:1",
    "write:after:1",
    "write:half:2",
    "write:after:2",
    "sync:before:1",
    "sync:after:1",
    "record:before:2",
    "record:after:2",
    "send:after:2",
    "keep:before:1",
    "keep:after:1",
    "draft:before:1",
    "draft:after:1",  # between the write of what was learned and its rename
    "begin_run:before:1",
    "begin_run:after:1",
    "prune:before:1",
    "prune:after:1",
]
AT_THE_END = ["tally:before:1", "tally:after:1", "end_run:before:1", "end_run:after:1"]
"""All is told, and the plan is not over yet."""
AFTER_A_DEATH = [
    ("write:half:1", "examine:before:1"),
    ("write:half:1", "examine:after:1"),
    ("write:after:1", "examine:after:1"),
    ("write:half:2", "truncate:before:1"),
    ("write:half:2", "truncate:after:1"),
    ("write:after:2", "sync:before:1"),
    ("sync:after:2", "record:after:1"),
]
"""Where the first death leaves something to repair, and the second comes in the middle of that."""
DONE, WAITING, REJECTED = 8, 6, 2
"""Lines of each kind."""


def fill(simulator, worker):
    """Some done already, some that wait, and lines that hold no asset; the IDs of all, and of those that wait."""
    done, left = [simulator.store.add(Lifecycle()) for _ in range(DONE)], waiting(simulator, WAITING)
    worker.submit(*done[:5], "no asset", *done[5:], *left, "{")
    return [*done, *left], left


async def feed(simulator, worker, run, left):
    """Let one after the other end, each when all that ended before it is told, so that there is always more to write.

    Where the run has died, all of them end.
    """
    told = DONE + REJECTED
    for each in left:
        await eventually(lambda told=told: run.process.poll() is not None or len(worker.events()) >= told)
        change(simulator, each)
        told += 1


def check(worker, ids):
    """Each line has its one event, and no line is repeated."""
    lines = worker.events_file.read_bytes().splitlines()
    assert len(lines) == len(set(lines)), "a line is repeated"
    events = [json.loads(line) for line in lines]
    assert sorted(event["id"] for event in events if "subject" in event) == sorted(f"{each}.1" for each in ids)
    assert {event["data"]["outcome"] for event in events if "subject" in event} == {"ready"}
    rejected = [event["data"]["submission"]["source"] for event in events if "subject" not in event]
    assert len(rejected) == len(set(rejected)) == REJECTED


@pytest.mark.parametrize("point", POINTS)
async def test_it_may_die_at_any_step(serve, worker, point):
    simulator = await serve()
    ids, left = fill(simulator, worker)
    dying = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
    if not point.startswith("progress"):  # which is saved once a second, while something waits
        await feed(simulator, worker, dying, left)
    assert await dying.end() == -signal.SIGKILL, dying.stderr
    change(simulator, *left)
    assert await worker.run("--once", base_url=simulator.base_url).end() in {0, 1}
    check(worker, ids)


@pytest.mark.parametrize("point", AT_THE_END)
async def test_a_death_while_the_errand_ends_takes_nothing_from_its_exit_code(serve, worker, point):
    """The lines that hold no asset count in the run that ends it, though they were told by the one that died."""
    simulator = await serve()
    ids, left = fill(simulator, worker)
    change(simulator, *left)
    dying = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
    assert await dying.end() == -signal.SIGKILL, dying.stderr
    assert await worker.run("--once", base_url=simulator.base_url).end() == 1
    check(worker, ids)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0


@pytest.mark.parametrize(("first", "second"), AFTER_A_DEATH)
async def test_it_may_die_while_it_repairs_what_a_death_has_left(serve, worker, first, second):
    simulator = await serve()
    ids, left = fill(simulator, worker)
    for point in (first, second):
        dying = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
        await feed(simulator, worker, dying, left)
        assert await dying.end() == -signal.SIGKILL, dying.stderr
    assert await worker.run("--once", base_url=simulator.base_url).end() in {0, 1}
    check(worker, ids)


async def test_a_death_while_the_schedule_is_kept_leaves_the_one_kept_before(serve, worker):
    simulator = await serve()
    _, left = fill(simulator, worker)
    change(simulator, *left)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 1
    kept = worker.state / "schedule.msgpack"
    before = kept.read_bytes()
    worker.submit(simulator.store.add(Lifecycle()))
    dying = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", "draft:after:1"))
    assert await dying.end() == -signal.SIGKILL, dying.stderr
    assert kept.read_bytes() == before
    again = worker.run("--once", base_url=simulator.base_url)
    assert await again.end() == 0
    assert again.logs("schedule.unreadable") == []


async def test_it_may_die_at_the_same_step_again_and_again(serve, worker):
    """No progress in between but what is durable. Before each run one more asset has ended, as long as one waits."""
    simulator = await serve()
    ids, left = fill(simulator, worker)
    for number, point in enumerate(("write:half:1", "write:after:1", "settle:after:1", "commit:before:2") * 2):
        change(simulator, *left[number : number + 1])
        dying = worker.run("--once", base_url=simulator.base_url, program=("tests.integration.failpoints", point))
        await dying.end()
    assert await worker.run("--once", base_url=simulator.base_url).end() in {0, 1}
    check(worker, ids)


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
    """Once each asset has been looked at a few times more than until now."""
    before = Counter(simulator.stats.looks)
    await eventually(
        lambda: all(simulator.stats.looks[each] >= before[each] + 3 for each in ids), otherwise=lambda: run.stderr
    )


@pytest.mark.parametrize(("step", "ample"), [("-86400", "600"), ("86400", "864000")])
async def test_a_clock_that_is_set_while_no_worker_runs_ends_no_wait_and_loses_nothing(serve, worker, step, ample):
    """One asset still processes, of another a rendition does; afterwards the clock is right again."""
    # Across restarts an age is what the wall clock says: a step forward of a day takes a day from every deadline, so
    # only one that is longer still holds. A step back gives time, and never an age below nothing.
    simulator = await serve()
    done = simulator.store.add(Lifecycle())
    ids = [*waiting(simulator, 1), simulator.store.add(Lifecycle(hls=Rendition(math.inf)))]
    deadlines = {"POLL__DEADLINE": ample, "POLL__RENDITION_DEADLINE": ample, "POLL__NOT_FOUND_GRACE": ample}
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


async def test_sigterm_at_any_moment_is_a_stop_in_order(serve, worker):
    random = Random(5)
    simulator = await serve(time_scale=5)
    ids = [simulator.store.add(Lifecycle(random.uniform(0, 20))) for _ in range(100)]
    worker.submit(*ids)
    for _ in range(6):
        run = worker.run(base_url=simulator.base_url)
        await run.until("worker.started")
        already = len(run.logs())
        wanted = already + random.randrange(60)
        await eventually(lambda run=run, wanted=wanted: len(run.logs()) >= wanted or len(worker.events()) == 100)
        run.send(signal.SIGTERM)
        assert await run.end() == 0
        assert run.logs("worker.stopped")[0]["outbox_depth"] == 0
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    lines = worker.events_file.read_bytes().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(f"{each}.1" for each in ids)


@pytest.mark.parametrize("seed", range(4))
async def test_what_a_power_loss_leaves_of_the_journal_is_enough(serve, worker, seed):
    """What was not synced is gone: the log ends anywhere. What was settled may be told again, under its ID."""
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
