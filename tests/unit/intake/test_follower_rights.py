"""Following a file where others may not be read: rights that were closed, and are opened again."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import directories
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.runtime.links import Place
from tests.doubles.intake import Disk, Following


class Closed:
    """Paths that may not be opened or listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._paths: set[Path] = set()
        monkeypatch.setattr(directories, "os", self)
        real = Place.open

        def open_place(place: Place, flags: int) -> int:
            self._check(place.path)
            return real(place, flags)

        monkeypatch.setattr(Place, "open", open_place)

    def add(self, *paths: Path) -> None:
        self._paths |= {*paths}

    def clear(self) -> None:
        self._paths.clear()

    def _check(self, path: Path) -> None:
        if path in self._paths:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def scandir(self, path: Path) -> Any:
        self._check(path)
        return os.scandir(path)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Closed:
    return Closed(monkeypatch)


def test_what_cannot_be_read_is_not_read_to_its_end(disk: Disk, following: Following, closed: Closed):
    """Where the follower is to end at the end, it waits: somebody may open the file to it."""
    disk.append(b"a1\n")
    closed.add(disk.path())
    for _ in range(3):
        assert following.step() == []
        assert not following.at_end
    assert following.events() == [("unreadable", f"{disk.path()}: Permission denied")]
    closed.clear()
    assert following.step() == ["a1"]
    assert following.at_end


def test_a_renamed_file_that_may_not_be_opened_keeps_no_other_from_being_read(
    disk: Disk, following: Following, closed: Closed
):
    """Its rights were closed after its rotation, and the follower was restarted."""
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    closed.add(disk.path("queue.1"))
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["b1"]
    assert ("unreadable", f"{disk.path('queue.1')}: Permission denied") in following.events()
    for _ in range(3):
        disk.append(b"b\n")
        assert following.step(60) == ["b"]
        assert not following.at_end
    assert following.events() == []
    following.restart()
    assert following.step() == []
    assert [what for what, _ in following.events()] == ["unreadable"]
    closed.clear()
    assert following.step() == ["a2"]
    assert following.at_end
    assert following.events() == [("readable", str(disk.path("queue.1")))]


def test_a_file_that_came_and_went_while_down_is_read_once_it_may_be_opened(
    disk: Disk, following: Following, closed: Closed
):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.rename("queue", "queue.3")
    disk.append(b"b1\n", "queue.1")
    closed.add(disk.path("queue.1"))
    disk.append(b"")
    following.restart()
    for _ in range(3):
        following.step(60)
    assert not following.at_end
    assert [what for what, _ in following.events()] == ["appeared", "unreadable", "appeared"]
    following.restart()
    following.step()
    disk.rename("queue.1", "queue.2")
    closed.clear()
    assert following.step() == ["b1"]


def test_a_file_that_may_not_be_opened_and_was_read_to_its_end_is_not_waited_for(
    disk: Disk, following: Following, closed: Closed
):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    closed.add(disk.path("queue.1"))
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["b1"]
    assert following.at_end
    disk.append(b"a2\n", "queue.1")
    following.step()
    assert not following.at_end


def test_a_file_that_may_not_be_opened_and_was_closed_for_good_is_not_waited_for(
    disk: Disk, following: Following, closed: Closed
):
    """Its last line, which has no end, was rejected. Should it grow, it is read on."""
    for name in ("queue.2", "queue.1"):
        disk.append(b"%s\nab" % name.replace(".", "-").encode())
        following.step()
        disk.rename("queue", name)
        following.step()
    following.step(DRAIN_SECONDS)
    assert following.event_names()[-1] == "retired"
    closed.add(disk.path("queue.2"), disk.path("queue.1"))
    following.restart()
    disk.append(b"c1\n")
    assert following.step() == ["c1"]
    assert following.at_end
    disk.tick()
    disk.append(b"c\n", "queue.2")
    disk.append(b"", "queue.0")
    following.step()
    assert ("unreadable", f"{disk.path('queue.2')}: Permission denied") in following.events()
    closed.clear()
    assert following.step() == ["abc"]


def test_a_file_that_is_deleted_while_it_may_not_be_opened_is_gone(disk: Disk, following: Following, closed: Closed):
    disk.append(b"a1\na")
    following.step()
    disk.rename("queue", "queue.1")
    closed.add(disk.path("queue.1"))
    following.restart()
    following.step()
    disk.delete("queue.1")
    following.step()
    following.step()
    assert following.at_end
    assert following.event_names()[-1] == "gap"


def test_history_that_may_not_be_opened_is_not_reported(disk: Disk, following: Following, closed: Closed):
    disk.append(b"x1\n", "queue.1")
    closed.add(disk.path("queue.1"))
    disk.tick()
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    assert following.at_end
    assert following.event_names() == ["appeared"]


def test_in_a_directory_that_may_not_be_listed_the_file_is_followed_alone(
    disk: Disk, following: Following, closed: Closed
):
    """It can be entered: what is open is read on when it is renamed."""
    closed.add(disk.directory)
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    assert following.at_end
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["a2", "b1"]
    disk.truncate()
    disk.append(b"b2\n")
    assert following.step() == ["b2"]
    following.step(60)
    assert following.at_end
    events = following.events()
    assert ("unreadable", f"{disk.directory}: Permission denied") in events
    assert [what for what, _ in events].count("unreadable") == 1
    closed.clear()
    following.step()
    assert following.events() == [("readable", str(disk.directory))]
