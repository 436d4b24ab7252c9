"""Terminals and pipes that nobody reads: they hold up their own output, and nothing else."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pty
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import suppress

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually

ABSENT = "dead00000000000000000009"


class Terminal:
    """A terminal that is stopped (Ctrl-S)."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)
        self.shown = b""
        termios.tcflow(self.slave, termios.TCOOFF)

    def resume(self) -> None:
        termios.tcflow(self.slave, termios.TCOON)

    def read(self) -> bytes:
        try:
            while more := os.read(self.master, 65_536):
                self.shown += more
        except OSError:
            pass
        return self.shown

    def close(self) -> None:
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    it = Terminal()
    yield it
    it.close()


@pytest.mark.parametrize("log_format", [None, "json"], ids=["a live display", "a log"])
async def test_a_worker_on_a_stopped_terminal_works_and_stops(serve, worker, terminal, log_format):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(200)]
    formats = ["--log-format", log_format] if log_format else []
    worker.submit()
    run = worker.run(*formats, base_url=simulator.base_url, redirect=f"2>{terminal.path}")
    for first in range(0, 200, 20):
        worker.submit(*ids[first : first + 20])
        await asyncio.sleep(0.1)
    await eventually(lambda: len(worker.events()) == 200)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_a_terminal_that_goes_on_shows_its_lines_and_the_newest_state(serve, worker, terminal):
    simulator = await serve()
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(3000)))
    run = worker.run(base_url=simulator.base_url, redirect=f"2>{terminal.path}")
    await eventually(lambda: len(worker.events()) == 3000)
    terminal.resume()
    await eventually(lambda: b"log.dropped" in terminal.read())
    await eventually(lambda: b"3000/3000 done" in terminal.read())
    run.send(signal.SIGTERM)
    await eventually(lambda: b"worker.stopped" in terminal.read())
    assert await run.end() == 0


async def test_every_line_for_a_reader_that_pauses_is_read_or_counted(serve, worker):
    simulator = await serve()
    pipe = worker.folder / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run = worker.run(base_url=simulator.base_url, redirect=f"2>{pipe}")
        for accepted in range(1000, 5001, 1000):  # of that many at once, each has a line of its own
            worker.submit(*(simulator.store.add(Lifecycle(ends_after=math.inf)) for _ in range(1000)))
            await eventually(lambda accepted=accepted: len(simulator.stats.looks) == accepted)
        log = b""

        def read() -> bytes:
            nonlocal log
            with suppress(BlockingIOError):
                log += os.read(reader, 65_536)
            return log

        await eventually(lambda: b"log.dropped" in read())
        run.send(signal.SIGTERM)
        await eventually(lambda: b"worker.stopped" in read())
        assert await run.end() == 0
    finally:
        os.close(reader)
    lines = [json.loads(line) for line in log.splitlines()]
    assert len(lines) > 1000
    dropped = sum(line["lines"] for line in lines if line["event"] == "log.dropped")
    # Each asset has one line, `asset.changed`; a few lines are about other things.
    assert 5000 <= len(lines) + dropped <= 5000 + 100


async def test_wait_ends_when_its_time_is_over_on_a_stopped_terminal(serve, worker, terminal):
    simulator = await serve()
    arguments = ("wait", ABSENT, "--timeout", "1")
    run = worker.start(*arguments, base_url=simulator.base_url, redirect=f"2>{terminal.path}")
    assert await run.end(within=20) == 4


async def test_wait_ends_although_its_events_are_not_read(serve, worker, terminal):
    """With exit code 1: nobody has the event."""
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    run = worker.start(
        "wait", asset_id, base_url=simulator.base_url, redirect=f">{terminal.path} 2>&1", SHUTDOWN__GRACE="1"
    )
    assert await run.end(within=20) == 1
    terminal.resume()
    assert b"ready" not in terminal.read()


async def test_a_service_whose_events_are_not_read_keeps_them_and_stops_within_its_grace(serve, worker, terminal):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(100)]
    worker.submit(*ids)
    redirect = f">{terminal.path} 2>&1"
    run = worker.run("--events", "-", base_url=simulator.base_url, redirect=redirect, SHUTDOWN__GRACE="1")
    await eventually(lambda: len(worker.events()) == 100)  # the other sink is not held up
    run.send(signal.SIGTERM)
    assert await run.end(within=20) == 0
    again = worker.run("--events", "-", "--once", base_url=simulator.base_url)
    assert await again.end() == 0
    assert {event["subject"] for event in again.events()} == set(ids)


async def test_a_run_once_waits_for_a_slow_reader_of_its_events(serve, worker):
    """As any other program in a pipe: its reader may be slow, and gets everything."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(200)]
    worker.submit(*ids)
    redirect = "2>log | { sleep 3; cat >slow; }"
    run = worker.run("--events", "-", "--once", base_url=simulator.base_url, redirect=redirect, SHUTDOWN__GRACE="1")
    await run.end()
    lines = (worker.folder / "slow").read_bytes().splitlines()
    assert {json.loads(line)["subject"] for line in lines} == set(ids)


async def test_a_terminal_that_is_gone_does_not_end_the_work(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(2)]
    terminal = Terminal()
    terminal.resume()
    worker.submit(ids[0])
    run = worker.run(base_url=simulator.base_url, redirect=f"2>{terminal.path}")
    await eventually(lambda: len(worker.events()) == 1 and b"ready" in terminal.read())
    terminal.close()
    worker.submit(ids[1])
    await eventually(lambda: len(worker.events()) == 2)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_a_simulator_whose_ids_are_not_read_stops(worker, terminal):
    run = worker.start("simulate", "--port", "0", "--assets", "5000", redirect=f">{terminal.path}")
    await asyncio.sleep(3)
    run.send(signal.SIGTERM)
    assert await run.end(within=20) in {0, -signal.SIGTERM}  # the latter: a busy machine was still loading it
