"""What can't be followed, and what else is beside the path."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.follower import DRAIN_SECONDS, Follower
from asset_worker.runtime import links
from tests.doubles.intake import Disk, Following

# What can't be followed


@pytest.mark.parametrize("kind", ["directory", "pipe", "loop"])
def test_what_is_no_file_is_reported_once_and_waited_out(disk: Disk, following: Following, kind: str):
    path = disk.path()
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(path)
    assert [following.step(), following.step()] == [[], []]
    assert following.event_names() == ["unreadable"]
    path.rmdir() if kind == "directory" else path.unlink()
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    assert following.event_names() == ["appeared", "readable"]


def test_a_missing_directory_is_a_problem_and_a_missing_file_is_none(tmp_path: Path):
    directory = tmp_path / "later"
    following = Following(directory / "queue")
    expected = f"the directory {directory} does not exist: create it, or correct queue.file"
    assert following.follower.step(0.0, 9).problem == expected
    directory.mkdir()
    assert following.follower.step(1.0, 9).problem is None
    following.follower.close()


def test_the_file_is_not_locked_and_a_lock_of_others_is_no_obstacle(disk: Disk, following: Following):
    """`submit` and flock(1) lock it while they write."""
    disk.append(b"a1\n")
    with disk.path().open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert following.step() == ["a1"]
    with disk.path().open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_pipe_is_never_opened(disk: Disk, following: Following):
    """Its writer would take us for a reader, and lose what it writes."""
    os.mkfifo(disk.path())
    following.step()
    with pytest.raises(OSError) as caught:
        os.open(disk.path(), os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO


def test_the_file_before_is_read_on_while_its_successor_cannot_be_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.path().mkdir()
    disk.append(b"a2\n", "queue.1")
    assert following.step() == ["a2"]
    disk.path().rmdir()
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


class Failing:
    """`os`, where one call fails."""

    def __init__(self, call: str, number: int) -> None:
        self._call, self._number = call, number

    def __getattr__(self, name: str) -> Any:
        if name != self._call:
            return getattr(os, name)

        def fail(*_: Any) -> Any:
            raise OSError(self._number, os.strerror(self._number))

        return fail


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("call", "number"), [("open", errno.EMFILE), ("open", errno.EACCES), ("pread", errno.EIO), ("fstat", errno.ESTALE)]
)
def test_nothing_is_lost_to_a_call_that_fails_for_a_while(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch, call: str, number: int, restarted: bool
):
    disk.append(b"a1\n")
    following.step()
    disk.tick()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    if restarted:
        following.restart()
    for module in (tail_reader, links):
        monkeypatch.setattr(module, "os", Failing(call, number))
    before = [*following.step(), *following.step()]
    assert following.event_names()[-1] == "unreadable"
    monkeypatch.undo()
    assert sorted(before + following.step() + following.step()) == ["a2", "b1", "c1"]
    assert following.event_names()[-1] == "readable"


def test_what_fails_while_it_is_read_is_not_read_to_its_end(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    monkeypatch.setattr(tail_reader, "os", Failing("pread", errno.EIO))
    following.step()
    assert not following.at_end
    assert following.events() == [("appeared", None), ("unreadable", "queue: Input/output error")]


def test_descriptors_are_closed(disk: Disk, following: Following):
    def count() -> int:
        """Of this test's files alone: others may close what is theirs meanwhile."""
        return sum(is_ours(descriptor) for descriptor in Path("/proc/self/fd").iterdir())

    def is_ours(descriptor: Path) -> bool:
        try:
            return descriptor.readlink().is_relative_to(disk.directory)
        except FileNotFoundError:  # closed since: that of the listing itself is
            return False

    for number in range(20):
        disk.append(b"a%d\n" % number)
        disk.append(b"x\n", f"queue.other{number}")
        following.step(DRAIN_SECONDS)
        disk.tick()
        if number % 2:
            disk.copy("queue", f"queue.{number}")
            disk.truncate()
        else:
            disk.rename("queue", f"queue.{number}")
        if number % 5 == 0:
            following.restart()
    following.step()
    following.step(DRAIN_SECONDS)
    following.step(DRAIN_SECONDS)
    assert count() <= 2
    following.follower.close()
    following.follower.close()
    assert count() == 0


def test_the_position_is_kept_under_the_name_of_the_real_file(tmp_path: Path):
    (tmp_path / "queue").symlink_to("real")
    follower = Follower(tmp_path / "queue", {})
    follower.step(0.0, 1)
    assert follower.intake == f"file:{tmp_path}/real"
