"""What rotation while the worker runs makes of the open files."""

import pytest

from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.file.checkpoint import Checkpoint, decode
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


@pytest.mark.parametrize("lines", [b"c1\n", b"c1\nc2\nc3\n"], ids=["shorter", "longer"])
def test_a_file_that_came_and_went_is_read_whatever_the_size_of_the_next_one(
    disk: Disk, following: Following, lines: bytes
):
    disk.append(b"a1\na2\n")
    following.step()
    settle(following)
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(lines)
    assert following.step() == ["b1", *lines.decode().split()]


@pytest.mark.parametrize("has_restarted", [False, True])
def test_a_file_that_was_copied_truncated_and_written_as_before_loses_no_line(
    disk: Disk, following: Following, has_restarted: bool
):
    """Its size and its bytes are those of the last look: only its time has changed."""
    disk.append(b"a1\n")
    following.step()
    settle(following)
    if has_restarted:
        following.restart()
        following.step()
    disk.tick()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"a1\n")
    assert "a2" in following.step()


def test_a_copy_is_found_at_once_though_the_next_listing_is_not_due(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\n")
    assert following.step(0) == ["a2", "b1"]


def test_a_file_that_came_and_went_is_found_when_one_appears_though_the_next_listing_is_not_due(
    disk: Disk, following: Following
):
    following.step()
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    assert following.step(0) == ["b1", "c1"]


def test_a_copy_of_the_new_file_is_not_read_beside_it(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\nb2\n")
    disk.append(b"b1\n", "queue.2")
    assert following.step() == ["b1", "b2"]


def test_a_file_that_is_moved_back_is_the_same_as_before(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    [before] = stored(following)
    disk.rename("queue", "queue.1")
    following.step()
    assert following.follower.progress() == InputReport(None, 0)
    descriptors = open_descriptors()
    disk.rename("queue.1", "queue")
    disk.append(b"a2\n")
    assert following.step() == ["a2"]
    assert following.follower.progress() == InputReport(6, 0)
    assert open_descriptors() == descriptors
    assert [each.id for each in stored(following)] == [before.id]
    assert following.event_names() == ["appeared", "deleted", "appeared"]


def test_a_copy_that_is_written_into_an_old_file_of_which_nothing_was_read_is_read_on(disk: Disk, following: Following):
    disk.append(b"")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    disk.append(b"a2\n")
    disk.path("queue.1").write_bytes(disk.path().read_bytes())
    disk.truncate()
    disk.append(b"b1\n")
    assert following.step() == ["a2", "b1"]
