"""Which files are found by their checkpoints, which are given up, and what is said of it."""

import errno
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState
from asset_worker.intake.file.directories import Entry
from asset_worker.intake.file.gaps import gap_of_missing
from asset_worker.intake.file.search import UnreadableFile
from asset_worker.intake.file.tail_reader import NotAFileError, TailReader
from tests.doubles.intake import Disk
from tests.doubles.searching import Searching, open_descriptors, opened, read_to, reader

LINES = b"a1\na2\na3\n"


def certain(checkpoint: Checkpoint) -> Checkpoint:
    return msgspec.structs.replace(checkpoint, is_doubtful=False)


def doubtful(checkpoint: Checkpoint) -> Checkpoint:
    return msgspec.structs.replace(checkpoint, is_doubtful=True)


def nothing_of(path: Path) -> Checkpoint:
    """The checkpoint of a file that could never be read."""
    return read_to(path, 0)


# What is searched for


def test_at_the_first_start_nothing_is_searched_for(disk: Disk):
    searching = Searching(disk)
    assert searching.search.is_complete
    assert not searching.search.may_be_restored
    assert searching.search.state([]) == FollowerState((), (), 0, seen=None, path=str(disk.path()))


def test_a_search_during_which_files_were_renamed_is_not_complete_until_the_next(disk: Disk):
    searching = Searching(disk)
    searching.search.is_stale = True
    during = searching.search.is_complete
    searching.search.begin()
    assert (during, searching.search.is_complete) == (False, True)


@pytest.mark.parametrize("kind", ["missing", "retired"])
def test_a_file_of_an_earlier_run_may_come_back(disk: Disk, kind: str):
    disk.append(LINES)
    checkpoint = read_to(disk.path(), 2)
    missing, retired = ((checkpoint,), ()) if kind == "missing" else ((), (checkpoint,))
    searching = Searching(disk, *missing, retired=retired, since=0)
    assert searching.search.is_complete == (kind == "retired")
    may_be_restored = [searching.search.may_be_restored]
    with opened(disk.path()) as file:
        is_resumed = [searching.search.resume_restored(file)]
        may_be_restored.append(searching.search.may_be_restored)
        is_resumed.append(searching.search.resume_restored(file))
        assert file.offset == 6
    assert (may_be_restored, is_resumed) == ([True, False], [True, False])


# What is given up


def test_of_two_files_that_are_gone_only_the_one_at_the_path_may_have_grown(disk: Disk):
    disk.append(b"z1\n", "queue.1")
    disk.append(LINES)
    rotated, current = read_to(disk.path("queue.1"), 1), read_to(disk.path(), 3)
    searching = Searching(disk, rotated, current, since=0)
    searching.search.give_up_missing()
    assert (searching.search.missing, searching.said) == ([rotated, current], [])
    searching.search.give_up_missing()
    gap = gap_of_missing(current, disk.path(), is_current=True, was_closed=True)
    assert (searching.search.missing, searching.said) == ([], [("gap", gap)])


def test_a_file_that_was_given_up_may_come_back_if_an_earlier_run_left_it(disk: Disk):
    """While the worker runs, what comes is a new file, even if it has the same content and time."""
    disk.append(LINES)
    before, now = read_to(disk.path(), 2), read_to(disk.path(), 1)
    searching = Searching(disk, before, since=0)
    searching.search.missing.append(now)
    for _ in range(2):
        searching.search.give_up_missing()
    assert searching.search.missing == []
    with opened(disk.path()) as file:
        assert searching.search.resume_restored(file)
        assert file.offset == 6
        assert not searching.search.resume_restored(file)


def test_nothing_is_given_up_while_a_search_may_have_missed_something(disk: Disk):
    disk.append(LINES)
    searching = Searching(disk, read_to(disk.path(), 2), since=0)
    searching.search.give_up_missing()
    searching.search.is_stale = True
    searching.search.give_up_missing()
    assert len(searching.search.missing) == 1


# What is found


def test_the_content_of_a_missing_file_is_found_in_a_copy_once(disk: Disk):
    disk.append(LINES)
    searching = Searching(disk, read_to(disk.path(), 2), since=0)
    disk.copy("queue", "queue.1")
    with opened(disk.path("queue.1")) as file:
        assert searching.search.resume_missing(file) is True
        assert (file.offset, searching.search.missing) == (6, [])
        assert searching.search.resume_missing(file) is False


@pytest.mark.parametrize(("lines", "beyond", "is_found"), [(0, 0, False), (1, 0, True), (1, 3, False), (2, 3, True)])
def test_fewer_bytes_than_are_known_of_another_file_prove_nothing(disk: Disk, lines: int, beyond: int, is_found: bool):
    disk.append(LINES)
    searching = Searching(disk, read_to(disk.path(), lines), since=0)
    with opened(disk.path()) as file:
        assert searching.search.resume_missing(file, beyond=beyond) is is_found


