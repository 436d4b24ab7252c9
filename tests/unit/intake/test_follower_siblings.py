"""Which files beside the path are read, whatever the clock says, and how often the directory is listed."""

import os
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import directories
from asset_worker.intake.file.directories import EXAMINED_NAMES, PAUSE_SECONDS
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.siblings import SEEN_KEPT
from asset_worker.intake.file.tail_reader import TailReader
from tests.doubles.intake import Disk, Following

HOURS = 3600 * 10**9


def rest(following: Following) -> None:
    """Look until the search has settled."""
    for _ in range(3):
        following.step(1)


# Files of others


def test_another_queue_with_a_matching_name_is_left_alone(disk: Disk, following: Following):
    """`queue.2` is the queue file of another worker: it is made, written and rotated beside ours."""
    disk.append(b"a1\n")
    following.step()
    rest(following)
    disk.tick()
    disk.append(b"x1\n", "queue.2")
    assert following.step() == []
    rest(following)
    disk.tick()
    disk.append(b"x2\n", "queue.2")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    rest(following)
    disk.tick()
    disk.rename("queue.2", "queue.2.1")
    disk.append(b"x3\n", "queue.2")
    assert following.step() == []
    rest(following)
    following.restart()
    disk.append(b"x4\n", "queue.2")
    disk.append(b"b2\n")
    assert following.step() == ["b2"]


def test_another_queue_that_was_there_at_the_first_start_is_never_read(disk: Disk, following: Following):
    disk.append(b"x1\n", "queue.2")
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    disk.tick()
    disk.append(b"x2\n", "queue.2")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


