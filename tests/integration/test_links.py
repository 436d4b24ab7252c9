"""What a writer of the queue file's directory can do with links: nothing is read that he could not read himself."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually

WRITER = 65534
"""The user ID of a writer of the queue file's directory."""
SECONDS = 1.5
"""How long a loop is waited for: the directory is looked at four times a second."""

as_root = pytest.mark.skipif(bool(os.geteuid()), reason="only root can make links of other users")


def link(path: Path, target: Path, how: str) -> None:
    """Make a link at `path`: hard, symbolic, or symbolic by the writer."""
    if how == "hard":
        path.hardlink_to(target)
        return
    path.symlink_to(target)
    if how == "a writer's":
        os.chown(path, WRITER, WRITER, follow_symlinks=False)


async def completed(serve, worker, count, *arguments):
    """Start a worker that has completed this many assets, with a part of the log among the events."""
    simulator = await serve()
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(count)))
    run = worker.run(*arguments, base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) >= count, otherwise=lambda: run.stderr)
    return simulator, run


async def ended(run):
    run.send(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.parametrize("how", ["symbolic", "hard", pytest.param("a writer's", marks=as_root)])
@pytest.mark.parametrize("to", ["events", "log"])
async def test_a_link_beside_the_queue_file_makes_no_loop(serve, worker, how, to):
    """It appears together with a rotation, as a file that was rotated away would."""
    simulator, run = await completed(serve, worker, 20)
    target = worker.events_file if to == "events" else run.stderr_path
    worker.queue_file.rename(worker.queue_file.with_suffix(".2"))
    link(worker.queue_file.with_suffix(".1"), target, how)
    last = simulator.store.add(Lifecycle())
    worker.submit(last)
    await eventually(lambda: len(worker.events()) > 20, otherwise=lambda: run.stderr)
    await asyncio.sleep(SECONDS)
    assert worker.events()[20:] == [event for event in worker.events() if event.get("subject") == last]
    await ended(run)


@pytest.mark.parametrize("how", ["symbolic", "hard", pytest.param("a writer's", marks=as_root)])
async def test_a_link_at_the_queue_file_makes_no_loop(serve, worker, how):
    """It is reported; the file that was there is read on, and so is the next one."""
    simulator, run = await completed(serve, worker, 20)
    before = worker.queue_file.rename(worker.queue_file.with_suffix(".1"))
    link(worker.queue_file, worker.events_file, how)
    unreadable = await run.until("intake.unreadable")
    assert str(worker.queue_file) in unreadable["detail"]
    assert ("belongs to user 65534" if how == "a writer's" else "the worker writes its events") in unreadable["detail"]
    late, last = (simulator.store.add(Lifecycle()) for _ in range(2))
    with before.open("a") as file:
        file.write(f"{late}\n")
    await eventually(lambda: len(worker.events()) > 20, otherwise=lambda: run.stderr)
    await asyncio.sleep(SECONDS)
    assert [event["subject"] for event in worker.events()[20:]] == [late]
    worker.queue_file.unlink()
    worker.submit(last)
    await run.until("intake.readable")
    await eventually(lambda: len(worker.events()) > 21, otherwise=lambda: run.stderr)
    assert [event["subject"] for event in worker.events()[20:]] == [late, last]
    await ended(run)


@pytest.mark.parametrize("how", ["symbolic", "hard"])
async def test_an_events_file_that_becomes_the_queue_file_makes_no_loop(serve, worker, how):
    """The queue file is open when the name of the events file is given to it."""
    simulator, run = await completed(serve, worker, 20)
    worker.events_file.rename(worker.folder / "events.old")
    link(worker.events_file, worker.queue_file, how)
    worker.submit(simulator.store.add(Lifecycle()))
    assert "the worker writes its events" in (await run.until("intake.unreadable"))["detail"]
    await asyncio.sleep(SECONDS)
    assert worker.queue_file.read_bytes().count(b"specversion") == 1
    await ended(run)


async def test_a_rotated_events_file_is_not_read_either(serve, worker):
    simulator, run = await completed(serve, worker, 20)
    rotated = worker.events_file.rename(worker.folder / "events.1")
    worker.submit(simulator.store.add(Lifecycle()))
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    link(worker.queue_file.with_suffix(".1"), rotated, "hard")
    worker.queue_file.rename(worker.queue_file.with_suffix(".2"))
    worker.submit(simulator.store.add(Lifecycle()))
    await eventually(lambda: len(worker.events()) >= 2, otherwise=lambda: run.stderr)
    await asyncio.sleep(SECONDS)
    assert len(worker.events()) == 2
    await ended(run)


@as_root
@pytest.mark.parametrize("while_running", [True, False])
async def test_a_writer_can_not_have_files_read_that_only_the_worker_may_read(serve, worker, while_running):
    """The link of the file's owner is followed."""
    simulator, run = await completed(serve, worker, 1)
    secret = worker.folder / "secret"
    secret.write_text("the password\n")
    secret.chmod(0o600)
    if not while_running:
        await ended(run)
    worker.queue_file.rename(worker.queue_file.with_suffix(".1"))
    link(worker.queue_file, secret, "a writer's")
    if not while_running:
        run = worker.run(base_url=simulator.base_url)
    unreadable = await run.until("intake.unreadable")
    assert f"chown -h root {worker.queue_file}" in unreadable["detail"]
    await asyncio.sleep(SECONDS)
    assert len(worker.events()) == 1
    check = worker.start(
        "config", "--check", base_url=simulator.base_url, QUEUE__FILE=str(worker.queue_file), STATE__DIR="state"
    )
    assert await check.end() == 2
    assert f"chown -h root {worker.queue_file}" in check.stderr
    submit = worker.start("submit", "a1", "--queue-file", worker.queue_file)
    assert await submit.end() == 2
    assert f"chown -h root {worker.queue_file}" in submit.stderr
    assert secret.read_text() == "the password\n"
    os.chown(secret, WRITER, WRITER)
    await eventually(lambda: len(worker.events()) == 2, otherwise=lambda: run.stderr)
    assert worker.events()[1]["data"]["line"] == "the password"
    await ended(run)


@as_root
async def test_a_writer_s_link_does_not_keep_the_worker_from_starting(serve, worker):
    """No supervisor starts it again after exit code 2. A link of root is a setting, and is refused."""
    simulator = await serve()
    worker.events_file.write_text("")
    link(worker.queue_file, worker.events_file, "a writer's")
    run = worker.run(base_url=simulator.base_url)
    await run.until("intake.unreadable")
    await ended(run)
    os.chown(worker.queue_file, 0, 0, follow_symlinks=False)
    run = worker.run(base_url=simulator.base_url)
    assert await run.end() == 2
    assert "each event would be read as a line" in run.stderr