def test_a_file_that_vanishes_while_it_is_opened_may_have_been_renamed(disk: Disk):
    disk.append(LINES)
    checkpoint = read_to(disk.path(), 2)
    searching = Searching(disk, checkpoint, since=0)
    searching.fail("queue", code=errno.ENOENT)
    assert searching.search.reopen(checkpoint, []) is None
    assert searching.search.is_stale
    assert searching.search.missing == [checkpoint]


def test_a_file_that_is_not_there_was_not_renamed_during_the_search(disk: Disk):
    disk.append(LINES)
    checkpoint = read_to(disk.path(), 2)
    disk.delete()
    searching = Searching(disk, checkpoint, since=0)
    assert searching.search.reopen(checkpoint, []) is None
    assert not searching.search.is_stale


def test_an_error_at_the_path_itself_is_reported(disk: Disk):
    disk.append(LINES)
    checkpoint = read_to(disk.path(), 2)
    searching = Searching(disk, checkpoint, since=0)
    searching.fail("queue")
    with pytest.raises(PermissionError):
        searching.search.reopen(checkpoint, [])


@pytest.mark.parametrize("is_rotated", [True, False])
def test_a_file_beside_the_path_that_can_not_be_opened_is_set_aside(disk: Disk, is_rotated: bool):
    """Also where the directory says another inode than the file, as on some overlay file systems."""
    path = disk.path("queue.1" if is_rotated else "queue-mine")
    disk.append(LINES, path.name)
    checkpoint = read_to(path, 2)
    searching = Searching(disk, checkpoint, since=0)
    searching.fail(path.name)
    assert searching.search.reopen(checkpoint, [Entry(path, checkpoint.inode + 1, is_rotated)]) is None
    why = f"{path}: Permission denied"
    assert searching.search.unreadable == [UnreadableFile(checkpoint, path, 9, why, is_rotated)]
    assert searching.said == [("unreadable", why)]
    assert searching.search.missing == []
    assert not searching.search.is_complete


def test_what_became_no_file_is_passed_over(disk: Disk):
    disk.append(LINES, "queue.1")
    checkpoint = read_to(disk.path("queue.1"), 2)
    searching = Searching(disk, checkpoint, since=0)
    entries = searching.entries()
    disk.path("queue.2").hardlink_to(disk.path("queue.1"))

    def opened_beside(path: Path) -> TailReader:
        if path.name == "queue.1":
            raise NotAFileError(errno.EINVAL, "is not a regular file", str(path))
        return reader(path)

    searching.search.open = opened_beside
    found = searching.search.reopen(checkpoint, [*entries, Entry(disk.path("queue.2"), checkpoint.inode, True)])
    assert found is not None
    assert (found.name, found.offset) == ("queue.2", 6)
    found.close()


# Files that could not be read


def set_aside(searching: Searching, checkpoint: Checkpoint, path: Path, *, is_rotated: bool = True) -> None:
    searching.search.set_aside(UnreadableFile(checkpoint, path, 9, "why", is_rotated))
    searching.said.clear()


def test_a_file_of_which_nothing_was_known_is_read_on_as_the_copy_that_it_is(disk: Disk):
    disk.append(LINES)
    disk.copy("queue", "queue.1")
    searching = Searching(disk, read_to(disk.path(), 2), since=0)
    set_aside(searching, nothing_of(disk.path("queue.1")), disk.path("queue.1"))
    [file] = searching.search.reopen_unreadable()
    assert (file.name, file.offset) == ("queue.1", 6)
    assert (searching.search.missing, searching.search.unreadable) == ([], [])
    assert searching.said == [("readable", str(disk.path("queue.1")))]
    file.close()


def test_a_file_that_was_being_read_is_read_on_though_a_missing_one_began_alike(disk: Disk):
    disk.append(LINES)
    disk.copy("queue", "queue.1")
    missing = read_to(disk.path(), 2)
    searching = Searching(disk, missing, since=0)
    set_aside(searching, read_to(disk.path("queue.1"), 1), disk.path("queue.1"))
    [file] = searching.search.reopen_unreadable()
    assert (file.offset, searching.search.missing) == (3, [missing])
    file.close()


