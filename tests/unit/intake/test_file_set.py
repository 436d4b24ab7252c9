"""When the files beside the path are searched through, and what a change at the path makes of the open ones."""

import errno
import os
import shutil
from typing import Any

import pytest

from asset_worker.intake.file import directories
from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, decode, digest
from asset_worker.intake.file.file_set import COARSE_TICK, FileSet
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.intake.file.gaps import reason_to_reread
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.search import RETIRED_KEPT
from asset_worker.intake.file.tail_reader import TailReader
from tests.doubles.intake import Disk, Following
from tests.doubles.searching import open_descriptors


def settle(following: Following) -> None:
    """Let so much time pass that it is known that nothing was rotated."""
    for _ in range(3):
        following.step(2)


def stored(following: Following) -> tuple[Checkpoint, ...]:
    """The checkpoints of the files that were open when the state was last stored."""
    state = decode(following.position)
    assert state is not None
    return state.files


def file_set(disk: Disk, state: FollowerState | None = None) -> FileSet:
    return FileSet(QueueFile(disk.path()), state, ROTATED, lambda *_: None)


def settled(files: FileSet, *times: float) -> list[bool]:
    """After each look, whether nothing was or may have been rotated."""
    found = []
    for now in times:
        files.look(now)
        found.append(files.state().is_settled)
    return found


