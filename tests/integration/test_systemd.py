"""The worker under systemd, which is played by a socket: what it reports, and what becomes of a worker that hangs."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import ROOT, Run, Worker, eventually
from tests.programs import program

NEVER = Lifecycle(100_000)


class Manager(asyncio.DatagramProtocol):
    """A service manager that keeps what it is sent."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: list[tuple[float, list[str]]] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received.append((time.monotonic(), data.decode().split("\n")))

    @property
    def lines(self) -> list[str]:
        return [line for _, lines in self.received for line in lines]

    @property
    def status(self) -> str:
        return next((line for line in reversed(self.lines) if line.startswith("STATUS=")), "")

    def times(self, line: str) -> list[float]:
        return [at for at, lines in self.received if line in lines]

    async def until(self, line: str, run: Run) -> None:
        """Wait until an assignment that matches the pattern has come."""
        await eventually(
            lambda: any(re.fullmatch(line, each) for each in self.lines),
            otherwise=lambda: f"{self.lines}\n{run.stderr}",
        )

    def environment(self, *, watchdog: float | None = None) -> str:
        """What systemd sets, as shell code."""
        usec = "" if watchdog is None else f"WATCHDOG_USEC={watchdog * 1e6:.0f} WATCHDOG_PID=$$"
        return f"export NOTIFY_SOCKET='{self.address}' {usec};"


@pytest.fixture(params=["path"])
async def manager(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(address.replace("@", "\0"))
    listening.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Manager(address), sock=listening
    )
    yield protocol
    transport.close()


async def test_a_service_reports_from_its_start_to_its_end(serve, worker: Worker, manager: Manager):
    """It is ready before its queue file is there, shows what is wrong, and reloads."""
    simulator = await serve()
    run = worker.run(base_url=simulator.base_url, before=manager.environment())
    await manager.until("READY=1", run)
    assert (await run.until("worker.started"))["pending"] == 0
    assert manager.status == "STATUS=0 pending"
    assert not worker.queue_file.exists()

    simulator.key = "another"
    worker.submit(simulator.store.add(NEVER))
    await manager.until(
        r"STATUS=1 pending, oldest \d+ s; problem: the API refuses the key \(since \d\d:\d\d:\d\d UTC\)", run
    )

    manager.received.clear()
    asked_at = time.clock_gettime(time.CLOCK_MONOTONIC)
    run.send(signal.SIGHUP)
    await manager.until("READY=1", run)
    [at] = [each for each in manager.lines if each.startswith("MONOTONIC_USEC=")]
    assert asked_at <= int(at.removeprefix("MONOTONIC_USEC=")) / 1e6 + 1e-6
    assert int(at.removeprefix("MONOTONIC_USEC=")) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)
    assert manager.lines.index("RELOADING=1") < manager.lines.index("READY=1")
    await run.until("worker.reloaded")

    manager.received.clear()
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert manager.lines[0] == "STOPPING=1"
    assert manager.status.startswith("STATUS=stopping: 1 pending")
    assert "READY=1" not in manager.lines


async def test_a_loop_that_hangs_sends_no_sign_of_life_and_the_next_process_does_its_work(serve, worker, manager):
    """systemd then sends SIGABRT and starts the worker again. The log says where it hung, and there is no core."""
    simulator = await serve()
    hangs = worker.folder / "hang"
    run = worker.run(
        base_url=simulator.base_url,
        program=("tests.integration.failpoints", f"hang:{hangs}"),
        before=f"ulimit -c 0; {manager.environment(watchdog=1.0)}",
    )
    asset_id = simulator.store.add(Lifecycle())
    await manager.until("READY=1", run)
    await eventually(lambda: len(manager.times("WATCHDOG=1")) > 3, otherwise=lambda: run.stderr)
    hangs.touch()
    await eventually(lambda: not hangs.exists(), otherwise=lambda: run.stderr)
    worker.submit(asset_id)
    await eventually(lambda: time.monotonic() - manager.times("WATCHDOG=1")[-1] > 1.0)
    run.send(signal.SIGABRT)
    assert await run.end() == -signal.SIGABRT
    assert "in look" in run.stderr, "the trace of each thread"
    assert simulator.stats.requests == 0

    again = worker.run(base_url=simulator.base_url, before=manager.environment(watchdog=1.0))
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: again.stderr)


