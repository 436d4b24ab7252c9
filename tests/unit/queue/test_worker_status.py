"""Whether the worker of a state directory runs, and what it last reported about itself."""

from __future__ import annotations

import errno
import fcntl
import os

import msgspec
import pytest

from asset_worker.domain.worker_report import ProblemReport, WorkerReport
from asset_worker.queue.local import worker_status
from asset_worker.queue.local.lock import COMMAND, TRY_SECONDS, StateDirectory, find_holder
from asset_worker.queue.local.worker_status import FILE_NAME, MAX_BYTES, read_worker, save
from asset_worker.runtime.clock import read_clocks


def report():
    return WorkerReport(
        "running",
        os.getpid(),
        version="1.2.3",
        updated_at="2026-11-27T12:00:00.000Z",
        problems=[ProblemReport("the journal can't be written")],
    )


def kept(path, **changes):
    """Write a report, as the worker of this process would."""
    assert save(path / FILE_NAME, msgspec.structs.replace(report(), reading=read_clocks(), **changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path


def shown(path):
    found = read_worker(path)
    return None if found is None else (found.state, found.pid, found.version)


def test_the_lock_says_whether_it_runs_and_the_file_what_it_does(path):
    with StateDirectory(path):
        kept(path)
        assert shown(path) == ("running", os.getpid(), "1.2.3")
        found = read_worker(path)
        assert found is not None
        assert found.problems == report().problems
        assert found.updated_ago == pytest.approx(0, abs=5)
    assert shown(path) == ("died", os.getpid(), "1.2.3"), "its process ID lives on, in this process"
    kept(path, state="stopped")
    assert shown(path) == ("stopped", os.getpid(), "1.2.3")


def test_the_age_of_a_report_does_not_follow_the_wall_clock(path):
    with StateDirectory(path):
        reading = read_clocks()
        reading = msgspec.structs.replace(reading, elapsed=reading.elapsed - 40, wall=reading.wall + 1e6)
        save(path / FILE_NAME, msgspec.structs.replace(report(), reading=reading))
        found = read_worker(path)
    assert found is not None
    assert found.updated_ago == pytest.approx(40, abs=5)


@pytest.mark.parametrize("before", [None, "stopped", "running"])
def test_what_an_earlier_process_reported_is_not_that_of_the_present_one(path, before):
    if before is not None:
        kept(path, state=before, pid=os.getpid() + 1)
    with StateDirectory(path):
        assert shown(path) == ("running", os.getpid(), None)


def test_nothing_is_known_of_a_directory_in_which_no_worker_ran(path):
    assert read_worker(path) is None
    with StateDirectory(path, holder=COMMAND):
        assert read_worker(path) is None, "a command holds it for a moment"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(msgspec.json.encode(report())[:40], id="half"),
        pytest.param(b'{"state": "dreaming", "pid": 1}', id="unknown-state"),
        pytest.param(b'{"pid": "seven", "state": "running"}', id="other-types"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(b"[" * 10_000, id="nested"),
        pytest.param(b" " * MAX_BYTES + b"{}", id="large"),
    ],
)
def test_a_file_that_is_no_report_counts_for_nothing(path, content):
    (path / FILE_NAME).write_bytes(content)
    assert read_worker(path) is None
    with StateDirectory(path):
        assert shown(path) == ("running", os.getpid(), None)


def test_fields_of_a_later_version_are_skipped(path):
    document = msgspec.to_builtins(report()) | {"moon": "full", "state": "stopped"}
    (path / FILE_NAME).write_bytes(msgspec.json.encode(document))
    assert shown(path) == ("stopped", os.getpid(), "1.2.3")


def test_no_link_is_followed(path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "secret"
    other.write_bytes(msgspec.json.encode(report()))
    (path / FILE_NAME).symlink_to(other)
    assert read_worker(path) is None
    kept(path, state="stopped")
    assert shown(path) == ("stopped", os.getpid(), "1.2.3")
    assert other.read_bytes() == msgspec.json.encode(report())
    assert (path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_report_that_cannot_be_written_leaves_the_one_before(path, monkeypatch):
    kept(path, state="stopped")
    (path / FILE_NAME).with_suffix(".new").mkdir()
    assert not save(path / FILE_NAME, report())
    assert shown(path) == ("stopped", os.getpid(), "1.2.3")


def test_on_a_full_disk_the_report_takes_the_place_of_the_one_before(path, monkeypatch):
    kept(path, pending=10**6)

    def open_on_full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("asset_worker.queue.local.worker_status.open_new", open_on_full_disk)
    kept(path, state="stopped", pending=1)
    found = read_worker(path)
    assert found is not None
    assert (found.state, found.pending) == ("stopped", 1)
    assert not save(path / FILE_NAME, msgspec.structs.replace(report(), stop_reason="x" * 100_000)), "there is no room"
    assert shown(path) == ("stopped", os.getpid(), "1.2.3")
    assert not save(path / "other.json", report())


def test_a_worker_that_starts_while_somebody_asks_is_not_refused(path, monkeypatch):
    """The question holds the lock for an instant: here until the worker waits before it tries again."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    monkeypatch.setattr("asset_worker.queue.local.lock.time.sleep", sleep)
    with StateDirectory(path):
        assert waits == [TRY_SECONDS]
    os.close(descriptor)


def test_a_lock_file_alone_is_enough(path):
    """An earlier version locks nothing else, and neither can a file system that locks no directories."""
    with (path / "lock").open("w") as file:
        file.write(f"process 4711 on {'x' * 300}")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        holder = find_holder(path)
        assert holder is not None
        assert holder.pid == 4711
    assert find_holder(path) is None


def test_a_directory_that_cannot_be_read_is_an_error(path):
    with pytest.raises(FileNotFoundError):
        read_worker(path / "missing")


def test_what_a_worker_reported_at_its_stop_is_not_that_of_one_with_the_same_process_id(path):
    """Process IDs are used again: in a container, each worker may have the ID 1."""
    kept(path, state="stopped")
    with StateDirectory(path):
        assert shown(path) == ("running", os.getpid(), None)


def test_a_report_of_a_mebibyte_is_read_and_no_larger_one(path):
    assert MAX_BYTES == 2**20
    document = msgspec.json.encode(msgspec.structs.replace(report(), state="stopped"))
    for size, state in ((MAX_BYTES, ("stopped", os.getpid(), "1.2.3")), (MAX_BYTES + 1, None)):
        (path / FILE_NAME).write_bytes(document.rjust(size))
        assert shown(path) == state


@pytest.mark.parametrize(("seconds", "shows"), [(1.26, 1.3), (0.64, 0.6)])
def test_the_age_of_a_report_is_shown_to_a_tenth_of_a_second(path, monkeypatch, seconds, shows):
    reading = read_clocks()
    kept(path)
    save(path / FILE_NAME, msgspec.structs.replace(report(), reading=reading))
    later = msgspec.structs.replace(reading, elapsed=reading.elapsed + seconds, wall=reading.wall + seconds)
    monkeypatch.setattr(worker_status, "read_clocks", lambda: later)
    found = read_worker(path)
    assert found is not None
    assert found.updated_ago == shows


@pytest.fixture
def full_disk(monkeypatch):
    def open_on_full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker_status, "open_new", open_on_full_disk)


@pytest.mark.usefixtures("full_disk")
def test_on_a_full_disk_a_report_may_be_as_long_as_the_blocks_of_the_one_before(path):
    file = path / FILE_NAME
    file.write_bytes(b"x")
    room = file.stat().st_blocks * 512
    longest = room - len(msgspec.json.encode(msgspec.structs.replace(report(), stop_reason=""))) - 1
    assert not save(file, msgspec.structs.replace(report(), stop_reason="x" * (longest + 1)))
    assert file.read_bytes() == b"x"
    assert save(file, msgspec.structs.replace(report(), stop_reason="x" * longest))
    assert file.stat().st_size == room


@pytest.mark.usefixtures("full_disk")
def test_on_a_full_disk_a_file_that_has_another_name_too_stays_as_it_is(path):
    kept_before = b" " * 2000
    (path / FILE_NAME).write_bytes(kept_before)
    os.link(path / FILE_NAME, path / "other")
    assert not save(path / FILE_NAME, report())
    assert (path / "other").read_bytes() == kept_before


@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_takes_nothing_at_all_is_no_success_and_leaves_nothing_open(path, monkeypatch):
    def pwrite(*_):
        raise OSError(errno.EIO, "Input/output error")

    (path / FILE_NAME).write_bytes(b" " * 2000)
    monkeypatch.setattr(os, "pwrite", pwrite)
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert not save(path / FILE_NAME, report())
    assert len(os.listdir("/proc/self/fd")) == open_files  # noqa: PTH208


def test_a_report_that_can_not_take_its_place_leaves_no_draft(path):
    (path / FILE_NAME).mkdir()
    assert not save(path / FILE_NAME, report())
    assert [each.name for each in path.iterdir()] == [FILE_NAME]
