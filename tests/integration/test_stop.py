"""Signals: what a stop waits for and what not, and stops that come early or twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from random import Random

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.holding import hold_answers
from tests.integration.processes import eventually

MANY = 200
"""More events than a pipe holds: each has about 800 bytes, a pipe 64 KiB."""


def whole_lines(pipe):
    """The event IDs that a reader finds in a pipe whose writer is gone."""
    os.set_blocking(pipe, False)
    found = b""
    while block := os.read(pipe, 65_536):
        found += block
    return {json.loads(line)["id"] for line in found.splitlines(keepends=True) if line.endswith(b"\n")}


async def test_a_retrieve_in_flight_at_the_stop_is_finished_and_its_event_written(serve, worker):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    release_answers = hold_answers(simulator)
    worker.submit(asset_id)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: simulator.stats.in_flight == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    await run.until("worker.stopping")
    assert worker.events() == []
    release_answers()
    assert await run.end() == 0
    assert [event["id"] for event in worker.events()] == [f"{asset_id}.1"]
    [stopped] = run.logs("worker.stopped")
    assert (stopped["pending"], stopped["outbox_depth"]) == (0, 0)
    assert simulator.stats.requests == 1


async def test_a_list_in_flight_at_the_stop_loses_nothing(serve, worker):
    """The next start may have to confirm what it shows."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    release_answers = hold_answers(simulator)
    worker.submit(*ids)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: simulator.stats.in_flight > 0, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    await run.until("worker.stopping")
    release_answers()
    assert await run.end() == 0
    [stopped] = run.logs("worker.stopped")
    assert stopped["pending"] == len(ids) - len(worker.events())
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in ids)


async def test_a_look_that_takes_longer_than_the_grace_is_given_up_and_its_asset_stays_pending(serve, worker):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    simulator.set_faults("hang")
    worker.submit(asset_id)
    run = worker.run(base_url=simulator.base_url, SHUTDOWN__GRACE="1", API__TIMEOUT="300")
    await eventually(lambda: simulator.stats.in_flight == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert run.logs("worker.stopped")[0]["pending"] == 1
    assert worker.events() == []
    simulator.set_faults()
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert [event["id"] for event in worker.events()] == [f"{asset_id}.1"]


async def test_a_second_signal_ends_it_at_once_while_a_reader_blocks_stdout(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(MANY)]
    worker.submit(*ids)
    run = worker.run("--events", "-", base_url=simulator.base_url, stdout=subprocess.PIPE, SHUTDOWN__GRACE="300")
    await eventually(lambda: len(worker.events()) == MANY, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    await run.until("worker.stopping")
    await asyncio.sleep(0.5)
    assert run.process.poll() is None
    run.send(signal.SIGTERM)
    assert await run.end() == 128 + signal.SIGTERM
    taken = whole_lines(run.process.stdout.fileno())
    run.process.stdout.close()
    again = worker.run("--events", "-", "--once", base_url=simulator.base_url)
    assert await again.end() == 0
    assert taken | {event["id"] for event in again.events()} == {f"{each}.1" for each in ids}
    assert len(worker.events()) == MANY


async def test_a_second_signal_ends_it_at_once_while_a_reader_blocks_a_named_pipe(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(MANY)]
    worker.submit(*ids)
    os.mkfifo(worker.events_file)
    reader = os.open(worker.events_file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run = worker.run(base_url=simulator.base_url, SHUTDOWN__GRACE="300")
        await eventually(lambda: len(run.logs("asset.completed")) == MANY, otherwise=lambda: run.stderr)
        run.send(signal.SIGINT)
        await run.until("worker.stopping")
        await asyncio.sleep(0.5)
        assert run.process.poll() is None
        run.send(signal.SIGINT)
        assert await run.end() == 128 + signal.SIGINT
        taken = whole_lines(reader)
    finally:
        os.close(reader)
    worker.events_file.unlink()
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert taken | {event["id"] for event in worker.events()} == {f"{each}.1" for each in ids}


@pytest.mark.new_interpreter
async def test_sigterm_at_any_moment_of_the_start_ends_it_and_loses_nothing(serve, worker):
    """Before our code runs, the signal ends the process as any other; from then on, it is an orderly stop."""
    random = Random(10)
    simulator = await serve(time_scale=5)
    ids = [simulator.store.add(Lifecycle(random.uniform(0, 10))) for _ in range(60)]
    left = list(ids)
    for number in range(10):
        worker.submit(*left[:6])
        del left[:6]
        run = worker.run(base_url=simulator.base_url)
        if number == 0:
            began = asyncio.get_running_loop().time()
            await run.until("worker.started")
            takes = asyncio.get_running_loop().time() - began
        else:
            await asyncio.sleep(random.uniform(0, 1.3 * takes))
        run.send(signal.SIGTERM)
        code = await run.end()
        assert code in ({0} if run.logs("worker.started") else {0, -signal.SIGTERM}), run.stderr
        assert "Traceback" not in run.stderr
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in ids)


async def test_a_log_that_nobody_reads_blocks_nothing(serve, worker):
    """A collector that hangs loses log lines; once it reads again, the log says how many."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(2000)]
    pipe = worker.folder / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        worker.submit(*ids)
        run = worker.run(base_url=simulator.base_url, redirect=f"2>{pipe}")
        await eventually(lambda: len(worker.events()) == len(ids))
        log = b""
        while b"log.dropped" not in log:
            with suppress(BlockingIOError):
                log += os.read(reader, 1 << 16)
            worker.submit("another")
            await asyncio.sleep(0.02)
        run.send(signal.SIGTERM)
        assert await run.end() == 0
    finally:
        os.close(reader)


async def test_a_journal_that_another_process_locks_delays_the_stop_by_the_grace_at_most(serve, worker):
    simulator = await serve()
    run = worker.run(base_url=simulator.base_url, SHUTDOWN__GRACE="2")
    await run.until("worker.started")
    with closing(sqlite3.connect(worker.state / "journal.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        worker.submit(simulator.store.add(Lifecycle()))
        await run.until("journal.failed")
        run.send(signal.SIGTERM)
        assert await run.end() == 0


@pytest.mark.parametrize("at", ["worker.stopping", "worker.stopped"])
async def test_a_signal_at_the_end_of_a_run_does_not_change_its_exit_code(serve, worker, at):
    """The run is complete, and says so."""
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    run = worker.run("--once", base_url=simulator.base_url)
    await run.until(at)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert run.logs("worker.stopped")
