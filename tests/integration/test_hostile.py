"""A failing environment: a full disk, a pipe without a reader, a damaged journal, a server that sends too much."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
from asyncio import to_thread
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest
from aiohttp import web

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import KEY, eventually


def limited(process, **limits):
    """Set resource limits of a running process; returns a function that restores them."""
    before = {}
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        before[number] = resource.prlimit(process.pid, number)
        resource.prlimit(process.pid, number, (value, before[number][1]))

    def lift():
        for number, value in before.items():
            resource.prlimit(process.pid, number, value)

    return lift


async def test_a_full_disk_loses_nothing(serve, worker):
    """Neither the journal's log nor the events file can grow; then there is space again."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(30)]
    worker.submit(*ids[:10])
    run = worker.run("--events", "-", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 10, otherwise=lambda: run.stderr)
    # The limit applies to the file of the log, too, and must leave it space.
    os.truncate(worker.events_file, 0)
    with worker.events_file.open("ab") as file:
        file.write(b" " * 200_000 + b"\n")
    lift = limited(run.process, FSIZE=100_000)
    worker.submit(*ids[10:])
    await eventually(lambda: bool(run.logs("sink.failed") or run.logs("journal.failed")), otherwise=lambda: run.stderr)
    assert run.process.poll() is None
    lift()
    await eventually(lambda: {event["subject"] for event in run.events()} == set(ids), otherwise=lambda: run.stderr)
    await eventually(
        lambda: worker.events_file.read_bytes().count(b'"specversion"') == 20, otherwise=lambda: run.stderr
    )
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_a_stop_with_a_full_disk_ends_within_the_grace_and_loses_nothing(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(30)]
    worker.submit(*ids[:10])
    run = worker.run(base_url=simulator.base_url, SHUTDOWN__GRACE="2")
    await eventually(lambda: len(worker.events()) == 10, otherwise=lambda: run.stderr)
    log = worker.state / "journal.sqlite3-wal"
    limited(run.process, FSIZE=log.stat().st_size)
    worker.submit(*ids[10:])
    await run.until("journal.failed")
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert run.seconds("worker.stopping", "worker.stopped") < 2 + 10
    again = worker.run("--once", base_url=simulator.base_url)
    assert await again.end() == 0
    assert sorted(event["subject"] for event in worker.events()) == sorted(ids)


async def test_running_out_of_file_descriptors_makes_no_outcome(serve, worker):
    simulator = await serve()
    run = worker.run(base_url=simulator.base_url, POLL__BATCH="off")
    await run.until("worker.started")
    lift = limited(run.process, NOFILE=psutil.Process(run.process.pid).num_fds())
    ids = [simulator.store.add(Lifecycle()) for _ in range(20)]
    worker.submit(*ids)
    await eventually(lambda: bool(run.logs("api.retry") or run.logs("intake.unreadable")), otherwise=lambda: run.stderr)
    lift()
    await eventually(lambda: len(worker.events()) == 20, otherwise=lambda: run.stderr)
    assert {event["data"]["outcome"] for event in worker.events()} == {"ready"}
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_no_file_watches_are_used(serve, worker):
    """Watches can run out, and don't work on network file systems."""
    simulator = await serve()
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    held = []
    for each in Path(f"/proc/{run.process.pid}/fd").iterdir():  # noqa: ASYNC240
        with suppress(FileNotFoundError):  # closed since it was listed
            held.append(str(each.readlink()))
    assert held
    assert not [name for name in held if "inotify" in name]


async def test_a_reader_that_goes_away_blocks_no_other_sink(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(20)]
    worker.submit(*ids[:10])
    run = worker.run("--events", "-", base_url=simulator.base_url, stdout=subprocess.PIPE, SHUTDOWN__GRACE="2")
    first = await to_thread(run.process.stdout.readline)
    assert b"specversion" in first
    run.process.stdout.close()
    worker.submit(*ids[10:])
    await eventually(lambda: len(worker.events()) == 20, otherwise=lambda: run.stderr)
    await run.until("sink.failed")
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    again = worker.run("--events", "-", "--once", base_url=simulator.base_url)
    assert await again.end() == 0
    # Events that the reader had not read are sent again, at least once.
    assert {event["subject"] for event in again.events()} >= set(ids[10:])
    assert len(worker.events()) == 20


