"""Queue files in practice: without permission to read, beside unreadable files, behind links, without a newline."""

import gzip
import json
import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.admin import until_ready
from tests.integration.processes import eventually

NOBODY = 65534
AS_ANYBODY = (
    ""
    if os.geteuid()
    else 'exec setpriv --inh-caps=-dac_override,-dac_read_search --bounding-set=-dac_override,-dac_read_search "$@";'
)
"""Shell code before a command that takes root's right to read any file."""

needs_permissions = pytest.mark.skipif(
    not os.geteuid() and shutil.which("setpriv") is None, reason="only setpriv can take permissions from root"
)


def close(path: Path, mode: int = 0) -> None:
    """Take permissions from the worker, even if root starts it."""
    path.chmod(mode)
    if not os.geteuid():
        os.chown(path, NOBODY, NOBODY)


def open_again(path: Path) -> None:
    path.chmod(0o777 if path.is_dir() else 0o666)


async def seen(worker, run, *ids):
    """Wait for the events of exactly these assets."""
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: run.stderr)
    assert sorted(event["subject"] for event in worker.events()) == sorted(ids)


async def stop(run):
    run.send(signal.SIGTERM)
    assert await run.end() == 0


@pytest.fixture
def box(worker) -> Iterator[Path]:
    """The directory of the queue file; once closed, it can be entered but not listed."""
    path = worker.folder / "box"
    path.mkdir()
    worker.queue_file = path / "queue"
    yield path
    open_again(path)


@needs_permissions
async def test_once_waits_until_the_queue_file_can_be_read(serve, worker):
    """Exit code 0 would say that every asset is ready."""
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    worker.submit(asset_id)
    close(worker.queue_file)
    run = worker.run("--once", base_url=simulator.base_url, before=AS_ANYBODY)
    line = await run.until("intake.unreadable")
    assert line["detail"] == f"{worker.queue_file}: Permission denied"
    assert run.process.poll() is None
    open_again(worker.queue_file)
    assert await run.end() == 0
    await seen(worker, run, asset_id)
    assert len(run.logs("intake.unreadable")) == 1


@needs_permissions
async def test_a_service_starts_with_a_queue_file_that_can_not_be_read_yet(serve, worker):
    """Over a restart as well as while it runs: no supervisor starts it again after exit code 2."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(2)]
    worker.submit(ids[0])
    run = worker.run(base_url=simulator.base_url, before=AS_ANYBODY)
    await seen(worker, run, ids[0])
    await stop(run)
    worker.submit(ids[1])
    close(worker.queue_file)
    run = worker.run("--admin-port", "0", base_url=simulator.base_url, before=AS_ANYBODY)
    await until_ready(run, f"the queue file can't be read ({worker.queue_file}: Permission denied)")
    open_again(worker.queue_file)
    await seen(worker, run, *ids)
    await until_ready(run)
    await stop(run)


@needs_permissions
async def test_a_directory_that_can_be_entered_but_not_listed_delays_nothing(serve, worker, box):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    worker.submit(asset_id)
    close(box, 0o711)
    run = worker.run("--once", base_url=simulator.base_url, before=AS_ANYBODY)
    assert await run.end() == 0
    await seen(worker, run, asset_id)
    assert [line["detail"] for line in run.logs("intake.unreadable")] == [f"{box}: Permission denied"]


@needs_permissions
async def test_an_unreadable_rotated_file_delays_no_new_one_and_is_read_once_permitted(serve, worker):
    simulator = await serve()
    first, second, third = (simulator.store.add(Lifecycle()) for _ in range(3))
    worker.submit(first)
    run = worker.run(base_url=simulator.base_url, before=AS_ANYBODY)
    await seen(worker, run, first)
    await stop(run)
    worker.submit(second)
    rotated = worker.queue_file.rename(worker.queue_file.with_suffix(".1"))
    close(rotated)
    worker.submit(third)
    run = worker.run(base_url=simulator.base_url, before=AS_ANYBODY)
    await seen(worker, run, first, third)
    assert [line["detail"] for line in run.logs("intake.unreadable")] == [f"{rotated}: Permission denied"]
    open_again(rotated)
    await seen(worker, run, first, second, third)
    await stop(run)


async def test_rotation_behind_a_symbolic_link_loses_nothing(serve, worker):
    """By rename while the worker is down, and by copy and truncation while it runs."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(6)]
    (worker.folder / "data").mkdir()
    live = worker.folder / "data" / "queue"
    worker.queue_file.symlink_to(live)
    worker.submit(ids[0])
    run = worker.run(base_url=simulator.base_url)
    await seen(worker, run, *ids[:1])
    await stop(run)
    worker.submit(ids[1])
    live.rename(live.with_suffix(".1"))
    worker.submit(ids[2])
    run = worker.run(base_url=simulator.base_url)
    await seen(worker, run, *ids[:3])
    worker.submit(*ids[3:5])
    shutil.copyfile(live, live.with_suffix(".2"))
    os.truncate(live, 0)
    worker.submit(ids[5])
    await seen(worker, run, *ids)
    await stop(run)
    assert stat.S_ISLNK(worker.queue_file.lstat().st_mode)


