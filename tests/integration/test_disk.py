"""A disk that is full from the start, read-only directories, and what readiness reports of them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.admin import until_ready
from tests.integration.holding import change, waiting
from tests.integration.processes import eventually

Mount = Callable[..., Callable[[], None]]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a file system and returns a function that unmounts it; skips the test if mounting is not permitted."""
    with ExitStack() as stack:

        def make(*arguments: str | Path) -> Callable[[], None]:
            made = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"nothing can be mounted here: {made.stderr.partition(chr(10))[0]}")
            is_unmounted = False

            def unmount() -> None:
                nonlocal is_unmounted
                if not is_unmounted:
                    is_unmounted = True
                    subprocess.run(["umount", "--lazy", arguments[-1]], capture_output=True, check=True)

            stack.callback(unmount)
            return unmount

        yield make


@pytest.fixture
def read_only(mount: Mount) -> Callable[[Path], Callable[[], None]]:
    """Makes a directory read-only, for root too, who ignores modes; returns a function that makes it writable again."""

    def make(directory: Path) -> Callable[[], None]:
        if os.geteuid() != 0:
            directory.chmod(0o500)
            return lambda: directory.chmod(0o700)
        unmount = mount("--bind", directory, directory)
        subprocess.run(["mount", "-o", "remount,ro,bind", directory], check=True, capture_output=True)
        return unmount

    return make


@pytest.mark.parametrize("which", ["state", "state/of/it"], ids=["exists", "is to be created"])
async def test_a_state_directory_that_is_read_only_is_refused_by_name(serve, worker, read_only, which):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    worker.submit(asset_id)
    worker.state.mkdir()
    lift = read_only(worker.state)
    worker.state = worker.folder / which
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 2
    assert str(worker.state) in run.stderr
    assert "--state-dir" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.logs() == []
    lift()
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert [event["id"] for event in worker.events()] == [f"{asset_id}.1"]


async def test_a_journal_that_has_become_read_only_is_refused_and_loses_nothing(serve, worker, read_only):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    [later] = waiting(simulator, 1)
    worker.submit(*ids, later)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 5, otherwise=lambda: run.stderr)
    run.send(signal.SIGKILL)
    await run.end()
    lift = read_only(worker.state)
    refused = worker.run("--once", base_url=simulator.base_url)
    assert await refused.end() == 2
    assert str(worker.state) in refused.stderr
    assert "Traceback" not in refused.stderr
    lift()
    change(simulator, later)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in (*ids, later))


async def test_events_for_a_read_only_directory_are_delivered_once_it_is_writable(serve, worker, read_only):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    (worker.folder / "events").mkdir()
    worker.events_file = worker.folder / "events" / "events.jsonl"
    lift = read_only(worker.events_file.parent)
    worker.submit(*ids)
    run = worker.run("--once", base_url=simulator.base_url, SHUTDOWN__GRACE="300")
    failed = await run.until("sink.failed")
    assert str(worker.events_file) in failed["error"]
    await eventually(lambda: len(run.logs("asset.completed")) == len(ids), otherwise=lambda: run.stderr)
    assert run.process.poll() is None
    lift()
    assert await run.end() == 0
    assert run.logs("sink.recovered")
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in ids)


def fill(directory: Path) -> Path:
    """A file that takes all the free space."""
    path = directory / "ballast"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return path


