"""The state directory: one process holds it, whatever happens to its lock file, and notices when it is taken away."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from asset_worker.queue.local.lock import (
    COMMAND,
    COMMAND_CHECK_SECONDS,
    StateDirectory,
    StateDirectoryError,
    StateDirectoryUnavailableError,
    hold,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


def refused(path):
    """The message that a second process would get."""
    with pytest.raises(StateDirectoryUnavailableError) as raised, StateDirectory(path):
        pass
    return str(raised.value)


def test_a_second_worker_is_refused_with_the_name_of_the_process_that_holds_the_directory(path):
    with StateDirectory(path):
        assert f"in use by process {os.getpid()} on" in refused(path)
    with StateDirectory(path):
        pass


async def test_a_worker_waits_for_a_command_that_holds_the_directory_and_not_for_another_worker(path):
    """Otherwise `dead-letters retry` would end a worker that happens to start."""
    with StateDirectory(path, holder=COMMAND), ExitStack() as stack:
        starting = asyncio.create_task(hold(path, stack))
        await asyncio.sleep(2 * COMMAND_CHECK_SECONDS)
        assert not starting.done()
        assert f"in use by a command, process {os.getpid()} on" in refused(path)
        starting.cancel()
    with ExitStack() as stack:
        with StateDirectory(path, holder=COMMAND):
            starting = asyncio.create_task(hold(path, stack))
            await asyncio.sleep(0)
        assert (await starting).path == path
        with pytest.raises(StateDirectoryUnavailableError, match="in use by process"), ExitStack() as other:
            await hold(path, other)


def test_deleting_the_lock_file_lets_nobody_in(path):
    with StateDirectory(path) as held:
        (path / "lock").unlink()
        assert "in use by another process" in refused(path)
        held.check()
        assert f"in use by process {os.getpid()} on" in refused(path)
    with StateDirectory(path):
        pass


def test_an_earlier_version_which_locks_the_file_alone_keeps_this_one_out_and_is_kept_out(path):
    path.mkdir()
    with (path / "lock").open("w") as earlier:
        fcntl.flock(earlier, fcntl.LOCK_EX)
        assert "in use by" in refused(path)
    with StateDirectory(path) as held:
        (path / "lock").unlink()
        held.check()
        with (path / "lock").open() as earlier, pytest.raises(BlockingIOError):
            fcntl.flock(earlier, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture
def no_locks_on_directories(monkeypatch):
    """As on NFS."""

    def flock(fd, operation):
        if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112 - a descriptor
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(fd, operation)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks_on_directories")
def test_where_directories_cannot_be_locked_the_lock_file_keeps_others_out(path):
    with StateDirectory(path):
        assert "in use by process" in refused(path)
    with StateDirectory(path):
        pass


@pytest.mark.usefixtures("no_locks_on_directories")
def test_where_directories_cannot_be_locked_a_worker_gives_way_to_one_that_has_taken_a_new_lock_file(path):
    with StateDirectory(path) as first:
        (path / "lock").unlink()
        with StateDirectory(path) as second:
            with pytest.raises(StateDirectoryError, match="in use by process"):
                first.check()
            second.check()


def test_a_file_system_without_any_locks_is_refused(path, monkeypatch):
    def flock(fd, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StateDirectoryError, match="has no locks"), StateDirectory(path):
        pass


def delete(path):
    shutil.rmtree(path)


def move(path):
    path.rename(path.with_name("moved"))


def replace(path):
    move(path)
    path.mkdir()


def replace_by_a_file(path):
    move(path)
    path.touch()


@pytest.mark.parametrize("take_away", [delete, move, replace, replace_by_a_file])
def test_a_directory_that_is_taken_away_is_noticed(path, take_away):
    with StateDirectory(path) as held:
        held.check()
        take_away(path)
        with pytest.raises(StateDirectoryError, match=f"{path} was moved, deleted or replaced"):
            held.check()


def test_a_lock_file_that_cannot_be_created_again_now_ends_nothing(path, monkeypatch):
    """The disk is full: the next check tries again."""
    with StateDirectory(path) as held:
        (path / "lock").unlink()
        with monkeypatch.context() as full:
            full.setattr(os, "open", raising(OSError(errno.ENOSPC, "No space left on device")))
            for _ in range(2):
                with pytest.raises(OSError, match="No space left"):
                    held.check()
        held.check()
        assert (path / "lock").exists()


def raising(error):
    def call(*_args, **_options):
        raise error

    return call


@pytest.mark.parametrize(
    ("number", "may_pass"),
    [
        (errno.ENOSPC, True),
        (errno.EDQUOT, True),
        (errno.EIO, True),
        (errno.EMFILE, True),
        (errno.ESTALE, True),
        (errno.EACCES, False),
        (errno.EPERM, False),
        (errno.EROFS, False),
        (errno.ENAMETOOLONG, False),
    ],
    ids=lambda value: errno.errorcode.get(value) if value is not True and value is not False else None,
)
def test_an_error_that_may_pass_is_another_than_one_that_somebody_must_correct(path, monkeypatch, number, may_pass):
    monkeypatch.setattr(os, "open", raising(OSError(number, os.strerror(number))))
    with pytest.raises(StateDirectoryError, match=os.strerror(number)) as raised, StateDirectory(path):
        pass
    assert isinstance(raised.value, StateDirectoryUnavailableError) == may_pass


def test_a_file_in_place_of_the_directory_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(StateDirectoryError, match="--state-dir"), StateDirectory(path):
            pass


def test_no_descriptor_is_left_open(path):
    with StateDirectory(path) as held:
        for _ in range(3):
            refused(path)
            (path / "lock").unlink()
            held.check()
    (path / "lock").unlink()
    with closing(open(path / "lock", "w")) as other:  # noqa: PTH123
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(path)
    assert [each for each in opened_files() if each.is_relative_to(path)] == []


def opened_files():
    """The files that this process has open."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the directory itself is closed by now
            yield link.readlink()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702], ids=oct)
