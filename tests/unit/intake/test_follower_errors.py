"""An error is not an absence: what can't be read now, whatever the reason, is read later."""

import errno
import json
import os
import shutil
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import beside, directories, search, tail_reader
from asset_worker.intake.file.directories import Directories, Entry
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.runtime import paths
from asset_worker.runtime.links import Place
from tests.doubles.intake import Disk, Following

ERRORS = [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ELOOP, errno.EINTR, errno.ENOMEM]


class FailingPaths:
    """Calls that fail for some paths with one error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._failing: dict[Path, tuple[str, int]] = {}
        for module in (beside, directories, paths, search, tail_reader):
            monkeypatch.setattr(module, "os", self)
        real_open = Place.open

        def open_place(place: Place, flags: int) -> int:
            self._check("open", place.path)
            return real_open(place, flags)

        monkeypatch.setattr(Place, "open", open_place)

    def fail(self, call: str, number: int, *paths: Path) -> None:
        self._failing |= dict.fromkeys(paths, (call, number))

    def clear(self) -> None:
        self._failing.clear()

    def _check(self, call: str, path: Path) -> None:
        failing, number = self._failing.get(path, ("", 0))
        if failing == call:
            raise OSError(number, os.strerror(number), str(path))

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in {"scandir", "pread", "stat", "fstat"}:
            return real

        def call(target: Any, *args: Any) -> Any:
            path = target if isinstance(target, Path) else Path(f"/proc/self/fd/{target}").readlink()
            self._check(name, path)
            return real(target, *args)

        return call


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> FailingPaths:
    return FailingPaths(monkeypatch)


def rotate_twice_while_down(disk: Disk, following: Following) -> None:
    disk.append(b"a1\n")
    following.step()
    following.step()
    following.event_names()
    following.follower.close()
    disk.tick()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")


@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("call", ["stat", "open", "pread"])
def test_rotated_files_that_fail_for_long_are_read_afterwards(
    disk: Disk, following: Following, failing: FailingPaths, call: str, number: int
):
    """Over restarts, and over another rotation meanwhile. The file at the path is read all the time."""
    rotate_twice_while_down(disk, following)
    failing.fail(call, number, disk.path("queue.1"), disk.path("queue.2"))
    following.restart()
    assert following.step() == ["c1"]
    for hour in range(3):
        disk.tick()
        disk.append(b"c%d\n" % (hour + 2))
        assert following.step(3600) == [f"c{hour + 2}"]
        assert not following.at_end
    events = following.events()
    assert sorted(detail or "" for what, detail in events if what == "unreadable") == [
        f"{disk.path(name)}: {os.strerror(number)}" for name in ("queue.1", "queue.2")
    ]
    assert "gap" not in dict(events)
    following.restart()
    assert following.step(3600) == []
    failing.clear()
    assert sorted([*following.step(3600), *following.step(3600)]) == ["a2", "b1"]
    assert following.at_end
    assert [what for what, _ in following.events() if what in {"gap", "readable"}] == ["readable"] * 2


@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_a_directory_that_fails_for_long_hides_no_file(
    disk: Disk, following: Following, failing: FailingPaths, number: int
):
    rotate_twice_while_down(disk, following)
    failing.fail("scandir", number, disk.directory)
    following.restart()
    assert following.step() == ["c1"]
    for _ in range(3):
        assert following.step(3600) == []
        assert not following.at_end
    following.restart()
    following.step(3600)
    assert [what for what, _ in following.events() if what in {"gap", "unreadable"}] == ["unreadable"] * 2
    failing.clear()
    assert following.step(3600) == ["a2", "b1"]
    assert following.at_end
    assert "gap" not in following.event_names()


@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("call", ["pread", "fstat"])
@pytest.mark.parametrize("name", ["queue", "queue.1"])
def test_an_open_file_that_fails_for_long_is_read_afterwards(
    disk: Disk, following: Following, failing: FailingPaths, call: str, number: int, name: str
):
    """It is neither closed as read to its end, nor taken for gone."""
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    following.event_names()
    failing.fail(call, number, disk.path(name))
    disk.append(b"a2\n", "queue.1")
    disk.append(b"b2\n")
    read = [line for _ in range(5) for line in following.step(DRAIN_SECONDS)]
    assert not following.at_end
    assert "unreadable" in following.event_names()
    failing.clear()
    read += [line for _ in range(3) for line in following.step()]
    assert sorted(read) == ["a2", "b2"]
    assert following.at_end


def test_a_copy_that_replaces_a_file_whose_descriptor_has_become_useless_is_a_new_file(
    disk: Disk, following: Following, failing: FailingPaths
):
    """It may have the same time; but while the worker runs, a producer may submit the same assets anew."""
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    failing.fail("pread", errno.ESTALE, disk.path())
    assert following.step() == []
    failing.clear()
    shutil.copy2(disk.path(), disk.path("copy"))
    disk.rename("copy", "queue")
    assert following.step() == ["a1"]
    assert "reread" not in following.event_names()


class StaleDescriptors:
    """`os`, where some descriptors are useless from now on, as on a network file system."""

    def __init__(self, *descriptors: int) -> None:
        self._stale = {*descriptors}

    def pread(self, descriptor: int, length: int, at: int) -> bytes:
        if descriptor in self._stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return os.pread(descriptor, length, at)

    def close(self, descriptor: int) -> None:
        self._stale.discard(descriptor)
        os.close(descriptor)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def test_a_file_whose_descriptor_has_become_useless_is_opened_again(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    disk.append(b"a1\n")
    following.step()
    [file] = following.follower._files.files
    monkeypatch.setattr(tail_reader, "os", StaleDescriptors(file.descriptor))
    disk.append(b"a2\n")
    assert [following.step(), following.step()] == [[], ["a2"]]
    assert following.at_end


def test_a_file_that_is_gone_while_it_could_not_be_read_is_a_gap(
    disk: Disk, following: Following, failing: FailingPaths
):
    rotate_twice_while_down(disk, following)
    failing.fail("open", errno.EIO, disk.path("queue.2"))
    following.restart()
    assert sorted(following.step()) == ["b1", "c1"]
    following.event_names()
    disk.delete("queue.2")
    for _ in range(3):
        following.step()
    assert [what for what, _ in following.events()] == ["gap"]
    assert following.at_end


def test_a_copy_that_can_not_be_read_for_long_is_read_on_where_the_file_was_left(
    disk: Disk, following: Following, failing: FailingPaths
):
    """What was read of the file is not given up meanwhile: that is in the copy."""
    disk.append(b"a1\n")
    following.step()
    following.step()
    following.event_names()
    following.follower.close()
    disk.tick()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\n")
    failing.fail("open", errno.EIO, disk.path("queue.1"))
    following.restart()
    assert following.step() == ["b1"]
    for _ in range(3):
        disk.tick()
        disk.append(b"", "other")
        assert following.step(60) == []
    assert "gap" not in following.event_names()
    failing.clear()
    assert following.step() == ["a2"]


def test_a_copy_in_a_directory_that_can_not_be_listed_for_long_is_read_on_where_the_file_was_left(
    disk: Disk, following: Following, failing: FailingPaths
):
    disk.append(b"a1\n")
    following.step()
    following.step()
    failing.fail("scandir", errno.EIO, disk.directory)
    disk.tick()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    for _ in range(3):
        assert following.step(60) == []
    assert "gap" not in following.event_names()
    failing.clear()
    assert following.step(60) == ["a2"]


def test_a_file_that_one_listing_misses_is_found_by_the_next(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """As one may that is renamed during the listing (POSIX, `readdir`)."""
    listings = 0

    def incomplete_at_first(self: Directories, inodes: AbstractSet[int]) -> list[Entry]:
        nonlocal listings
        listings += 1
        return real(self, inodes) if listings > 1 else []

    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    real = Directories.list
    monkeypatch.setattr(Directories, "list", incomplete_at_first)
    following.restart()
    assert [following.step(), following.step()] == [["b1"], ["a2"]]
    assert "gap" not in following.event_names()


def test_a_link_that_leads_nowhere_is_no_error(disk: Disk, following: Following):
    rotate_twice_while_down(disk, following)
    disk.path("queue.3").symlink_to(disk.path("missing"))
    following.restart()
    assert sorted(following.step()) == ["a2", "b1", "c1"]
    assert "unreadable" not in following.event_names()


def test_a_rotated_file_on_the_inode_of_a_deleted_one_is_read_once_it_can_be(
    disk: Disk, following: Following, failing: FailingPaths
):
    """While it can't be read, it is taken for the other one."""
    rotate_twice_while_down(disk, following)
    state = json.loads(following.position or b"")
    state["files"][-1]["inode"] = disk.path("queue.1").stat().st_ino
    disk.delete("queue.2")
    following.position = json.dumps(state).encode()
    failing.fail("open", errno.EIO, disk.path("queue.1"))
    following.restart()
    assert following.step() == ["c1"]
    for _ in range(3):
        disk.tick()
        disk.append(b"", "other")
        following.step(60)
    failing.clear()
    assert following.step() == ["b1"]