@pytest.mark.parametrize("is_rotated", [True, False])
def test_a_file_that_stays_unreadable_stays_set_aside(disk: Disk, is_rotated: bool):
    disk.append(LINES, "queue.1")
    checkpoint = read_to(disk.path("queue.1"), 1)
    searching = Searching(disk)
    set_aside(searching, checkpoint, disk.path("queue.1"), is_rotated=is_rotated)
    searching.fail("queue.1")
    assert [*searching.search.reopen_unreadable()] == []
    why = f"{disk.path('queue.1')}: Permission denied"
    assert searching.search.unreadable == [UnreadableFile(checkpoint, disk.path("queue.1"), 9, why, is_rotated)]
    assert searching.said == []


def other_content(disk: Disk) -> Checkpoint:
    """The checkpoint of a file that was deleted, and on whose inode another has come."""
    disk.append(LINES, "queue.1")
    checkpoint = read_to(disk.path("queue.1"), 2)
    disk.path("queue.1").write_bytes(b"b1\nb2\nb3\nb4\n")
    return checkpoint


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_rotated_file_that_came_to_the_inode_of_an_unreadable_one_is_read(disk: Disk, is_copy: bool):
    checkpoint = other_content(disk)
    disk.copy("queue.1", "copied")
    missing = [read_to(disk.path("copied"), 1)] if is_copy else []
    searching = Searching(disk, *missing, since=0)
    set_aside(searching, checkpoint, disk.path("queue.1"))
    [file] = searching.search.reopen_unreadable()
    identity = f"{missing[0].device}:{missing[0].inode}" if is_copy else f"{checkpoint.device}:{checkpoint.inode}+1"
    assert (file.offset, file.id) == (3 if is_copy else 0, identity)
    assert searching.search.missing == [checkpoint]
    assert searching.said == [("readable", str(disk.path("queue.1")))]
    file.close()


def test_a_file_of_another_name_on_that_inode_is_not_read(disk: Disk):
    checkpoint = other_content(disk)
    searching = Searching(disk)
    set_aside(searching, checkpoint, disk.path("queue.1"), is_rotated=False)
    assert [*searching.search.reopen_unreadable()] == []
    assert (searching.search.missing, searching.said) == ([checkpoint], [])


def test_a_file_that_was_replaced_while_it_was_unreadable_is_searched_for(disk: Disk):
    disk.append(LINES, "queue.1")
    checkpoint = read_to(disk.path("queue.1"), 2)
    searching = Searching(disk)
    set_aside(searching, checkpoint, disk.path("queue.1"))
    shutil.copy(disk.path("queue.1"), disk.path("new"))
    disk.rename("new", "queue.1")
    before = open_descriptors()
    assert [*searching.search.reopen_unreadable()] == []
    assert open_descriptors() == before
    assert (searching.search.missing, searching.search.unreadable) == ([checkpoint], [])


# Files that an earlier run could not distinguish


def test_the_file_on_the_inode_of_one_that_was_unreadable_in_an_earlier_run_is_read(disk: Disk):
    disk.append(LINES, "queue.0")
    checkpoint, other = doubtful(other_content(disk)), doubtful(read_to(disk.path("queue.0"), 3))
    searching = Searching(disk, other, checkpoint, since=0)
    entries = sorted(searching.entries(), key=lambda entry: entry.path)
    assert [entry.path.name for entry in entries] == ["queue.0", "queue.1"]
    file = searching.search.reopen(checkpoint, entries)
    assert file is not None
    assert (file.name, file.offset, file.id) == ("queue.1", 0, f"{checkpoint.device}:{checkpoint.inode}+1")
    assert searching.search.missing == [other, certain(checkpoint)]
    assert searching.search.stored == (other, certain(checkpoint))
    file.close()


@pytest.mark.parametrize(("is_doubtful", "name"), [(False, "queue.1"), (True, "other")])
def test_the_file_on_the_inode_of_a_missing_one_is_not_read_if_it_is_certain_or_of_another_name(
    disk: Disk, is_doubtful: bool, name: str
):
    checkpoint = msgspec.structs.replace(other_content(disk), is_doubtful=is_doubtful)
    if name != "queue.1":
        disk.rename("queue.1", name)
    searching = Searching(disk, checkpoint, since=0)
    assert searching.search.reopen(checkpoint, searching.entries()) is None
    assert searching.search.missing == [checkpoint]


def test_a_restored_file_has_the_bytes_and_the_time_of_the_original(disk: Disk):
    disk.append(LINES)
    searching = Searching(disk, read_to(disk.path(), 2), since=0)
    shutil.copy2(disk.path(), disk.path("restored"))
    os.utime(disk.path("restored"), ns=(disk.now, disk.now + 1))
    with opened(disk.path("restored")) as file:
        assert not searching.search.resume_restored(file)
    os.utime(disk.path("restored"), ns=(disk.now, disk.now))
    with opened(disk.path("restored")) as file:
        assert searching.search.resume_restored(file)
        assert file.offset == 6
