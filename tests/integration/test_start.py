"""Starts that fail, with an exit code that says whether to try again; and the state directory while the worker runs."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
from contextlib import closing

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually

NO_API = "http://127.0.0.1:1/v1.3"


async def ends(run, code, *says):
    assert await run.end() == code, run.stderr
    for each in says:
        assert each in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("once", [[], ["--once"]], ids=["service", "once"])
async def test_a_start_that_may_succeed_later_ends_with_75(serve, worker, once):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    holder = worker.run(base_url=simulator.base_url)
    await holder.until("worker.started")
    (worker.state / "lock").unlink()
    await ends(worker.run(*once, base_url=simulator.base_url), 75, f"{worker.state} is in use by")
    holder.send(signal.SIGTERM)
    assert await holder.end() == 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        await ends(worker.run(*once, "--admin-port", port, base_url=simulator.base_url), 75, f"127.0.0.1:{port}")
    with closing(sqlite3.connect(worker.state / "journal.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await ends(worker.run(*once, base_url=simulator.base_url), 75, "journal.sqlite3", "who else has the file open")
    await ends(worker.run("--once", base_url=simulator.base_url), 0)
    assert len(worker.events()) == 1


@pytest.mark.parametrize("content", [None, "", "\n"], ids=["missing", "empty", "blank"])
@pytest.mark.parametrize("command", ["run", "once", "wait"])
async def test_a_key_file_that_is_not_there_yet_ends_with_75(worker, command, content):
    worker.submit("a1")
    file = worker.folder / "key"
    if content is not None:
        file.write_text(content)
    arguments = {
        "run": ["run", "--queue-file", "queue"],
        "once": ["run", "--queue-file", "queue", "--once"],
        "wait": ["wait", "a1"],
    }[command]
    await ends(worker.start(*arguments, API__KEY_FILE=str(file)), 75, f"api.key_file {file}")


async def test_a_start_that_somebody_must_correct_ends_with_2(worker):
    worker.submit("a1")
    (worker.folder / "file").touch()
    (worker.folder / "key").mkdir()
    for arguments, settings, says in (
        (["--state-dir", "file/state"], {}, "--state-dir"),
        (["--admin-port", "0"], {"ADMIN__HOST": "no such host"}, "admin.host"),
        ([], {"API__KEY_FILE": str(worker.folder / "key")}, "not a regular file"),
        ([], {"API__KEY": "two words"}, "characters that no API key has"),
    ):
        await ends(worker.run(*arguments, base_url=NO_API, **settings), 2, says)
    worker.state.mkdir(exist_ok=True)
    (worker.state / "journal.sqlite3").write_bytes(b"not a database, however long it may be" * 100)
    await ends(worker.run(base_url=NO_API), 2, "is damaged")


def delete(path):
    shutil.rmtree(path)


def replace(path):
    path.rename(path.with_name("moved"))
    path.mkdir()


@pytest.mark.parametrize("take_away", [delete, replace])
async def test_a_worker_whose_state_directory_is_taken_away_ends(serve, worker, take_away):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle(3600)))
    run = worker.run(base_url=simulator.base_url)
    await run.until("intake.accepted")
    take_away(worker.state)
    assert await run.end(within=30) == 1
    [stopped] = run.logs("worker.stopped")
    assert f"the state directory {worker.state} was moved, deleted or replaced" in stopped["error"]
    assert "Traceback" not in run.stderr


async def test_the_journal_is_opened_once_in_the_process(serve, worker):
    """Closing any other descriptor of it would drop SQLite's locks, and another process could write to it."""
    simulator = await serve()
    noted = worker.folder / "opened"
    for asset_id in (simulator.store.add(Lifecycle()) for _ in range(2)):
        worker.submit(asset_id)
        run = worker.run(
            "--admin-port", "0", base_url=simulator.base_url, program=("tests.integration.opens", str(noted))
        )
        await eventually(lambda run=run: bool(run.logs("asset.completed")), otherwise=lambda run=run: run.stderr)
        run.send(signal.SIGTERM)
        assert await run.end() == 0
    journal = worker.state / "journal.sqlite3"
    opened = [line.split()[0] for line in noted.read_text().splitlines() if line.endswith(f" {journal}")]
    assert opened == ["open", "sqlite3.connect", "sqlite3.connect"]  # the first start creates the file before
