"""Which files beside the path hold unread lines, and where these begin."""

import gzip
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from asset_worker.intake.file.checkpoint import digest
from asset_worker.intake.file.gaps import gap_of_compressed, gap_of_doubtful
from asset_worker.intake.file.search import UnreadableFile
from asset_worker.intake.file.siblings import SEEN_KEPT
from asset_worker.intake.file.tail_reader import TailReader
from tests.doubles.intake import Disk
from tests.doubles.searching import Searching, open_descriptors, opened, read_to, reader

LINES = b"a1\na2\na3\n"
BLANK = b"\n"
NOTHING = digest(b"")


@pytest.fixture
def since(disk: Disk) -> int:
    """The time of the last look: what the test does comes a tick later."""
    now = disk.now
    disk.tick()
    return now


def inode_of(disk: Disk, name: str) -> int:
    return disk.path(name).stat().st_ino


def elsewhere(disk: Disk, content: bytes) -> Path:
    """A file that is in none of the directories in which is searched."""
    path = disk.directory / "elsewhere" / "queue"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


# New files


def test_a_new_rotated_file_is_read_from_its_start_and_one_of_another_name_is_not(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    disk.append(LINES, "queue-mine")
    assert Searching(disk, since=since).names() == [("queue.1", 0)]


def test_a_file_with_two_names_is_read_once(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    disk.path("queue.2").hardlink_to(disk.path("queue.1"))
    assert len(Searching(disk, since=since).names()) == 1


def test_new_files_are_read_in_the_order_of_their_times(disk: Disk, since: int):
    for name in ("queue.1", "queue.3", "queue.2"):
        disk.append(name.encode() + b"\n", name)
        disk.tick()
    assert Searching(disk, since=since).names() == [("queue.1", 0), ("queue.3", 0), ("queue.2", 0)]


def test_a_copy_that_is_still_being_made_is_not_read(disk: Disk, since: int):
    disk.append(LINES, "open")
    disk.append(LINES[:6], "queue.1")
    with opened(disk.path("open")) as file:
        assert Searching(disk, since=since).find(known=[file]) == []


def test_content_on_the_inode_of_a_closed_file_gets_another_id(disk: Disk, since: int):
    """The same rejected lines in it are then reported with other keys."""
    disk.append(LINES, "queue.1")
    retired = read_to(disk.path("queue.1"), 3)
    disk.path("queue.1").write_bytes(b"b1\nb2\nb3\n")
    found = Searching(disk, retired=[retired], since=since).find()
    assert found == [("queue.1", 0, f"{retired.device}:{retired.inode}+1")]


def test_the_files_that_are_found_are_closed_with_the_others_and_those_that_are_not_at_once(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    searching = Searching(disk, since=since)
    disk.append(LINES[:3], "queue.2")
    before = open_descriptors()
    with ExitStack() as stack:
        found = searching.beside.find(searching.entries(), [], [], stack, may_be_rotated=True)
        assert [file.name for file in found] == ["queue.1"]
        assert open_descriptors() == before + 1
    assert open_descriptors() == before


def test_a_file_that_is_set_aside_is_not_opened_a_second_time(disk: Disk, since: int):
    """It would be read twice if it became readable at that moment."""
    disk.append(LINES, "queue.1")
    searching = Searching(disk, since=since)
    checkpoint = read_to(disk.path("queue.1"), 0)
    searching.search.set_aside(UnreadableFile(checkpoint, disk.path("queue.1"), 9, "why", is_rotated=True))
    assert searching.names() == []


# Copies of what was being read


@pytest.mark.parametrize("content", [LINES, BLANK], ids=["lines", "a blank line"])
def test_a_copy_of_a_missing_file_is_read_on_with_its_id(disk: Disk, since: int, content: bytes):
    before = elsewhere(disk, content)
    missing = read_to(before, 1)
    disk.append(content + b"b1\n", "queue.1")
    searching = Searching(disk, missing, since=since)
    assert searching.find() == [("queue.1", missing.offset, missing.id)]
    assert searching.search.missing == []


@pytest.mark.parametrize(
    ("age", "expected"), [(-1, "queue.2"), (0, "queue.1"), (1, "queue.1")], ids=["old", "of that tick", "new"]
)
def test_the_longest_copy_is_read_on_if_it_is_new(disk: Disk, since: int, age: int, expected: str):
    before = elsewhere(disk, LINES)
    missing = read_to(before, 1)
    disk.append(LINES + b"a4\n", "queue.1")
    disk.append(LINES, "queue.2")
    os.utime(disk.path("queue.1"), ns=(disk.now, since + age))
    assert Searching(disk, missing, since=since).names()[0] == (expected, 3)


def test_the_longest_copy_is_read_on_though_a_file_system_knows_no_times(disk: Disk):
    before = elsewhere(disk, LINES)
    missing = read_to(before, 1)
    for name, content in (("queue.1", LINES + b"a4\n"), ("queue.2", LINES)):
        disk.append(content, name)
        os.utime(disk.path(name), ns=(0, int(name == "queue.2")))
    assert Searching(disk, missing, since=0).names()[0] == ("queue.1", 3)


def rewritten_to(path: Path, content: bytes) -> TailReader:
    path.write_bytes(content)
    return reader(path)


def test_a_file_that_was_rewritten_with_the_content_of_a_missing_one_is_read_on(disk: Disk, since: int):
    before = elsewhere(disk, LINES)
    missing = read_to(before, 2)
    file = rewritten_to(disk.path("queue.1"), LINES)
    searching = Searching(disk, missing, since=since)
    assert searching.find(rewritten=[file]) == [("queue.1", 6, missing.id)]
    assert searching.search.missing == []
    file.close()


def test_a_copy_of_a_file_that_was_rewritten_is_not_read(disk: Disk, since: int):
    file = rewritten_to(disk.path("other"), LINES)
    disk.append(LINES[:6], "queue.1")
    assert Searching(disk, since=since).find(rewritten=[file]) == [("other", 0, file.id)]
    file.close()


# Files that were closed


def test_a_closed_file_is_read_on_once_it_has_another_line(disk: Disk, since: int):
    """Whatever its name is, and also if nothing seems to be rotated."""
    disk.append(b"a1\na2\n", "queue.1")
    retired = read_to(disk.path("queue.1"), 2)
    for more, expected in ((b"", []), (b"a", []), (b"3\n", [("queue.1", 6)])):
        disk.append(more, "queue.1")
        searching = Searching(disk, retired=[retired], since=since)
        assert searching.names(may_be_rotated=False) == expected


def test_a_closed_file_of_a_single_blank_line_is_read_on(disk: Disk, since: int):
    disk.append(BLANK, "queue.1")
    retired = read_to(disk.path("queue.1"), 1)
    disk.append(b"a1\n", "queue.1")
    assert Searching(disk, retired=[retired], since=since).names(may_be_rotated=False) == [("queue.1", 1)]


def test_a_closed_file_of_which_nothing_was_read_does_not_make_new_content_its_own(disk: Disk, since: int):
    disk.append(b"!", "queue.1")
    retired = read_to(disk.path("queue.1"), 0, rejected=1)
    disk.append(LINES, "queue.1")
    assert Searching(disk, retired=[retired], since=since).names(may_be_rotated=False) == []


def test_new_content_of_a_closed_file_is_not_read_under_a_name_that_rotation_does_not_give(disk: Disk, since: int):
    disk.append(LINES, "queue-mine")
    retired = read_to(disk.path("queue-mine"), 3)
    disk.path("queue-mine").write_bytes(b"b1\n")
    assert Searching(disk, retired=[retired], since=since).names() == []


def test_what_begins_a_closed_file_does_not_show_that_a_missing_one_is_in_it(disk: Disk, since: int):
    before = elsewhere(disk, b"a1\n")
    missing = read_to(before, 1)
    disk.append(b"a1\na2\n", "queue.1")
    retired = read_to(disk.path("queue.1"), 2)
    disk.append(b"a", "queue.1")
    searching = Searching(disk, missing, retired=[retired], since=since)
    assert (searching.names(), searching.search.missing) == ([], [missing])


@pytest.mark.parametrize(("more", "expected"), [(b"", []), (b"b", []), (b"b1\n", [("queue.1", 9)])])
def test_a_copy_of_a_closed_file_is_read_on_where_that_ended(
    disk: Disk, since: int, more: bytes, expected: list[tuple[str, int]]
):
    before = elsewhere(disk, LINES)
    retired = read_to(before, 3)
    disk.append(LINES + more, "queue.1")
    assert Searching(disk, retired=[retired], since=since).names() == expected


def test_new_content_is_read_though_a_file_was_closed_of_which_nothing_had_been_read(disk: Disk, since: int):
    before = elsewhere(disk, b"!")
    disk.append(LINES, "other")
    retired = [read_to(before, 0, rejected=1), read_to(disk.path("other"), 3)]
    disk.append(b"b1", "queue.1")
    assert Searching(disk, retired=retired, since=since).names() == [("queue.1", 0)]


def test_a_closed_file_of_which_nothing_had_been_read_is_known_while_it_has_no_line(disk: Disk, since: int):
    disk.append(b"!", "queue.1")
    retired = read_to(disk.path("queue.1"), 0, rejected=1)
    disk.append(b"?", "queue.1")
    assert Searching(disk, retired=[retired], since=since).names() == []


# Files that are not to be read


def test_of_the_first_look_the_inodes_and_the_latest_files_are_remembered(disk: Disk):
    searching = Searching(disk)
    count = SEEN_KEPT + 2
    for number in range(count):
        disk.append(b"%d\n" % number, f"queue.{number}")
        disk.tick()
    disk.append(LINES, "queue-mine")
    assert searching.names() == []
    assert searching.beside.inodes == {path.stat().st_ino for path in disk.directory.iterdir()}
    searching.end_look()
    assert searching.search.seen.files is not None
    assert len(searching.search.seen.files) == SEEN_KEPT
    before, first = (disk.path(f"queue.{number}").stat() for number in (1, 2))
    assert searching.search.seen.is_unchanged(before)
    assert not searching.search.seen.is_known_inode(before.st_ino)
    assert searching.search.seen.is_known_inode(first.st_ino)


def test_of_very_many_files_only_as_many_are_opened_as_are_remembered(disk: Disk):
    searching = Searching(disk)
    for number in range(SEEN_KEPT + 2):
        disk.append(b"%d\n" % number, f"queue.{number}")
        disk.tick()
    names: list[str] = []
    opening = searching.search.open

    def counted(path: Path) -> TailReader:
        names.append(path.name)
        return opening(path)

    searching.search.open = counted
    searching.names()
    assert sorted(names) == sorted(f"queue.{number}" for number in range(2, SEEN_KEPT + 2))


def test_the_inodes_are_those_of_the_last_listing(disk: Disk, since: int):
    """Also those that only the directory says, as on some overlay file systems."""
    disk.append(LINES, "queue.1")
    searching = Searching(disk, since=since)
    searching.find(inodes={"queue.1": 5})
    assert searching.beside.inodes == {5, inode_of(disk, "queue.1")}
    disk.delete("queue.1")
    searching.find()
    assert searching.beside.inodes == set()


def test_an_old_file_beside_a_rotation_is_a_gap_after_a_start_unless_it_is_empty(disk: Disk, since: int):
    for name, content in (("queue.1", LINES), ("queue.2", b"")):
        disk.append(content, name)
        os.utime(disk.path(name), ns=(since - 1, since - 1))
    searching = Searching(disk, since=since)
    assert searching.names() == []
    assert searching.said == [("gap", gap_of_doubtful([disk.path("queue.1")]))]
    searching.end_look()
    assert {file.inode for file in searching.search.seen.files or ()} == {
        inode_of(disk, name) for name in ("queue.1", "queue.2")
    }


def test_an_old_file_beside_a_rotation_is_no_gap_while_the_worker_runs(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    os.utime(disk.path("queue.1"), ns=(since - 1, since - 1))
    searching = Searching(disk, since=since)
    searching.beside.is_starting = False
    assert (searching.names(), searching.said) == ([], [])


def test_an_old_file_with_two_names_is_one_gap(disk: Disk, since: int):
    disk.append(LINES, "queue.1")
    os.utime(disk.path("queue.1"), ns=(since - 1, since - 1))
    disk.path("queue.2").hardlink_to(disk.path("queue.1"))
    searching = Searching(disk, since=since)
    searching.names()
    assert searching.said in [[("gap", gap_of_doubtful([disk.path(name)]))] for name in ("queue.1", "queue.2")]


@pytest.mark.parametrize(
    ("age", "was_missing", "is_gap"),
    [
        pytest.param(-1, False, False, id="old, and not being read"),
        pytest.param(-1, True, True, id="old, and being read"),
        pytest.param(1, False, True, id="new, and not being read"),
        pytest.param(1, True, True, id="new, and being read"),
    ],
)
def test_a_compressed_file_is_a_gap_if_it_was_being_read_or_is_new(
    disk: Disk, since: int, age: int, was_missing: bool, is_gap: bool
):
    before = elsewhere(disk, LINES)
    missing = [read_to(before, 1)] if was_missing else []
    disk.path("queue.1.gz").write_bytes(gzip.compress(LINES))
    os.utime(disk.path("queue.1.gz"), ns=(since, since + age))
    searching = Searching(disk, *missing, since=since)
    assert searching.names() == []
    gap = gap_of_compressed(disk.path("queue.1.gz"), missing[0] if missing else None, 9)
    assert searching.said == ([("gap", gap)] if is_gap else [])
    assert searching.search.missing == []
