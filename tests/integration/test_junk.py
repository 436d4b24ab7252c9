"""A writer that fills the input with junk: what that costs is bounded, and everybody else is served."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.admin import admin_of, status_of, until_ready
from tests.integration.processes import eventually

LIMIT = 200
JUNK = ["!"] * 1500


def outcomes(path) -> Counter[str]:
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return Counter(json.loads(line)["data"]["outcome"] for line in lines)


def distinct_ids(path) -> int:
    return len({json.loads(line)["id"] for line in path.read_text().splitlines()})


async def test_an_input_of_junk_is_a_problem_that_names_it_and_the_worker_stays_ready(serve, worker):
    simulator = await serve()
    worker.submit(*JUNK)
    run = worker.run("--admin-port", "0", base_url=simulator.base_url)
    admin = await admin_of(run)
    await eventually(lambda: len(worker.events()) == len(JUNK), otherwise=lambda: run.stderr)
    assert await status_of(admin) == (200, [f"nothing but rejected lines comes from file:{worker.queue_file}"])
    logged = run.logs("intake.rejected")
    assert sum(line.get("count", 1) for line in logged) == len(JUNK)
    assert len(logged) <= 10
    assert logged[-1]["last"] == f"file:{worker.queue_file}:{len(JUNK)}"
    worker.submit(simulator.store.add(Lifecycle()))
    await until_ready(run)
    await eventually(lambda: outcomes(worker.events_file)["ready"] == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_the_intake_waits_for_a_sink_that_fails_and_goes_on_when_it_works(serve, worker):
    """Assets among the junk are watched meanwhile, and after it."""
    simulator = await serve()
    first, last = simulator.store.add(Lifecycle()), simulator.store.add(Lifecycle())
    worker.submit(first, *JUNK, last)
    target = worker.folder / "missing" / "events"
    run = worker.run(
        *("--events", target, "--admin-port", "0"), base_url=simulator.base_url, QUEUE__MAX_PENDING=str(LIMIT)
    )
    assert await run.until("intake.waiting")
    await until_ready(
        run, f"the sink file:{target} fails", "the inputs are not read on until the sinks have taken more events"
    )
    await eventually(lambda: outcomes(worker.events_file)["ready"] == 1, otherwise=lambda: run.stderr)
    assert LIMIT < outcomes(worker.events_file)["rejected"] <= LIMIT + 1
    target.parent.mkdir()
    expected = {"ready": 2, "rejected": len(JUNK)}
    await eventually(lambda: outcomes(target) == outcomes(worker.events_file) == expected, otherwise=lambda: run.stderr)
    await until_ready(run)
    assert distinct_ids(target) == len(JUNK) + 2
    await eventually(lambda: len(run.logs("intake.resumed")) == len(run.logs("intake.waiting")) > 0)
    assert {line["limit"] for line in run.logs("intake.waiting")} == {LIMIT}
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_a_run_with_once_ends_when_the_sinks_fail_and_the_next_one_reads_on(serve, worker):
    simulator = await serve()
    worker.submit(*JUNK, simulator.store.add(Lifecycle()))
    target = worker.folder / "missing" / "events"

    async def a_run():
        run = worker.start(
            *("run", "--once", "--queue-file", worker.queue_file, "--events", target, "--state-dir", worker.state),
            base_url=simulator.base_url,
            QUEUE__MAX_PENDING=str(LIMIT),
            SHUTDOWN__GRACE="1",
        )
        assert await run.end() == 1
        return run

    [stopping] = (await a_run()).logs("worker.stopping")
    assert stopping["reason"] == "the sinks fail, so the rest of the input is left to the next run"
    target.parent.mkdir()
    [stopping] = (await a_run()).logs("worker.stopping")
    assert stopping["reason"] == "done"
    assert outcomes(target) == {"ready": 1, "rejected": len(JUNK)}
    assert distinct_ids(target) == len(JUNK) + 1


async def test_a_run_with_once_that_left_input_unread_is_no_success_though_its_sink_recovers_at_the_end(serve, worker):
    simulator = await serve()
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(3)))
    target = worker.folder / "missing" / "events"
    run = worker.start(
        *("run", "--once", "--queue-file", worker.queue_file, "--events", target, "--state-dir", worker.state),
        base_url=simulator.base_url,
        QUEUE__MAX_PENDING="1",
        SHUTDOWN__GRACE="8",
    )
    await run.until("worker.stopping")
    target.parent.mkdir()
    assert (await run.end(), outcomes(target)) == (1, {"ready": 2})


async def test_what_was_read_from_stdin_is_accepted_at_the_stop_past_the_limit(serve, worker):
    simulator = await serve()
    target = worker.folder / "missing" / "events"
    arguments = ("run", "--stdin", "--events", target, "--state-dir", worker.state)
    run = worker.start(
        *arguments,
        base_url=simulator.base_url,
        stdin=subprocess.PIPE,
        QUEUE__MAX_PENDING=str(LIMIT),
        SHUTDOWN__GRACE="10",
    )
    run.process.stdin.write(b"!\n" * len(JUNK))
    run.process.stdin.flush()
    await run.until("intake.waiting")
    run.send(signal.SIGTERM)
    assert await run.end() == 0, run.stderr
    assert run.logs("intake.not_accepted") == []
    target.parent.mkdir()
    again = worker.start(*arguments, base_url=simulator.base_url)
    assert await again.end() == 1
    assert outcomes(target) == {"rejected": len(JUNK)}
