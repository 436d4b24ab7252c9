"""A state directory that others may have prepared: refused, or read without following or waiting for what they put."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually


async def is_refused(run, *says):
    assert await run.end() == 2, run.stderr
    for each in says:
        assert each in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr


async def state_of_a_run(serve, worker):
    """Let a worker make its state directory; returns the simulated API."""
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 0, run.stderr
    return simulator


@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=oct)
async def test_a_directory_that_everybody_may_write_to_is_refused_and_may_be_looked_at(serve, worker, mode):
    simulator = await state_of_a_run(serve, worker)
    worker.state.chmod(mode)
    await is_refused(
        worker.run(base_url=simulator.base_url), f"everybody may write to the state directory {worker.state}"
    )
    check = worker.start("config", "--check", STATE__DIR=str(worker.state), API__KEY="tlk_0123456789")
    await is_refused(check, "everybody may write to")
    for command in ("status", "schedule"):
        run = worker.start(command, "--state-dir", worker.state)
        assert await run.end() == 0, run.stderr
    subdirectory = worker.state / "state"
    run = worker.run("--once", "--state-dir", subdirectory, base_url=simulator.base_url)
    assert await run.end() == 0, run.stderr
    assert subdirectory.stat().st_mode & 0o7777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_a_directory_of_another_user_is_refused_and_may_be_looked_at(serve, worker):
    simulator = await state_of_a_run(serve, worker)
    os.chown(worker.state, 1000, 1000)
    await is_refused(worker.run(base_url=simulator.base_url), f"{worker.state} belongs to user 1000", "--state-dir")
    run = worker.start("status", "--state-dir", worker.state)
    assert await run.end() == 0, run.stderr
    assert b"completed  1" in run.stdout


async def test_a_pipe_in_place_of_what_was_learned_neither_holds_up_the_start_nor_the_stop(serve, worker):
    simulator = await state_of_a_run(serve, worker)
    file = worker.state / "schedule.msgpack"
    file.unlink()
    os.mkfifo(file)
    show = worker.start("schedule", "--state-dir", worker.state)
    await is_refused(show, "a named pipe and not a regular file")
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    assert run.logs("schedule.unreadable")[0]["error"] == "a named pipe and not a regular file"
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert file.is_file()


async def test_links_in_it_are_not_followed(serve, worker):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    precious = worker.folder / "precious"
    precious.write_text("data")
    worker.state.mkdir()
    for name in ("lock", "journal.sqlite3", "journal.sqlite3-wal"):
        (worker.state / name).symlink_to(precious)
        await is_refused(worker.run("--once", base_url=simulator.base_url), name, "a symbolic link")
        (worker.state / name).unlink()
    for name in ("schedule.msgpack", "schedule.new"):
        (worker.state / name).symlink_to(precious)
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 0, run.stderr
    assert precious.read_text() == "data"
    assert sorted(path.name for path in worker.state.iterdir() if path.is_symlink()) == ["schedule.unreadable"]


RECURSIVE = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.mark.parametrize(
    "script",
    [
        f"CREATE TRIGGER evil AFTER INSERT ON pending BEGIN UPDATE pending SET line = ({RECURSIVE}); END",
        f"DROP TABLE clock; CREATE VIEW clock AS SELECT ({RECURSIVE}) steady, '' boot, 0.0 elapsed, 0.0 wall",
    ],
    ids=["trigger", "recursive view"],
)
async def test_a_forged_journal_is_refused_at_once(serve, worker, script):
    simulator = await state_of_a_run(serve, worker)
    with closing(sqlite3.connect(worker.state / "journal.sqlite3")) as connection:
        connection.executescript(script)
    await is_refused(
        worker.run(base_url=simulator.base_url), "which no asset-worker creates like that", "left as it is"
    )
    await is_refused(worker.start("status", "--state-dir", worker.state), "which no asset-worker creates like that")


async def test_a_link_that_replaces_the_lock_file_while_it_runs_ends_the_worker(serve, worker):
    simulator = await serve()
    precious = worker.folder / "precious"
    precious.write_text("data")
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    await eventually((worker.state / "lock").exists)
    (worker.state / "lock").unlink()
    (worker.state / "lock").symlink_to(precious)
    assert await run.end() == 1
    assert "the file lock in it is a symbolic link" in run.logs("worker.stopped")[0]["error"]
    assert precious.read_text() == "data"
