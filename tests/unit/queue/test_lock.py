"""How the lock of a state directory is tried, waited for and looked at."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from asset_worker.queue.local import lock
from asset_worker.queue.local.lock import (
    COMMAND,
    Holder,
    StateDirectory,
    StateDirectoryError,
    StateDirectoryInUseError,
    find_distrust,
    find_holder,
    find_lock_problem,
    hold,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def slept(monkeypatch):
    """The pauses between two attempts; they take no time."""
    seconds = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def without_locks(monkeypatch, kind):
    """As on a file system that can't lock what is of this kind."""

    def flock(fd, operation):
        if kind(os.fstat(fd).st_mode):
            raise OSError(errno.ENOLCK, "No locks available")
        real(fd, operation)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_is_tried_three_times_as_somebody_may_only_look_at_it(path, slept):
    with StateDirectory(path):
        assert slept == []
        with pytest.raises(StateDirectoryInUseError), StateDirectory(path):
            pass
    assert slept == [0.02, 0.02]


def test_the_lock_file_says_who_holds_the_directory_and_nothing_else(path):
    path.mkdir()
    (path / "lock").write_text("x" * 300)
    with StateDirectory(path):
        assert (path / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


@pytest.mark.usefixtures("slept")
def test_of_what_the_lock_file_says_200_bytes_are_shown(path):
    path.mkdir()
    with (path / "lock").open("w") as file:
        file.write("x" * 300)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StateDirectoryInUseError) as raised, StateDirectory(path):
            pass
    assert raised.value.reason == f"the state directory {path} is in use by {'x' * 200}"
    assert not raised.value.is_for_a_moment


@pytest.mark.virtual_time
@pytest.mark.usefixtures("slept")
async def test_a_worker_waits_20_seconds_for_a_command(path):
    with (
        StateDirectory(path, holder=COMMAND),
        ExitStack() as stack,
        pytest.raises(StateDirectoryInUseError) as raised,
    ):
        await hold(path, stack)
    assert raised.value.is_for_a_moment
    assert asyncio.get_running_loop().time() == pytest.approx(20.0)


@pytest.mark.virtual_time
@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(("ends_at", "held_at"), [(0.03, 0.05), (0.07, 0.1), (19.99, 20.0)])
async def test_a_worker_starts_within_50_ms_of_the_end_of_a_command(path, ends_at, held_at):
    command = ExitStack()
    command.enter_context(StateDirectory(path, holder=COMMAND))
    asyncio.get_running_loop().call_later(ends_at, command.close)
    with ExitStack() as stack:
        assert (await hold(path, stack)).path == path
        assert asyncio.get_running_loop().time() == pytest.approx(held_at)


def test_a_check_leaves_a_lock_file_that_is_there_alone(path):
    with StateDirectory(path) as held:
        os.utime(path / "lock", (0, 0))
        held.check()
        assert (path / "lock").stat().st_mtime == 0


@pytest.mark.usefixtures("slept")
def test_a_worker_whose_lock_file_was_taken_goes_on_once_it_is_free_again(path, monkeypatch):
    without_locks(monkeypatch, stat.S_ISDIR)
    with StateDirectory(path) as first:
        (path / "lock").unlink()
        with StateDirectory(path):
            for _ in range(2):
                with pytest.raises(StateDirectoryInUseError):
                    first.check()
        first.check()
        with pytest.raises(StateDirectoryInUseError), StateDirectory(path):
            pass


def test_where_only_directories_can_be_locked_that_is_enough(path, monkeypatch, slept):
    without_locks(monkeypatch, stat.S_ISREG)
    with StateDirectory(path):
        assert find_holder(path) == Holder(os.getpid())
        with pytest.raises(StateDirectoryInUseError), StateDirectory(path):
            pass
    assert find_holder(path) is None
    assert slept


def test_without_any_locks_nobody_holds_a_directory(path, monkeypatch):
    path.mkdir()
    (path / "lock").write_text("process 7 on host\n")
    without_locks(monkeypatch, lambda _: True)
    assert find_holder(path) is None


def test_a_file_is_no_state_directory_that_somebody_may_hold(path):
    path.write_text("")
    with pytest.raises(NotADirectoryError):
        find_holder(path)


def test_a_path_that_is_no_text_is_refused_and_not_created(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff")
    with pytest.raises(StateDirectoryError, match="is not UTF-8 text"), StateDirectory(path):
        pass
    assert not path.exists()


@pytest.mark.usefixtures("slept")
def test_no_descriptor_is_left_open_by_who_is_refused_or_looks(path, monkeypatch):
    with StateDirectory(path) as held:
        before = open_files()
        with pytest.raises(StateDirectoryInUseError), StateDirectory(path):
            pass
        assert find_holder(path) == Holder(os.getpid())
        (path / "lock").unlink()
        assert find_holder(path) == Holder(None)
        held.check()
        assert open_files() == before
    before = open_files()
    assert find_holder(path) is None
    with (path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StateDirectoryInUseError), StateDirectory(path):
            pass
    without_locks(monkeypatch, lambda _: True)
    with pytest.raises(StateDirectoryError, match="has no locks"), StateDirectory(path):
        pass
    assert open_files() == before


@pytest.mark.parametrize("user", [None, 5])
def test_a_directory_is_judged_for_the_user_of_this_process_unless_another_is_named(path, user):
    reason = find_distrust(path, SimpleNamespace(st_mode=0o40700, st_uid=77), user=user)
    assert reason is not None
    assert (
        f"belongs to user 77, who may change what is kept there, and this process runs as user {user or os.geteuid()}:"
        in reason
    )


def test_what_is_no_lock_file_is_found_before_a_start(path):
    assert find_lock_problem(path) is None
    path.mkdir()
    assert find_lock_problem(path) is None
    (path / "lock").write_text("")
    assert find_lock_problem(path) is None
    (path / "lock").unlink()
    os.mkfifo(path / "lock")
    assert str(find_lock_problem(path)).startswith(f"the state directory {path} can't be used: the file lock in it is ")
    (path / "lock").unlink()
    (path / "lock").symlink_to(path / "other")
    assert find_lock_problem(path) is not None
    assert lock.FILE_NAME == "lock"
