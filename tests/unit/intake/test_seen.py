"""The files beside the path that are remembered, for how long, and which others are new."""

import os
from collections.abc import Set as AbstractSet

import pytest

from asset_worker.intake.file.checkpoint import FollowerState
from asset_worker.intake.file.seen import SeenFiles, unread_file
from asset_worker.intake.file.siblings import SEEN_KEPT, SeenFile, seen_file

HEAD = b"a1\n"


def status(inode: int, mtime: int = 100, size: int = 3, ctime: int = 100) -> os.stat_result:
    return os.stat_result((0o100644, inode, 8, 1, 0, 0, size, 0, 0, 0, 0.0, 0.0, 0.0, 0, mtime, ctime))


def seen(inode: int, mtime: int = 100, size: int = 3) -> SeenFile:
    return seen_file(inode, size, mtime, HEAD)


def remembering(*files: SeenFile, since: int = 100) -> SeenFiles:
    """As after a restart."""
    return SeenFiles(FollowerState((), (), since, seen=files))


class Looking:
    """Ends a look at a time, in seconds after the first."""

    def __init__(self, files: SeenFiles | None = None) -> None:
        self.files = files or SeenFiles(None)

    def end(
        self,
        seconds: float,
        directory_time: int = 10,
        *,
        may_be_rotated: bool = False,
        is_listed: bool = True,
        inodes: AbstractSet[int] | None = None,
    ) -> None:
        self.files.end_look(
            directory_time, 5000.0 + seconds, may_be_rotated=may_be_rotated, is_listed=is_listed, inodes=inodes
        )

    @property
    def inodes(self) -> list[int]:
        return [file.inode for file in self.files.files or ()]


# Which files are known


def test_a_file_is_unchanged_with_its_size_and_time_and_known_while_it_grows():
    files = remembering(seen(7))
    assert (files.is_unchanged(status(7)), files.is_known(status(7), HEAD)) == (True, True)
    assert (files.is_unchanged(status(7, size=6)), files.is_known(status(7, size=6), HEAD + b"a2\n")) == (False, True)
    assert (files.is_unchanged(status(8)), files.is_known(status(8), HEAD)) == (False, False)
    assert (files.is_known_inode(7), files.is_known_inode(8)) == (True, False)


@pytest.mark.parametrize("is_stored", [True, False])
def test_when_as_many_files_are_remembered_as_may_be_all_before_them_are_known(is_stored: bool):
    """Before them in the order of their times and inodes, as files that are made at once have the same time."""
    kept = [seen(1000 + 2 * number) for number in range(SEEN_KEPT)]
    looking = Looking(remembering(*(kept if is_stored else ())))
    if not is_stored:
        for file in kept:
            looking.files.add(file)
    for inode, is_known in [(999, True), (1001, False), (1002, True), (1003, False)]:
        assert looking.files.is_unchanged(status(inode)) is is_known
        assert looking.files.is_known(status(inode), HEAD) is is_known
    shrunk = status(1000, size=2)
    assert (looking.files.is_unchanged(shrunk), looking.files.is_known(shrunk, HEAD[:2])) == (False, False)


def test_while_fewer_files_are_remembered_none_is_known_for_its_time():
    files = remembering(*(seen(1000 + number) for number in range(SEEN_KEPT - 1)))
    for old in (status(0, mtime=0), status(5, mtime=0), status(5, mtime=99)):
        assert (files.is_unchanged(old), files.is_known(old, HEAD)) == (False, False)


@pytest.mark.parametrize(("count", "is_known"), [(SEEN_KEPT, False), (SEEN_KEPT + 1, True), (SEEN_KEPT + 2, True)])
def test_of_the_files_of_the_first_look_those_before_the_last_are_known_at_once(count: int, is_known: bool):
    files = SeenFiles(None)
    files.forget_before([status(1000 + number) for number in range(count)][::-1])
    before = 1000 + count - SEEN_KEPT - 1
    assert [files.is_known(status(inode), HEAD) for inode in (before, before + 1)] == [is_known, False]


# Which files are new


SEEN = FollowerState((), (), 100, seen=())
SEEN_EARLIER = FollowerState((), (), 100)
"""As earlier versions stored it, which kept only the time."""