async def test_a_first_start_on_a_full_disk_says_so_and_loses_nothing(serve, worker, mount):
    """It is not an error of usage: a supervisor may try again."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    worker.submit(*ids)
    worker.state.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", worker.state)
    ballast = fill(worker.state)
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 75
    assert str(worker.state) in run.stderr
    assert "the disk is full: make room on it; nothing is lost (docs/runbook.md#journal_failing)" in run.stderr
    assert "Traceback" not in run.stderr
    ballast.unlink()
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in ids)


async def test_a_later_start_on_a_full_disk_says_so_or_waits_and_loses_nothing(serve, worker, mount):
    """The journal exists; its log and its shared memory must be created again."""
    simulator = await serve()
    ids = waiting(simulator, 5)
    worker.submit(*ids)
    worker.state.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", worker.state)
    first = worker.run(base_url=simulator.base_url)
    await eventually(lambda: first.accepted == len(ids), otherwise=lambda: first.stderr)
    first.send(signal.SIGTERM)
    assert await first.end() == 0
    ballast = fill(worker.state)
    run = worker.run("--once", base_url=simulator.base_url)
    await eventually(
        lambda: run.process.poll() is not None or bool(run.logs("journal.failed")), otherwise=lambda: run.stderr
    )
    assert run.process.poll() in {None, 75}
    assert str(worker.state) in run.stderr
    assert "Traceback" not in run.stderr
    ballast.unlink()
    change(simulator, *ids)
    if await run.end() == 75:
        run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 0
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in ids)


async def test_a_start_with_a_limit_on_file_sizes_says_so_and_loses_nothing(serve, worker):
    """As on a full disk, but with space for a line on stderr: files end at 4 KiB."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    worker.submit(*ids)
    run = worker.run("--once", base_url=simulator.base_url, before="ulimit -f 8;")
    assert await run.end() == 75
    assert str(worker.state) in run.stderr
    assert "check the disk" in run.stderr
    assert "Traceback" not in run.stderr
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert sorted(event["id"] for event in worker.events()) == sorted(f"{each}.1" for each in ids)


async def test_it_is_not_ready_while_the_journal_can_not_be_written(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(30)]
    worker.submit(*ids[:10])
    run = worker.run("--admin-port", "0", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 10, otherwise=lambda: run.stderr)
    await until_ready(run)
    log = worker.state / "journal.sqlite3-wal"
    before = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    worker.submit(*ids[10:])
    await until_ready(run, "the journal can't be written")
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, before)
    await until_ready(run)
    await eventually(lambda: len(worker.events()) == 30, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_it_is_not_ready_while_a_sink_fails(serve, worker):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(5)]
    missing = worker.folder / "missing" / "events.jsonl"
    worker.submit(*ids)
    run = worker.run("--events", missing, "--admin-port", "0", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 5, otherwise=lambda: run.stderr)
    await until_ready(run, f"the sink file:{missing} fails")
    missing.parent.mkdir()
    await until_ready(run)
    await eventually(lambda: missing.read_bytes() == worker.events_file.read_bytes(), otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.parametrize("left", ["running", "stopped", "killed", "copied"])
async def test_status_and_schedule_read_a_directory_that_is_read_only(serve, worker, mount, read_only, left):
    """With a worker that writes to it by another path; after it; as kill -9 leaves it; and a copy of the log alone."""
    simulator = await serve()
    done, *others = waiting(simulator, 3)
    worker.submit(done, *others)
    run = worker.run(base_url=simulator.base_url)
    change(simulator, done)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    seen = worker.folder / "seen"
    seen.mkdir()
    if left == "running":
        mount("--bind", worker.state, seen)
        subprocess.run(["mount", "-o", "remount,ro,bind", seen], check=True)  # noqa: ASYNC221 - it takes no time
    else:
        run.send(signal.SIGTERM if left == "stopped" else signal.SIGKILL)
        await run.end()
        for file in worker.state.iterdir():
            if left != "copied" or not file.name.endswith("-shm"):
                shutil.copy(file, seen)
        read_only(seen)
    before = sorted(seen.iterdir())
    status = worker.start("status", "--state-dir", seen, "--json")
    schedule = worker.start("schedule", "--state-dir", seen)
    assert (await status.end(), await schedule.end()) == (0, 0), status.stderr + schedule.stderr
    report = json.loads(status.stdout)
    assert sorted(each["asset_id"] for each in report["pending"]) == sorted(others)
    assert report["completed_lately"] == {"ready": 1}
    assert sorted(seen.iterdir()) == before
    if left == "running":
        change(simulator, *others)
        await eventually(lambda: len(worker.events()) == 3, otherwise=lambda: run.stderr)