class FailingOs:
    """Stands in for `os`: no directory can be listed."""

    def scandir(self, _: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


# When it is known that nothing was rotated


def test_a_second_after_the_last_change_it_is_known_that_nothing_was_rotated(disk: Disk):
    disk.append(b"a1\n")
    files = file_set(disk)
    assert settled(files, 100, 100.5, 100.99, 101, 101.25) == [False, False, False, True, True]
    disk.tick()
    disk.replace(b"b1\n")
    assert settled(files, 102, 102.5, 103, 103.25) == [False, False, True, True]
    files.close()


def test_it_is_not_known_before_the_directory_has_been_listed(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(directories, "PAUSE_SECONDS", 100.0)
    disk.append(b"a1\n")
    files = file_set(disk)
    assert settled(files, 100, 102, 199, 200) == [False, False, False, True]
    files.close()


def test_it_is_not_known_while_a_directory_can_not_be_listed(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    files = file_set(disk)
    monkeypatch.setattr(directories, "os", FailingOs())
    assert settled(files, 100, 102, 104) == [False, False, False]
    is_complete = [files.is_complete]
    monkeypatch.undo()
    assert settled(files, 106) == [True]
    assert [*is_complete, files.is_complete] == [False, True]


def test_it_is_not_known_while_a_file_is_searched_for(disk: Disk):
    disk.append(b"a1\n")
    files = file_set(disk)
    files.look(100)
    [file] = files.files
    file.read(9)
    disk.delete()
    files.look(101)
    before = open_descriptors()
    files.release(file)
    assert (open_descriptors(), files.files) == (before - 1, [])
    assert settled(files, 103, 104, 105) == [False, False, True]


def test_it_is_not_known_after_a_search_that_may_have_missed_a_file(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    disk.append(b"a1\n")
    disk.append(b"z1\n", "queue.1")
    files = file_set(disk)
    monkeypatch.setattr(TailReader, "examine", lambda *_: None)
    assert settled(files, 100, 102) == [False, False]
    is_complete = [files.is_complete]
    monkeypatch.undo()
    assert settled(files, 104) == [True]
    assert [*is_complete, files.is_complete] == [False, True]
    files.close()


def test_of_a_listing_that_fails_nothing_is_forgotten_and_of_another_what_is_gone(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    disk.append(b"z1\n", "queue.1")
    disk.append(b"a1\n")
    files = file_set(disk)
    files.look(100)
    files.files[0].read(9)
    assert settled(files, 102) == [True]
    history = files.state().seen
    assert [each.inode for each in history or ()] == [disk.path("queue.1").stat().st_ino]
    disk.tick()
    disk.delete("queue.1")
    monkeypatch.setattr(directories, "os", FailingOs())
    files.look(103)
    assert files.state().seen == history
    monkeypatch.undo()
    files.look(104)
    assert files.state().seen == history
    disk.tick()
    disk.append(b"", "other")
    files.look(106)
    assert files.state().seen == ()
    files.close()


def test_an_empty_file_that_stays_as_it_is_was_not_rotated(disk: Disk):
    disk.append(b"")
    files = file_set(disk)
    assert settled(files, 100, 102) == [False, True]
    files.close()


@pytest.mark.parametrize(
    ("later", "ids"),
    [
        pytest.param(0, ["b1"], id="in the same tick"),
        pytest.param(COARSE_TICK, ["b1"], id="in the coarsest tick"),
        pytest.param(COARSE_TICK + 1, [], id="later"),
    ],
)
def test_of_an_empty_file_only_the_time_shows_that_it_was_not_rotated(
    disk: Disk, following: Following, later: int, ids: list[str]
):
    disk.append(b"")
    settle(following)
    emptied = disk.now
    disk.tick(10**6)
    disk.append(b"b1\n", "queue.1")
    os.utime(disk.path(), ns=(emptied, emptied))
    os.utime(disk.directory, ns=(disk.now, emptied + later))
    if not later:
        os.utime(disk.directory, ns=(disk.now, emptied + 1))
    assert following.step() == ids


# After a start


@pytest.mark.parametrize("has_grown", [False, True])
@pytest.mark.parametrize("is_settled", [False, True])
def test_a_file_that_came_to_the_directory_while_down_is_read_unless_it_is_known_that_nothing_was_rotated(
    disk: Disk, following: Following, has_grown: bool, is_settled: bool
):
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    if is_settled:
        settle(following)
    following.follower.close()
    disk.tick()
    disk.append(b"b1\n", "queue.1")
    if has_grown:
        disk.append(b"a2\n")
    following.restart()
    assert following.step() == ([] if is_settled else ["b1"]) + (["a2"] if has_grown else [])


def test_the_size_of_the_file_at_the_path_shows_that_nothing_was_rotated_and_not_that_of_an_old_one(
    disk: Disk, following: Following
):
    disk.append(b"a1\na2\na3\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    settle(following)
    following.follower.close()
    disk.tick()
    disk.append(b"x1\n", "queue.2")
    following.restart()
    assert [following.step(2), following.step(2)] == [[], []]


def test_a_file_of_which_nothing_had_been_read_is_found_under_any_name(disk: Disk, following: Following):
    disk.append(b"")
    following.step()
    following.follower.close()
    disk.append(b"a1\n")
    disk.rename("queue", "odd")
    following.restart()
    assert following.step() == ["a1"]


def test_a_file_that_was_being_read_is_drained_anew_after_a_start(disk: Disk, following: Following):
    """A partial line at its end is not taken for whole at once, however long the worker was down."""
    disk.append(b"a1\n6")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    following.now = 1000.0
    following.restart()
    following.step()
    assert following.rejections == []
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(2, b"6")]


def test_files_that_were_rotated_before_a_stop_are_read_for_as_long_after_the_start(disk: Disk, following: Following):
    for name in ("queue.2", "queue.1"):
        disk.append(name.encode() + b"\n")
        following.step()
        disk.rename("queue", name)
    disk.append(b"c1\n")
    following.step()
    following.now = 1000.0
    following.restart()
    following.event_names()
    following.step()
    assert following.event_names() == []
    following.step(DRAIN_SECONDS)
    assert following.event_names() == ["retired"]


def test_a_file_that_is_found_beside_the_path_is_drained_from_then_on(disk: Disk, following: Following):
    following.now = 1000.0
    following.step()
    disk.append(b"6", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    assert following.rejections == []
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(1, b"6")]


def test_while_the_directory_is_gone_nothing_is_given_up(disk: Disk, following: Following):
    """Its volume may be mounted late."""
    (disk.directory / "sub").mkdir()
    sub = Disk(disk.directory / "sub")
    following.path = sub.path()
    following.restart()
    sub.append(b"a1\n")
    following.step()
    sub.directory.rename(disk.directory / "elsewhere")
    following.restart()
    for _ in range(4):
        following.step(2)
    assert "gap" not in following.event_names()
    (disk.directory / "elsewhere").rename(sub.directory)
    sub.append(b"a2\n")
    assert following.step() == ["a2"]


def test_a_file_is_given_up_only_after_two_listings(disk: Disk, following: Following):
    disk.append(b"a1\n")
    disk.append(b"", "other")
    following.step()
    disk.delete()
    following.restart()
    following.event_names()
    events = []
    for seconds in (1, 0, 0, 1):
        following.step(seconds)
        events.append(following.event_names())
    assert events == [[], [], [], ["gap"]]


# What is read again


def test_it_is_said_that_the_same_bytes_are_in_another_file_which_is_no_gap(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    following.step()
    [before] = stored(following)
    following.follower.close()
    shutil.copyfile(disk.path(), disk.path("new"))
    disk.tick()
    disk.rename("new", "queue")
    os.utime(disk.path(), ns=(disk.now, disk.now))
    following.event_names()
    following.restart()
    assert following.step() == ["a1", "a2"]
    why = reason_to_reread(before, inode=disk.path().stat().st_ino, is_same_content=True)
    assert following.events() == [("reread", f"{disk.path()}: {why}"), ("appeared", None)]
    settle(following)
    assert following.event_names() == []


def test_it_is_said_how_far_the_file_at_the_path_had_been_read_and_not_an_old_one(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\nb2\n")
    following.step()
    _, before = stored(following)
    following.follower.close()
    disk.delete("queue.1")
    disk.append(b"c1\n", "new")
    disk.rename("new", "queue")
    following.event_names()
    following.restart()
    assert following.step() == ["c1"]
    why = reason_to_reread(before, inode=disk.path().stat().st_ino, is_same_content=False)
    assert following.events()[0] == ("reread", f"{disk.path()}: {why}")


def test_it_is_said_if_the_bytes_of_an_old_file_are_at_the_path(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\nb2\n")
    following.step()
    before, _ = stored(following)
    following.follower.close()
    disk.tick()
    disk.append(b"a1\n", "new")
    disk.delete("queue.1")
    disk.rename("new", "queue")
    following.event_names()
    following.restart()
    assert following.step() == ["a1"]
    why = reason_to_reread(before, inode=disk.path().stat().st_ino, is_same_content=True)
    assert following.events()[0] == ("reread", f"{disk.path()}: {why}")


@pytest.mark.parametrize("content", [b"", b"b1\n"], ids=["empty", "found beside it"])
def test_a_new_file_does_not_repeat_one_that_was_empty_or_is_still_there(
    disk: Disk, following: Following, content: bytes
):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(content)
    following.step()
    following.follower.close()
    disk.delete("queue.1")
    disk.rename("queue", "queue.2") if content else disk.delete()
    disk.append(b"c1\n")
    following.event_names()
    following.restart()
    assert following.step() == ["c1"]
    assert "reread" not in following.event_names()


NOTHING = digest(b"")


def read_nowhere(inode: int) -> Checkpoint:
    """The checkpoint of a file of which nothing was read, and that is nowhere now."""
    return Checkpoint(0, inode, 0, 0, 0, NOTHING, 0, NOTHING, size=0)


def test_what_was_closed_since_the_last_listing_is_remembered_until_the_next_one(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    """Only a listing can show that it is gone."""
    monkeypatch.setattr(directories, "PAUSE_SECONDS", 100.0)
    disk.append(b"a1\n")
    files = file_set(disk)
    files.look(100)
    files.files[0].read(9)
    disk.tick()
    disk.replace(b"b1\n")
    files.look(101)
    files.files[-1].read(9)
    assert settled(files, 201, 203) == [True, True]
    files._search.retired = [read_nowhere(10**6 + number) for number in range(RETIRED_KEPT)]
    disk.tick()
    disk.append(b"", "other")
    files.look(204)
    files.retire(files.old[0])
    remembered = []
    for now in (205, 310):
        files.look(now)
        remembered.append([each.inode for each in files.state().seen or ()])
    assert remembered == [[10**6], []]
    files.close()


def test_a_file_of_which_nothing_had_been_read_is_searched_for_though_a_new_one_is_at_the_path(disk: Disk):
    disk.append(b"a1\n")
    files = file_set(disk, FollowerState((read_nowhere(10**6),), (), 0, seen=()))
    files.look(100)
    assert [each.inode for each in files.state().files] == [10**6, disk.path().stat().st_ino]
    files.close()


def test_a_file_that_is_deleted_while_it_is_looked_for_is_not_there(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    disk.append(b"a1\n")
    files = file_set(disk, FollowerState((read_nowhere(10**6),), (), 0, seen=()))
    opened: list[int] = []

    def delete(*_: object) -> TailReader:
        opened.append(1)
        raise FileNotFoundError

    monkeypatch.setattr(files._search, "open", delete)
    files.look(100)
    assert (files.files, len(opened) > 0) == ([], True)


def test_an_old_file_that_was_rewritten_with_the_lines_of_a_missing_one_is_read_on(disk: Disk):
    missing = Checkpoint(0, 10**6, 3, 1, 3, digest(b"m1\n"), 3, digest(b"m1\n"))
    disk.append(b"o1\n")
    files = file_set(disk, FollowerState((), (), 0, seen=()))
    files.look(100)
    [old] = files.files
    old.read(9)
    disk.tick()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    files.look(100.2)
    disk.tick()
    files._search.missing.append(missing)
    disk.path("queue.1").write_bytes(b"m1\n")
    files.look(100.4)
    assert [(file is old, file.offset) for file in files.old] == [(True, 3)]
    files.close()


def test_a_file_that_can_not_be_read_at_the_first_look_is_closed_again(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    """Or else each attempt would leave a descriptor behind."""
    missing = Checkpoint(0, 10**6, 3, 1, 3, digest(b"m1\n"), 3, digest(b"m1\n"))
    disk.append(b"a1\n")
    files = file_set(disk, FollowerState((missing,), (), 0, seen=()))

    def fail(*_: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(TailReader, "holds", fail)
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output error"):
        files.look(100)
    assert (open_descriptors(), files.files, files.state().files) == (before, [], (missing,))
    monkeypatch.undo()
    files.look(101)
    assert [file.offset for file in files.files] == [0]
    files.close()
