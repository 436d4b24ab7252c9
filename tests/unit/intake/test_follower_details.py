"""What a step reports and stores, beside the lines that it reads."""

from pathlib import Path

from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.file.follower import DRAIN_SECONDS
from tests.doubles.intake import Disk, Following

# What is left to read


def test_how_far_the_file_was_read_is_not_known_before_it_is_there(following: Following):
    assert following.follower.progress() == InputReport(None, 0)
    following.step()
    assert following.follower.progress() == InputReport(None, 0)


def test_what_is_left_to_read_is_counted_in_all_open_files(disk: Disk, following: Following):
    disk.append(b"a1\na2\na3\n")
    assert following.step(limit=1) == ["a1"]
    assert following.follower.progress() == InputReport(3, 6)
    disk.rename("queue", "queue.1")
    disk.append(b"b1\nb2")
    assert following.step(limit=1) == ["a2"]
    assert following.follower.progress() == InputReport(0, 8)
    assert following.step() == ["a3", "b1"]
    assert following.follower.progress() == InputReport(5, 0)


def test_a_file_that_was_truncated_has_nothing_left_to_read(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    following.step()
    disk.truncate()
    assert following.follower.progress() == InputReport(6, 0)


# The order and the room


def test_a_file_is_not_begun_while_there_is_no_room_after_the_one_before(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\na3\n")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\nb2\n")
    assert following.step(limit=2) == ["a2", "a3"]
    assert following.step(limit=2) == ["b1", "b2"]


# What is stored


def test_that_nothing_is_there_yet_is_stored_at_once_and_again_when_it_stays_so(following: Following):
    """What appears and is rotated away while the worker is down is then no history."""
    counts = []
    for _ in range(9):
        following.step()
        counts.append(len(following.batches))
    assert (counts[0], counts[-1]) == (1, 2)


def test_nothing_is_stored_while_the_file_can_not_be_read(disk: Disk, following: Following):
    disk.path().mkdir()
    for _ in range(3):
        following.step()
    assert following.batches == []


def test_a_state_that_changes_is_stored_once_it_is_quiet_for_a_step(disk: Disk, following: Following):
    disk.append(b"a1\n")
    for _ in range(9):
        following.step()
    stored = len(following.batches)
    counts = []
    for grows in (True, True, False, False, True, False):
        if grows:
            disk.tick()
            disk.append(b"b")
        following.step()
        counts.append(len(following.batches) - stored)
    assert counts == [0, 0, 1, 1, 1, 2]


def test_that_a_file_was_closed_is_stored_though_another_can_not_be_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    disk.delete("queue.1")
    disk.delete()
    disk.path().mkdir()
    following.step()
    stored = len(following.batches)
    following.event_names()
    following.step(DRAIN_SECONDS)
    assert (following.event_names(), len(following.batches)) == (["retired"], stored + 1)


def test_a_follower_that_is_closed_holds_no_file_open(disk: Disk, following: Following):
    before = len([*Path("/proc/self/fd").iterdir()])
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    assert len([*Path("/proc/self/fd").iterdir()]) == before + 2
    for _ in range(2):
        following.follower.close()
        assert len([*Path("/proc/self/fd").iterdir()]) == before