async def test_gigabytes_without_a_newline_do_not_delay_a_stop(serve, worker):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    worker.submit(asset_id)
    os.truncate(worker.queue_file, 2**38)
    run = worker.run(base_url=simulator.base_url)
    await seen(worker, run, asset_id)
    await stop(run)
    assert run.seconds("worker.stopping", "worker.stopped") < 20
    os.truncate(worker.queue_file, 0)


@needs_permissions
async def test_it_is_not_ready_while_the_queue_file_can_not_be_read(serve, worker, box):
    """It says which file, and why. An unreadable directory around a readable file does not count."""
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    worker.submit(asset_id)
    close(box, 0o711)
    run = worker.run("--admin-port", "0", base_url=simulator.base_url, before=AS_ANYBODY)
    await run.until("intake.unreadable")
    await seen(worker, run, asset_id)
    await until_ready(run)
    fresh = worker.folder / "fresh"
    fresh.write_text("")
    close(fresh)
    fresh.rename(worker.queue_file)
    await until_ready(run, f"the queue file can't be read ({worker.queue_file}: Permission denied)")
    open_again(worker.queue_file)
    await until_ready(run)
    await stop(run)


async def test_a_restart_with_another_device_and_after_two_rotations_reads_each_line_once(serve, worker):
    """As after a reboot: the device numbers have changed, and the files that were rotated meanwhile are found."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    worker.submit(ids[0])
    with worker.queue_file.open("a") as file:
        file.write("not an ID!\n")
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) >= 2, otherwise=lambda: run.stderr)
    await stop(run)
    with closing(sqlite3.connect(worker.state / "journal.sqlite3", isolation_level=None)) as journal:
        [(name, position)] = journal.execute("SELECT name, position FROM intakes").fetchall()
        state = json.loads(position)
        state["files"][-1]["device"] += 1
        journal.execute("UPDATE intakes SET position = ? WHERE name = ?", (json.dumps(state).encode(), name))
        journal.execute("DELETE FROM settled")  # the repeats would have been recognised
    worker.submit(ids[1])
    worker.queue_file.rename(worker.queue_file.with_name(f"{worker.queue_file.name}.20261126T180316Z"))
    worker.submit(ids[2], ids[3])
    worker.queue_file.rename(worker.queue_file.with_name(f"{worker.queue_file.name}.20261126T190316Z"))
    worker.submit(ids[4])
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) >= 6, otherwise=lambda: run.stderr)
    await stop(run)
    assert sorted(event["subject"] for event in worker.events() if "subject" in event) == sorted(ids)
    assert len(worker.events()) == 6
    assert not run.logs("intake.gap")
    assert not run.logs("intake.reread")


async def test_a_file_that_was_compressed_while_down_is_reported(serve, worker):
    simulator = await serve()
    first, second, third = (simulator.store.add(Lifecycle()) for _ in range(3))
    worker.submit(first)
    run = worker.run(base_url=simulator.base_url)
    await seen(worker, run, first)
    await stop(run)
    worker.submit(second)
    compressed = worker.queue_file.with_name(f"{worker.queue_file.name}.1.gz")
    compressed.write_bytes(gzip.compress(worker.queue_file.read_bytes()))
    worker.queue_file.unlink()
    worker.submit(third)
    run = worker.run(base_url=simulator.base_url)
    await seen(worker, run, first, third)
    gap = await run.until("intake.gap")
    assert gap["level"] == "warning"
    assert str(compressed) in gap["detail"]
    assert "(line 1)" in gap["detail"]
    await stop(run)