async def test_a_slow_reader_slows_nothing_else(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(300)]
    worker.submit(*ids)
    run = worker.run("--events", "-", base_url=simulator.base_url, stdout=subprocess.PIPE, SHUTDOWN__GRACE="300")
    await eventually(lambda: len(worker.events()) == 300, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    taken = await to_thread(run.process.stdout.read)
    assert await run.end() == 0
    assert taken.count(b"\n") == 300
    run.process.stdout.close()


def corrupt(path):
    path.write_bytes(b"SQLite format 3\0" + Random(1).randbytes(50_000))


def cut_in_half(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    os.truncate(path, path.stat().st_size // 2)


def of_another_program(path):
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()


def of_a_newer_version(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (corrupt, "damaged"),
        (cut_in_half, "damaged"),
        (of_another_program, "another program"),
        (of_a_newer_version, "newer"),
    ],
)
async def test_an_unusable_journal_is_refused_and_left_as_it_is(serve, worker, damage, says):
    simulator = await serve()
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(200)))
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    path = worker.state / "journal.sqlite3"
    damage(path)
    before = path.read_bytes()
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 2
    assert says in run.stderr
    assert str(path) in run.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://api.example/v1.3", "https"),
        ("https://user:secretword@api.example/v1.3", "password"),
        ("ftp://api.example", "https://HOST"),
        ("api.example", "https://HOST"),
    ],
)
async def test_a_base_url_that_would_expose_the_key_is_refused(worker, base_url, says):
    run = worker.start("wait", "a", base_url=base_url)
    assert await run.end() == 2
    assert says in run.stderr
    assert "secretword" not in run.stderr


async def test_an_unresolvable_host_name_makes_no_outcome_before_the_timeout(worker):
    run = worker.start("wait", "6298d673f1090f1100476d4c", "--timeout", "2", base_url="https://nothing.invalid/v1.3")
    assert await run.end() == 4
    [event] = run.events()
    assert event["data"]["outcome"] == "timed_out"
    assert event["data"]["asset"] is None


@pytest.mark.parametrize("fault", ["huge", "drip=0.05", "text", "types", "stranger", "cut"])
async def test_an_unusable_answer_is_a_transient_failure(serve, worker, fault):
    """A gigabyte does not fill the memory, a drip ends with the timeout; then the API works again."""
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    simulator.set_faults(fault)
    worker.submit(asset_id)
    run = worker.run("--once", base_url=simulator.base_url, API__TIMEOUT="2")
    await run.until("api.retry")
    assert psutil.Process(run.process.pid).memory_info().rss < 200_000_000
    assert worker.events() == []
    simulator.set_faults()
    assert await run.end() == 0
    assert [event["data"]["outcome"] for event in worker.events()] == ["ready"]


async def test_a_redirect_is_not_followed_with_the_key(worker, aiohttp_server_of):
    seen = []

    async def elsewhere(request):
        seen.append(dict(request.headers))
        return web.json_response({"_id": request.match_info["id"], "status": "ready"})

    other = await aiohttp_server_of(web.get("/v1.3/assets/{id}", elsewhere))

    async def redirect(request):
        raise web.HTTPTemporaryRedirect(f"{other}/assets/{request.match_info['id']}")

    base_url = await aiohttp_server_of(web.get("/v1.3/assets/{id}", redirect))
    run = worker.start("wait", "6298d673f1090f1100476d4c", base_url=base_url, LOG__LEVEL="info")
    assert "redirect" in (await run.until("api.retry"))["error"]
    run.send(signal.SIGTERM)
    assert await run.end() == -signal.SIGTERM
    assert seen == []
    assert KEY not in run.stderr


async def test_a_queue_file_that_is_a_directory_for_a_while_is_followed_again(serve, worker):
    simulator = await serve()
    first, second = (simulator.store.add(Lifecycle()) for _ in range(2))
    worker.submit(first)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    worker.queue_file.unlink()
    worker.queue_file.mkdir()
    await eventually(lambda: bool(run.logs("intake.unreadable")), otherwise=lambda: run.stderr)
    worker.queue_file.rmdir()
    worker.submit(second)
    await eventually(lambda: len(worker.events()) == 2, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_an_events_file_that_is_moved_away_is_created_again(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(2)]
    run = worker.run(base_url=simulator.base_url)
    worker.submit(ids[0])
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    worker.events_file.rename(worker.events_file.with_suffix(".1"))
    worker.submit(ids[1])
    await eventually(lambda: [event["subject"] for event in worker.events()] == [ids[1]], otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
