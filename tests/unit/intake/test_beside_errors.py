"""What becomes of files beside the path that change, or can't be read, while they are looked at."""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from asset_worker.intake.file import beside
from asset_worker.intake.file.checkpoint import Checkpoint, digest
from asset_worker.intake.file.search import UnreadableFile
from asset_worker.intake.file.siblings import SeenFile, seen_file
from asset_worker.intake.file.tail_reader import TailReader
from tests.doubles.intake import Disk
from tests.doubles.searching import Searching, open_descriptors, read_to, reader

LINES = b"a1\na2\na3\n"
BLANK = b"\n"
NOTHING = digest(b"")


@pytest.fixture
def since(disk: Disk) -> int:
    """The time of the last look: what the test does comes a tick later."""
    now = disk.now
    disk.tick()
    return now


# Files that change while they are looked at


def test_a_file_that_vanishes_before_it_is_opened_may_have_been_renamed(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    searching = Searching(disk, since=since)
    searching.fail("queue.1", code=errno.ENOENT)
    assert (searching.names(), searching.search.is_stale) == ([], True)


def test_another_file_that_came_to_the_name_is_closed_and_looked_at_again(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    disk.append(b"b1\n", "other")
    searching = Searching(disk, since=since)
    searching.search.open = lambda path: reader(path.with_name("other"))
    before = open_descriptors()
    assert (searching.names(), searching.search.is_stale) == ([], True)
    assert open_descriptors() == before


def test_a_file_that_is_written_to_while_it_is_examined_is_looked_at_again(
    disk: Disk, since: int, monkeypatch: pytest.MonkeyPatch
):
    disk.append(LINES, "queue.1")
    searching = Searching(disk, since=since)
    monkeypatch.setattr(TailReader, "examine", lambda *_: None)
    assert (searching.names(), searching.search.is_stale) == ([], True)
    searching.end_look()
    assert searching.search.seen.files == ()


# Files that can't be read


class WithoutStatus:
    """Stands in for `os`: the status of no file can be read."""

    def stat(self, path: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))


def denied(disk: Disk, name: str) -> str:
    return f"{disk.path(name)}: Permission denied"


@pytest.mark.parametrize("has_status", [True, False])
def test_a_new_file_that_can_not_be_read_is_set_aside_as_one_of_which_nothing_is_known(
    disk: Disk, since: int, monkeypatch: pytest.MonkeyPatch, has_status: bool
):
    disk.append(LINES, "queue.1")
    status = disk.path("queue.1").stat()
    searching = Searching(disk, since=since)
    entries = searching.entries()
    searching.fail("queue.1")
    if not has_status:
        monkeypatch.setattr(beside, "os", WithoutStatus())
    with ExitStack() as stack:
        assert searching.beside.find(entries, [], [], stack, may_be_rotated=True) == []
    device, size = (status.st_dev, 9) if has_status else (0, None)
    checkpoint = Checkpoint(device, status.st_ino, 0, 0, 0, NOTHING, 0, NOTHING)
    expected = UnreadableFile(checkpoint, disk.path("queue.1"), size, denied(disk, "queue.1"), is_rotated=True)
    assert searching.search.unreadable == [expected]
    assert searching.said == [("unreadable", denied(disk, "queue.1"))]


@pytest.mark.parametrize(
    ("name", "may_be_rotated", "is_rotated"),
    [("queue.1", True, True), ("queue.1", False, False), ("queue-mine", True, False)],
)
def test_a_closed_file_that_has_grown_and_can_not_be_read_is_set_aside_where_it_was_left(
    disk: Disk, since: int, name: str, may_be_rotated: bool, is_rotated: bool
):
    disk.append(LINES, name)
    retired = read_to(disk.path(name), 3)
    disk.append(b"b1\n", name)
    searching = Searching(disk, retired=[retired], since=since)
    searching.fail(name)
    assert searching.names(may_be_rotated=may_be_rotated) == []
    expected = UnreadableFile(retired, disk.path(name), 12, denied(disk, name), is_rotated)
    assert searching.search.unreadable == [expected]


def test_a_closed_file_of_which_nothing_was_read_is_set_aside_as_a_new_one(disk: Disk, since: int):
    disk.append(b"!", "queue.1")
    retired = read_to(disk.path("queue.1"), 0, rejected=1)
    disk.append(LINES, "queue.1")
    searching = Searching(disk, retired=[retired], since=since)
    searching.fail("queue.1")
    assert searching.names() == []
    [unreadable] = searching.search.unreadable
    assert unreadable.checkpoint == Checkpoint(retired.device, retired.inode, 0, 0, 0, NOTHING, 0, NOTHING)


@pytest.mark.parametrize(
    ("is_first", "may_be_rotated", "after"),
    [
        pytest.param(True, True, 0, id="history, at once"),
        pytest.param(False, False, 1, id="a file of others, after a second"),
    ],
)
def test_a_file_that_can_not_be_read_and_is_none_of_ours_is_remembered(
    disk: Disk, since: int, is_first: bool, may_be_rotated: bool, after: int
):
    disk.append(LINES, "queue.1")
    status = disk.path("queue.1").stat()
    searching = Searching(disk) if is_first else Searching(disk, since=since)
    searching.fail("queue.1")
    for now in range(after + 1):
        assert not searching.search.seen.files
        assert searching.names(may_be_rotated=may_be_rotated) == []
        searching.end_look(now)
    assert searching.search.seen.files == (SeenFile(status.st_ino, 9, status.st_mtime_ns, ""),)
    assert (searching.search.unreadable, searching.said) == ([], [])


def test_a_known_file_that_can_not_be_read_is_left_alone(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    status = disk.path("queue.1").stat()
    seen = (seen_file(status.st_ino, 6, status.st_mtime_ns - 1, LINES[:6]),)
    searching = Searching(disk, since=since, seen=seen)
    searching.fail("queue.1")
    assert (searching.names(), searching.search.unreadable) == ([], [])