@pytest.mark.parametrize(
    ("state", "mtime", "ctime", "is_later"),
    [
        pytest.param(SEEN, 100, 150, True, id="modified in the tick of the last look"),
        pytest.param(SEEN, 99, 150, False, id="modified before the last look"),
        pytest.param(SEEN, 99, 99, True, id="made before the last look, which did not see it"),
        pytest.param(SEEN_EARLIER, 100, 100, True, id="modified since an earlier version looked"),
        pytest.param(SEEN_EARLIER, 99, 99, False, id="an earlier version saw it"),
        pytest.param(None, 100, 100, False, id="there was no look"),
    ],
)
def test_a_file_is_new_if_it_was_written_after_the_last_look(
    state: FollowerState | None, mtime: int, ctime: int, is_later: bool
):
    assert SeenFiles(state).is_later(status(7, mtime, ctime=ctime)) is is_later


def test_a_file_whose_times_can_not_be_read_is_new_after_the_first_look():
    assert remembering().is_later(None)
    assert not SeenFiles(None).is_later(None)


def test_the_time_after_which_files_are_new_follows_a_second_behind():
    """A file may be found a little late."""
    looking = Looking()
    sinces = []
    for seconds, directory_time in [(0.0, 10), (0.5, 20), (1.0, 30), (1.5, 40), (2.0, 50), (2.25, 60)]:
        looking.end(seconds, directory_time)
        sinces.append(looking.files.since)
    assert sinces == [10, 10, 10, 10, 30, 30]


def test_the_time_stays_before_a_change_that_could_not_be_listed():
    looking = Looking()
    looking.end(0, 10)
    looking.end(5, 20, is_listed=False)
    looking.end(9, 30, is_listed=False)
    assert looking.files.since == 10
    looking.end(10, 40)
    looking.end(11, 50)
    assert looking.files.since == 40


# Which files are remembered


def test_after_the_first_look_it_is_known_that_there_was_no_file():
    looking = Looking()
    looking.end(0)
    assert looking.files.files == ()


def test_a_file_that_is_certainly_not_to_be_read_is_remembered_at_the_end_of_the_look():
    looking = Looking()
    looking.files.note(seen(7), is_certain=True)
    assert looking.files.files is None
    looking.end(0)
    assert looking.files.files == (seen(7),)


def test_a_file_of_others_is_remembered_after_a_second_without_a_rotation():
    looking = Looking()
    remembered = []
    for seconds in (0.0, 0.5, 0.99, 1.0):
        looking.files.note(seen(7), is_certain=False)
        looking.end(seconds)
        remembered.append(looking.inodes)
    assert remembered == [[], [], [], [7]]


def test_a_file_of_others_is_looked_at_anew_when_something_may_have_been_rotated():
    looking = Looking()
    looking.files.note(seen(7), is_certain=False)
    looking.end(0)
    looking.end(0.5, may_be_rotated=True)
    looking.end(9)
    assert looking.inodes == []
    looking.files.note(seen(7), is_certain=False)
    looking.end(10)
    looking.end(10.5)
    assert looking.inodes == []
    looking.end(11)
    assert looking.inodes == [7]


def test_a_file_whose_checkpoint_is_no_longer_kept_is_remembered_with_the_others():
    looking = Looking()
    looking.files.add(seen(7))
    assert looking.files.files is None
    looking.end(0)
    looking.files.add(seen(8))
    assert looking.files.files == (seen(7), seen(8))


def test_what_is_known_of_a_file_is_replaced_by_what_is_known_later():
    looking = Looking(remembering(seen(7), seen(8)))
    looking.files.add(seen(7, size=6, mtime=200))
    assert looking.files.files == (seen(8), seen(7, size=6, mtime=200))


@pytest.mark.parametrize(
    ("inodes", "may_be_rotated", "left"),
    [
        pytest.param({7, 9}, False, [7], id="listed"),
        pytest.param(set(), False, [], id="listed, and none is there"),
        pytest.param(None, False, [7, 8], id="not listed"),
        pytest.param({7}, True, [7, 8], id="listed during a rotation"),
    ],
)
def test_a_file_is_forgotten_once_a_quiet_directory_is_listed_without_it(
    inodes: set[int] | None, may_be_rotated: bool, left: list[int]
):
    looking = Looking(remembering(seen(7), seen(8)))
    looking.end(0, inodes=inodes, may_be_rotated=may_be_rotated)
    assert looking.inodes == left


def test_a_file_that_was_forgotten_stays_forgotten():
    looking = Looking()
    looking.files.note(seen(7), is_certain=True)
    looking.end(0)
    looking.end(1, inodes={8})
    looking.end(2)
    assert looking.files.files == ()


def test_a_file_whose_status_can_not_be_read_is_remembered_by_its_inode():
    assert unread_file(7, None) == SeenFile(7, 0, 0, "")
    assert unread_file(7, status(7)) == SeenFile(7, 3, 100, "")
    assert unread_file(7, status(7), HEAD) == seen(7)
