"""Following a symbolic link: rotation happens beside what it leads to, or the link itself is swapped."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import directories
from asset_worker.intake.file.follower import DRAIN_SECONDS
from tests.doubles.intake import Disk, Following


@pytest.fixture
def linked(disk: Disk) -> Iterator[Following]:
    """The path is a link from another directory, whose time never changes."""
    (disk.directory / "link").mkdir()
    path = disk.directory / "link" / "queue"
    path.symlink_to(Path("..", "queue"))
    os.utime(disk.directory, ns=(disk.now, disk.now))
    following = Following(path)
    yield following
    following.follower.close()


def test_rotation_beside_what_a_link_leads_to_is_followed_while_down(disk: Disk, linked: Following):
    disk.append(b"a1\n")
    linked.step()
    linked.follower.close()
    disk.tick()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    linked.restart()
    assert linked.step() == ["a2", "b1", "c1"]
    assert linked.batches[0].submissions[0].source == f"file:{linked.path}:1"


def test_a_copy_and_truncation_beside_what_a_link_leads_to_is_followed(disk: Disk, linked: Following):
    disk.append(b"a1\n")
    linked.step()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\n")
    assert linked.step() == ["a2", "b1"]


def test_a_file_that_came_and_went_where_a_link_leads_is_read(disk: Disk, linked: Following):
    linked.step()
    linked.step(60)
    disk.tick()
    disk.append(b"a1\n")
    disk.rename("queue", "queue.1")
    assert linked.step() == ["a1"]


def test_what_stands_beside_the_link_is_no_newer_for_being_on_another_file_system(disk: Disk, linked: Following):
    """Whose clock may be ahead."""
    ahead = disk.now + 10**12
    os.utime(linked.path.parent, ns=(ahead, ahead))
    disk.append(b"a1\n")
    linked.step()
    disk.tick()
    disk.append(b"b1\n", "queue.1")
    assert linked.step() == ["b1"]


def test_a_link_in_the_same_directory_is_followed_with_both_names(disk: Disk, following: Following):
    disk.path().symlink_to("live")
    disk.append(b"a1\n", "live")
    following.step()
    disk.append(b"a2\n", "live")
    disk.rename("live", "live.1")
    disk.append(b"b1\n", "live")
    following.restart()
    assert following.step() == ["a2", "b1"]
    disk.tick()
    disk.append(b"x1\n", "queue.1")
    assert following.step() == ["x1"]


@pytest.mark.parametrize("name", ["queue", "live"])
def test_a_link_in_the_path_is_no_reason_to_look_twice(disk: Disk, name: str):
    """Only one to the file itself leads beside another file."""
    (disk.directory / "directory").mkdir()
    (disk.directory / "link").symlink_to("directory")
    path = disk.directory / "link" / "queue"
    if name == "live":
        path.symlink_to(name)
    following = Following(path)
    (disk.directory / "directory" / name).write_bytes(b"a1\n")
    assert following.step() == ["a1"]
    (disk.directory / "directory" / "queue.1").write_bytes(b"b1\n")
    assert following.step() == ["b1"]
    assert following.event_names() == ["appeared", "found"]
    following.follower.close()


def test_a_link_that_is_swapped_is_another_file(disk: Disk, linked: Following):
    """As Kubernetes does with a ConfigMap: `queue` leads into `..data`, and that into a directory of its own."""
    disk.path().unlink(missing_ok=True)
    for version in ("1", "2"):
        (disk.directory / version).mkdir()
        (disk.directory / version / "queue").write_bytes(b"a1\nb%s\n" % version.encode())
    data = disk.directory / "data"
    data.symlink_to("1")
    disk.path().symlink_to(Path("data", "queue"))
    assert linked.step() == ["a1", "b1"]
    data.unlink()
    data.symlink_to("2")
    assert linked.step() == ["a1", "b2"]
    (disk.directory / "1" / "queue").unlink()
    (disk.directory / "1").rmdir()
    linked.step()
    linked.step(DRAIN_SECONDS)
    assert linked.at_end
    assert linked.event_names() == ["appeared", "rotated", "retired"]


def test_a_link_beside_that_leads_nowhere_or_in_circles_is_passed_over(disk: Disk, following: Following):
    disk.path("queue.1").symlink_to(disk.path("queue.1"))
    disk.path("queue.2").symlink_to(disk.path("missing"))
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    assert following.event_names() == ["appeared"]


class CountingOs:
    """`os`, where one directory may not be listed, and the listings of all others are counted."""

    def __init__(self, closed: Path) -> None:
        self._closed = closed
        self.listings = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def scandir(self, path: Path) -> Any:
        if path == self._closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        self.listings += 1
        return os.scandir(path)


def test_a_directory_that_may_not_be_listed_is_forgotten_when_the_link_leads_elsewhere(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """As long as one can't be listed, the others are listed at every look."""
    for name in ("1", "2"):
        (disk.directory / name).mkdir()
        (disk.directory / name / "queue").write_bytes(b"a%s\n" % name.encode())
    counting = CountingOs(closed=disk.directory / "1")
    monkeypatch.setattr(directories, "os", counting)
    disk.path().symlink_to(Path("1", "queue"))
    assert following.step() == ["a1"]
    assert following.event_names() == ["unreadable", "appeared"]
    following.step(60)
    before = counting.listings
    following.step(60)
    assert counting.listings == before + 1
    disk.path().unlink()
    disk.path().symlink_to(Path("2", "queue"))
    assert following.step() == ["a2"]
    following.step(60)
    before = counting.listings
    following.step(60)
    assert counting.listings == before