def test_a_directory_that_everybody_may_write_to_is_refused_and_left_as_it_is(path, mode):
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(StateDirectoryError, match="everybody may write to") as raised, StateDirectory(path):
        pass
    assert not isinstance(raised.value, StateDirectoryUnavailableError)
    assert list(path.iterdir()) == []


def test_a_directory_of_another_user_is_refused_and_one_of_root_is_not(path, monkeypatch):
    path.mkdir()
    path.chmod(0o770)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner:
        with pytest.raises(StateDirectoryError, match=f"belongs to user {owner}"), StateDirectory(path):
            pass
    else:
        with StateDirectory(path):
            pass
        os.chown(path, 1000, -1)
        monkeypatch.undo()
        (path / "lock").unlink()
        with pytest.raises(StateDirectoryError, match="belongs to user 1000"), StateDirectory(path):
            pass
    assert list(path.iterdir()) == []


def test_a_link_to_a_directory_is_judged_by_the_directory(path, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    path.symlink_to("shared")
    with pytest.raises(StateDirectoryError, match="everybody may write to"), StateDirectory(path):
        pass
    (tmp_path / "shared").chmod(0o700)
    with StateDirectory(path) as held:
        held.check()


def test_the_directory_is_created_for_this_user_alone(path):
    before = os.umask(0)
    try:
        with StateDirectory(path):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o700
    assert (path / "lock").stat().st_mode & 0o7777 == 0o600


def link_to(target):
    def put(lock):
        lock.symlink_to(target)

    return put


@pytest.mark.parametrize(
    ("put", "says"),
    [(link_to("../precious"), "a symbolic link"), (link_to("../missing"), "a symbolic link"), (os.mkfifo, "a named")],
    ids=["link", "dangling link", "pipe"],
)
def test_a_lock_file_that_leads_elsewhere_is_refused_and_its_target_stays_as_it_is(path, tmp_path, put, says):
    (tmp_path / "precious").write_text("data")
    path.mkdir()
    put(path / "lock")
    with pytest.raises(StateDirectoryError, match=f"the file lock in it is {says}.*: remove it"), StateDirectory(path):
        pass
    (path / "lock").unlink()
    with StateDirectory(path) as held:
        (path / "lock").unlink()
        put(path / "lock")
        with pytest.raises(StateDirectoryError, match=f"the file lock in it is {says}"):
            held.check()
        assert "in use by another process" in refused(path)
    assert (tmp_path / "precious").read_text() == "data"
    assert not (tmp_path / "missing").exists()


def test_a_link_to_the_lock_file_itself_is_no_lock_file(path):
    """Otherwise whoever holds the link could let it lead to another file later."""
    with StateDirectory(path) as held:
        (path / "lock").rename(path / "moved")
        (path / "lock").symlink_to("moved")
        with pytest.raises(StateDirectoryError, match="a symbolic link"):
            held.check()


def test_a_lock_file_that_is_a_file_of_another_name_too_is_locked_and_not_written(path, tmp_path):
    """A backup by hard links must not keep the worker from starting."""
    (tmp_path / "precious").write_text("data")
    path.mkdir()
    (path / "lock").hardlink_to(tmp_path / "precious")
    with StateDirectory(path), (tmp_path / "precious").open() as other:
        assert "in use by" in refused(path)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (tmp_path / "precious").read_text() == "data"
