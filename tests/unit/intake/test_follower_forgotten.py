"""Rotated files that were read so long ago that their checkpoints are not kept any longer."""

import json
import os

import pytest

from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.intake.file.search import RETIRED_KEPT
from tests.doubles.intake import Disk, Following

ROTATIONS = RETIRED_KEPT + 2
"""So many that the first of the rotated files is forgotten: the last one stays open, the others are closed."""


def read_and_rotate(disk: Disk, following: Following, numbers: range) -> None:
    """Rotate the queue file once for each number, after its line was read; then let the old ones be closed."""
    for number in numbers:
        disk.tick()
        disk.append(b"a%d\n" % number)
        assert following.step(1) == [f"a{number}"]
        disk.rename("queue", f"queue.{number}")
        following.step(1)
    following.step(DRAIN_SECONDS)


def forget_first(disk: Disk, following: Following) -> None:
    """Rotate until the checkpoint of the first rotated file is not kept any longer."""
    read_and_rotate(disk, following, range(ROTATIONS))
    assert following.event_names().count("retired") == RETIRED_KEPT + 1


def rotate_while_down(disk: Disk, following: Following) -> None:
    """Rotate once more, so that the files beside the path are looked at after the start."""
    following.follower.close()
    disk.tick()
    disk.append(b"b1\n")
    disk.rename("queue", "queue.99")
    disk.append(b"b2\n")
    following.restart()


def gaps(following: Following) -> list[tuple[str, str | None]]:
    return [event for event in following.events() if event[0] == "gap"]


def without_starts(position: bytes) -> bytes:
    """Return the position as earlier versions stored it."""
    state = json.loads(position)
    for file in (*state["files"], *state["retired"]):
        del file["start"]
    return json.dumps(state).encode()


def test_no_lines_are_reported_missing_in_a_forgotten_file_after_a_restart(disk: Disk, following: Following):
    forget_first(disk, following)
    following.restart()
    assert [following.step(1) for _ in range(3)] == [[], [], []]
    assert gaps(following) == []


def test_a_forgotten_file_that_was_touched_while_down_is_not_read_again(disk: Disk, following: Following):
    forget_first(disk, following)
    disk.tick()
    os.utime(disk.path("queue.0"), ns=(disk.now, disk.now))
    rotate_while_down(disk, following)
    assert sorted([*following.step(1), *following.step(1)]) == ["b1", "b2"]
    assert gaps(following) == []


def test_the_file_of_a_checkpoint_that_an_earlier_version_stored_is_known_while_it_is_unchanged(
    disk: Disk, following: Following
):
    read_and_rotate(disk, following, range(ROTATIONS - 1))
    assert following.position is not None
    following.position = without_starts(following.position)
    following.restart()
    following.step(1)
    following.event_names()
    read_and_rotate(disk, following, range(ROTATIONS - 1, ROTATIONS + 1))
    assert following.event_names().count("retired") == 2
    following.restart()
    assert [following.step(1) for _ in range(3)] == [[], [], []]
    assert gaps(following) == []


@pytest.mark.parametrize("stored_by_earlier", [False, True])
def test_a_new_file_on_the_inode_of_a_forgotten_one_is_read(disk: Disk, following: Following, stored_by_earlier: bool):
    read_and_rotate(disk, following, range(ROTATIONS - 1))
    if stored_by_earlier:
        assert following.position is not None
        following.position = without_starts(following.position)
        following.restart()
        following.step(1)
    read_and_rotate(disk, following, range(ROTATIONS - 1, ROTATIONS + 1))
    disk.tick()
    disk.truncate("queue.0")
    disk.append(b"c1\nc2\n", "queue.0")
    rotate_while_down(disk, following)
    assert sorted([*following.step(1), *following.step(1)]) == ["b1", "b2", "c1", "c2"]


def test_a_new_file_on_the_inode_of_a_deleted_one_is_read_though_it_begins_with_the_same_lines(
    disk: Disk, following: Following
):
    """The deleted file is moved to where nothing looks for it, and comes back with more lines."""
    disk.path("elsewhere").mkdir()
    read_and_rotate(disk, following, range(1))
    disk.rename("queue.0", "elsewhere/file")
    read_and_rotate(disk, following, range(1, ROTATIONS + 1))
    disk.tick()
    disk.append(b"c1\n", "elsewhere/file")
    disk.rename("elsewhere/file", "queue.98")
    rotate_while_down(disk, following)
    assert sorted([*following.step(1), *following.step(1)]) == ["a0", "b1", "b2", "c1"]