async def test_a_disk_that_hangs_does_not_hang_the_loop_and_is_reported(serve, worker, manager):
    """A restart would not help: systemd sees that the worker lives, and everybody what is wrong."""
    simulator = await serve()
    hangs = worker.folder / "hang"
    run = worker.run(
        base_url=simulator.base_url,
        program=("tests.integration.failpoints", f"disk:{hangs}+heartbeat:0.5"),
        before=manager.environment(watchdog=2.0),
    )
    await manager.until("READY=1", run)
    hangs.touch()
    worker.submit(simulator.store.add(Lifecycle()))
    await manager.until(r"STATUS=0 pending; problem: the journal can't be written \(since .*", run)
    failed = await run.until("journal.failed")
    assert failed["error"] == "the disk has not answered for 1 s"
    before = len(manager.times("WATCHDOG=1"))
    await eventually(lambda: len(manager.times("WATCHDOG=1")) > before + 1)
    [problem] = run.logs("worker.heartbeat")[-1]["problems"]
    assert (problem["reason"], problem["last_error"]) == ("journal_failing", failed["error"])
    manager.received.clear()
    hangs.unlink()
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    await manager.until("STATUS=0 pending", run)


async def test_a_stop_that_takes_its_whole_grace_is_alive_until_its_end(serve, worker, manager):
    simulator = await serve()
    simulator.set_faults("hang")
    worker.submit(simulator.store.add(NEVER))
    run = worker.run(base_url=simulator.base_url, before=manager.environment(watchdog=2.0), SHUTDOWN__GRACE="3")
    await manager.until("READY=1", run)
    await eventually(lambda: simulator.stats.requests > 0, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    ended = time.monotonic()
    assert "EXTEND_TIMEOUT_USEC=8000000" in manager.lines
    [stopped] = manager.times("STOPPING=1")
    assert ended - stopped > 2.9
    alive = [at for at in manager.times("WATCHDOG=1") if at > stopped]
    assert max(later - earlier for earlier, later in pairwise([stopped, *alive, ended])) < 2


@pytest.mark.parametrize("manager", ["abstract"], indirect=True)
async def test_a_run_that_ends_at_once_was_ready_and_a_wait_reports_nothing(serve, worker, manager):
    """A script that systemd runs may wait for an asset: that says nothing of its service."""
    simulator = await serve()
    worker.queue_file.touch()
    run = worker.run("--once", base_url=simulator.base_url, before=manager.environment(watchdog=30.0))
    assert await run.end() == 0
    reported = [line for line in manager.lines if line in {"READY=1", "STOPPING=1"}]
    assert reported == ["READY=1", "STOPPING=1"]

    manager.received.clear()
    waiting = worker.start(
        "wait", simulator.store.add(Lifecycle()), base_url=simulator.base_url, before=manager.environment(watchdog=30.0)
    )
    assert await waiting.end() == 0
    assert manager.lines == []


def logrotate(worker: Worker) -> None:
    """Rotate the events file as the snippet in deploy/ says, now."""
    snippet = (ROOT / "deploy" / "asset-worker.logrotate").read_text()
    config = worker.folder / "logrotate"
    config.write_text(snippet.replace("/var/log/asset-worker/events.jsonl", str(worker.events_file)))
    config.chmod(0o644)
    command = [program("logrotate", "/usr/sbin/logrotate"), "--force", "--state", worker.folder / "rotated", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_logrotate_loses_and_repeats_no_event_and_needs_no_signal(serve, worker: Worker):
    """Also if the worker is killed between a rotation and its next event."""
    simulator = await serve()
    (worker.folder / "log").mkdir()
    worker.events_file = worker.folder / "log" / "events.jsonl"
    run = worker.run(base_url=simulator.base_url)
    ids: list[str] = []
    for turn in range(4):
        ids += [simulator.store.add(Lifecycle()) for _ in range(5)]
        worker.submit(*ids[-5:])
        await eventually(lambda: len(written(worker)) == len(ids), otherwise=lambda: run.stderr)  # noqa: B023
        logrotate(worker)
        logrotate(worker)  # nothing is there yet: it does nothing
        if turn == 1:
            run.send(signal.SIGKILL)
            await run.end()
            run = worker.run(base_url=simulator.base_url)
    names = {path.name for path in worker.events_file.parent.iterdir()}
    assert names == {"events.jsonl.1", "events.jsonl.2.gz", "events.jsonl.3.gz", "events.jsonl.4.gz"}
    assert sorted(written(worker)) == sorted(ids)
    assert run.logs("sink.failed") == []


def written(worker: Worker) -> list[str]:
    """The assets of the events in all files that were rotated, and in the present one."""
    found = []
    for path in worker.events_file.parent.iterdir():
        data = path.read_bytes()
        lines = gzip.decompress(data) if path.suffix == ".gz" else data
        found += [json.loads(line)["subject"] for line in lines.splitlines(keepends=True) if line.endswith(b"\n")]
    return found
