"""stdin of the real command: read errors, a closed stdin, and what was read ahead when a stop comes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import struct
import tty
from contextlib import closing
from pathlib import Path

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually


def start(worker, simulator, stdin: socket.socket | Path | int, **settings):
    if isinstance(stdin, Path):
        with stdin.open("rb", buffering=0) as opened:
            return start(worker, simulator, opened.fileno(), **settings)
    events = ("--events", worker.events_file, "--state-dir", worker.state)
    return worker.start("run", "--stdin", *events, base_url=simulator.base_url, stdin=stdin, **settings)


def subjects(worker):
    return sorted(event["subject"] for event in worker.events() if "subject" in event)


@pytest.mark.parametrize("kind", ["terminal", "socket"])
async def test_a_read_error_is_not_the_end(serve, worker, kind):
    """What came before it is accepted, the line in which it came is rejected, and the exit code says so."""
    simulator = await serve()
    first, cut = (simulator.store.add(Lifecycle()) for _ in range(2))
    if kind == "terminal":
        master, theirs = os.openpty()
        tty.setraw(theirs)
        run = start(worker, simulator, master)
        os.close(master)
        os.write(theirs, f"{first}\n{cut}".encode())
        await run.until("asset.completed")
        os.close(theirs)
    else:
        with closing(socket.socket()) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            client = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        run = start(worker, simulator, ours)
        ours.close()
        client.sendall(f"{first}\n{cut}".encode())
        await run.until("asset.completed")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # with a reset
    assert await run.end() == 1
    [failed] = run.logs("intake.failed")
    assert failed["level"] == "error"
    assert failed["error"] == {"terminal": "Input/output error", "socket": "Connection reset by peer"}[kind]
    assert subjects(worker) == [first]
    [rejected] = [event["data"] for event in worker.events() if "subject" not in event]
    assert (rejected["line"], "incomplete" in rejected["reason"]) == (cut, True)


async def test_a_stdin_that_is_open_for_writing_only_is_an_error(serve, worker):
    simulator = await serve()
    run = worker.start("run", "--stdin", base_url=simulator.base_url, redirect="0>written")
    assert await run.end() == 1
    assert run.logs("intake.failed")


@pytest.mark.parametrize("how", ["flag", "setting"])
async def test_a_closed_stdin_is_an_error_in_usage(serve, worker, how):
    simulator = await serve()
    options = {"QUEUE__STDIN": "true"} if how == "setting" else {}
    flags = ("--stdin",) if how == "flag" else ()
    run = worker.start("run", *flags, base_url=simulator.base_url, redirect="<&-", **options)
    assert await run.end() == 2
    assert run.stderr.startswith("asset-worker: stdin is closed")


@pytest.fixture
def fifo(worker):
    """A named pipe that outlives the worker: its path, and a descriptor that keeps it open."""
    path = worker.folder / "fifo"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield path, descriptor
    os.close(descriptor)


def left_in(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


async def test_what_was_read_ahead_is_accepted_at_a_stop_and_the_rest_stays_in_the_pipe(serve, worker, fifo):
    """There is room for three; the pipe holds more than is read at once, so the reading ends within a line."""
    path, descriptor = fifo
    simulator = await serve()
    ids = [f"{number:024x}" for number in range(2600)]
    text = "".join(f"{each}\n" for each in ids).encode()
    run = start(worker, simulator, path, QUEUE__MAX_PENDING="3", POLL__NOT_FOUND_GRACE="600")
    await run.until("worker.started")
    written = os.write(descriptor, text)
    await eventually(lambda: run.accepted >= 3, otherwise=lambda: run.stderr)
    written += await asyncio.to_thread(_write_all, path, text[written:])
    run.send(signal.SIGTERM)
    await run.end()
    assert not run.logs("intake.not_accepted")
    with closing(sqlite3.connect(worker.state / "journal.sqlite3")) as journal:
        accepted = {each for (each,) in journal.execute("SELECT asset_id FROM pending")}
    left = left_in(descriptor).decode().split()
    assert len(accepted) > 3
    assert accepted.isdisjoint(left)
    assert accepted | set(left) == set(ids)


def _write_all(path: Path, text: bytes) -> int:
    """Write what the pipe takes after it was read once."""
    with path.open("wb", buffering=0) as pipe:
        return pipe.write(text) if text else 0


@pytest.mark.parametrize("signals", [1, 2])
async def test_what_the_journal_does_not_take_within_the_grace_is_logged_with_its_text(serve, worker, fifo, signals):
    """Also if a second signal ends the process at once."""
    path, descriptor = fifo
    simulator = await serve()
    ids = [f"{number:024x}" for number in range(5)]
    run = start(worker, simulator, path, SHUTDOWN__GRACE="1" if signals == 1 else "300")
    await run.until("worker.started")
    await asyncio.sleep(0.5)
    with closing(sqlite3.connect(worker.state / "journal.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        os.write(descriptor, "".join(f"{each}\n" for each in ids).encode() + b"# comment\n{bad\nhalf")
        await run.until("journal.failed")
        run.send(signal.SIGTERM)
        if signals == 2:
            await run.until("worker.stopping")
            await asyncio.sleep(0.5)  # sooner, it would be the same signal, sent twice
            run.send(signal.SIGTERM)
        code = await run.end()
    lines = [json.loads(line) for line in run.stderr.splitlines() if "intake.not_accepted" in line]
    assert [line.get("line") for line in lines] == [*ids, "{bad", "half", None]
    assert lines[-1]["count"] == 7
    assert code == (1 if signals == 1 else 128 + signal.SIGTERM)