def test_a_file_that_appears_while_down_is_left_alone_if_nothing_was_rotated(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    rest(following)
    following.follower.close()
    disk.tick()
    disk.append(b"x1\n", "queue.2")
    disk.append(b"a2\n")
    following.restart()
    assert following.step() == ["a2"]
    rest(following)
    disk.tick()
    disk.append(b"x2\n", "queue.2")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


def test_a_file_without_a_matching_name_is_not_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.append(b"x1\n", "queue-1")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["b1"]


def test_a_followed_file_is_found_under_any_name(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.rename("queue", "archived by hand")
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["a2", "b1"]


@pytest.mark.parametrize(("rotated", "ids"), [((), ["b1"]), (("done-NAME-*",), ["x1", "b1"])])
def test_the_setting_decides_what_is_read(disk: Disk, rotated: tuple[str, ...], ids: list[str]):
    following = Following(disk.path(), rotated=rotated)
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.append(b"x1\n", "done-queue-x")
    disk.append(b"y1\n", "queue.1")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ids
    following.follower.close()


def test_an_inode_of_history_that_is_used_again_is_read(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """What stood on it is known, and is deleted; a file on the same inode is rotated away unseen."""
    disk.append(b"x1\n", "queue.9")
    disk.append(b"a1\n")
    following.step()
    rest(following)
    following.follower.close()
    disk.tick()
    disk.rename("queue", "queue.2")
    disk.truncate("queue.9")
    disk.append(b"b1\n", "queue.9")
    disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["b1", "c1"]


# Clocks


@pytest.mark.parametrize("is_down", [True, False])
@pytest.mark.parametrize("steps_back", [True, False])
def test_a_clock_that_is_set_back_makes_no_new_file_old(
    disk: Disk, following: Following, is_down: bool, steps_back: bool
):
    """It was ahead: when the directory last changed, and when the queue file was written."""
    disk.append(b"x1\n", "queue.5")
    disk.append(b"a1\n")
    following.step()
    rest(following)
    if is_down:
        following.follower.close()
    disk.now += -5 * HOURS if steps_back else 5 * HOURS
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.tick()
    disk.append(b"b1\n", "queue.1")
    disk.tick()
    disk.append(b"c1\n")
    if is_down:
        following.restart()
    assert following.step() == ["a2", "b1", "c1"]
    rest(following)
    disk.tick()
    disk.rename("queue.1", "queue.3")
    disk.append(b"d1\n", "queue.1")
    disk.rename("queue", "queue.4")
    disk.append(b"e1\n")
    assert following.step() == ["d1", "e1"]


def test_a_clock_that_was_behind_for_a_while_shows_by_the_time_of_a_file_that_is_known(
    disk: Disk, following: Following
):
    """It was corrected before the directory changed again."""
    disk.append(b"a1\n")
    following.step()
    rest(following)
    following.follower.close()
    disk.now -= 5 * HOURS
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.now += 5 * HOURS
    disk.tick()
    disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["a2", "b1", "c1"]


def test_a_queue_file_with_a_time_in_the_future_makes_no_new_file_old(disk: Disk, following: Following):
    disk.append(b"a1\n")
    os.utime(disk.path(), ns=(disk.now + 5 * HOURS,) * 2)
    following.step()
    rest(following)
    following.follower.close()
    disk.tick()
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["b1", "c1"]


# Cost


class CountingOs:
    """`os`, where the listings of directories are counted, and each has many more files."""

    def __init__(self, names: int) -> None:
        self._names = names
        self.listings = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def scandir(self, path: Path) -> Any:
        self.listings += 1
        return Listing(path, self._names)


class Listing:
    def __init__(self, path: Path, names: int) -> None:
        self._path, self._names = path, names

    def __enter__(self) -> Any:
        with os.scandir(self._path) as entries:
            found = [*entries]
        foreign = next(entry for entry in found if entry.name == "foreign")
        return iter([*found, *[foreign] * self._names])

    def __exit__(self, *_: object) -> None:
        pass


NAMES = 150_000


@pytest.fixture
def counting(disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch) -> CountingOs:
    """A directory with many files, of which some come and go between any two looks."""
    disk.append(b"", "foreign")
    disk.append(b"a1\n")
    following.step()
    rest(following)
    counting = CountingOs(NAMES)
    monkeypatch.setattr(directories, "os", counting)
    return counting


def test_a_busy_directory_is_listed_in_proportion_to_its_size(disk: Disk, following: Following, counting: CountingOs):
    """At a microsecond a name, that is two hundredths of a core."""
    for number in range(4 * 60):
        disk.tick()
        disk.append(b"", f"other{number}")
        disk.append(b"b%d\n" % number)
        assert following.step() == [f"b{number}"]
    assert PAUSE_SECONDS == 50e-6
    assert 1 <= counting.listings <= 60 / (PAUSE_SECONDS * NAMES) + 1


def test_a_rotation_in_a_busy_directory_is_found_at_once(disk: Disk, following: Following, counting: CountingOs):
    disk.tick()
    disk.append(b"", "other")
    following.step()
    before = counting.listings
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    assert following.step() == ["b1", "c1"]
    assert counting.listings == before + 1


def test_a_quiet_directory_is_not_listed(disk: Disk, following: Following, counting: CountingOs):
    rest(following)
    before = counting.listings
    for number in range(100):
        disk.tick()
        disk.append(b"b%d\n" % number)
        following.step(DRAIN_SECONDS)
    assert counting.listings == before


def test_a_file_that_was_examined_counts_as_many_names():
    assert EXAMINED_NAMES == 10


def test_of_very_many_rotated_files_only_the_latest_are_opened(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    for number in range(SEEN_KEPT + 50):
        disk.tick()
        disk.append(b"x\n", f"queue.{number}")
    disk.append(b"a1\n")
    opened: list[Path] = []
    real = QueueFile.open

    def counted(queue_file: QueueFile, path: Path) -> TailReader:
        opened.append(path)
        return real(queue_file, path)

    monkeypatch.setattr(QueueFile, "open", counted)
    assert following.step() == ["a1"]
    assert len(opened) <= SEEN_KEPT + 1
    opened.clear()
    rest(following)
    disk.rename("queue", "queue.old")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    assert len(opened) == 1
    assert "gap" not in following.event_names()


@pytest.mark.parametrize("history", [0, SEEN_KEPT - 20, 2 * SEEN_KEPT])
def test_of_very_many_files_of_others_made_at_the_same_instant_none_is_read(
    disk: Disk, following: Following, history: int
):
    """More than are remembered have the same modification time, so the time alone doesn't say which were there."""
    for number in range(history):
        disk.append(b"x%d\n" % number, f"queue.{number}")
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    rest(following)
    disk.tick()
    for number in range(SEEN_KEPT + 50):
        disk.append(b"y%d\n" % number, f"queue.y{number}")
    assert following.step() == []
    rest(following)
    disk.tick()
    disk.rename("queue", "queue.old")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    rest(following)
    following.restart()
    assert following.step() == []


def test_a_file_that_has_shrunk_was_truncated_though_its_beginning_is_the_same(disk: Disk, following: Following):
    """It was copied and truncated while the worker was down, and the same line was written again."""
    disk.append(b"a1\nhalf")
    following.step()
    rest(following)
    following.follower.close()
    disk.tick()
    disk.truncate()
    disk.append(b"b1\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"a1\n")
    following.restart()
    assert following.step() == ["b1"]
