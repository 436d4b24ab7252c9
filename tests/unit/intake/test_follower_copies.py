"""Following a file through copies, truncation, replacement and deletion."""

import os
from typing import Any

import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.runtime.links import Place
from tests.doubles.intake import Disk, Following

# Copying and truncating


def test_after_a_copy_and_truncation_the_copy_is_read_on_and_the_file_anew(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.tick()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    assert following.step() == ["a2"]
    disk.append(b"a3\n")
    assert following.step() == ["a3"]
    assert following.event_names() == ["appeared", "truncated", "found"]


def test_a_truncation_is_noticed_though_the_file_has_grown_beyond_its_old_size(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\nb2\n")
    assert following.step() == ["b1", "b2"]


def test_a_truncation_is_noticed_though_size_and_time_are_as_before(disk: Disk, following: Following):
    """Two writes within one tick of the file system's clock."""
    disk.append(b"a1\n")
    following.step()
    following.step()
    disk.truncate()
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


def test_a_partial_line_is_not_joined_to_what_is_written_after_a_truncation(disk: Disk, following: Following):
    disk.append(b"half")
    following.step()
    disk.truncate()
    disk.append(b"whole1\n")
    assert following.step() == ["whole1"]


def test_a_copy_of_a_file_of_which_nothing_had_been_read_is_read(disk: Disk, following: Following):
    disk.append(b"")
    following.step()
    disk.tick()
    disk.append(b"a1\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    assert following.step() == ["a1"]


@pytest.mark.parametrize("after", [b"", b"b1\n"])
def test_a_copy_into_an_older_copy_of_a_file_of_which_nothing_had_been_read_is_read(
    disk: Disk, following: Following, after: bytes
):
    """No name appears, and the file is as empty as before, or has grown as any does."""
    disk.append(b"x1\n", "queue.1")
    disk.append(b"")
    following.step()
    for _ in range(5):
        following.step(1)
    disk.tick()
    disk.append(b"a1\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(after)
    assert following.step() == ["a1", "b1"][: 1 + bool(after)]


def test_two_copies_and_truncations_between_two_steps_lose_nothing(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.tick()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.2")
    disk.truncate()
    disk.append(b"b1\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"c1\n")
    assert sorted(following.step()) == ["a2", "b1", "c1"]


def test_a_copy_that_is_seen_before_the_truncation_is_not_read_as_another_file(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    following.step()
    disk.tick()
    disk.copy("queue", "queue.1")
    assert following.step() == []
    disk.append(b"a3\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\n")
    assert following.step() == ["a3", "b1"]


def test_a_copy_into_an_older_copy_is_read_on(disk: Disk, following: Following):
    """`cp queue queue.1` writes into the file that queue.1 was."""
    disk.append(b"a1\n")
    following.step()
    for number in range(2, 5):
        disk.tick()
        disk.append(b"a%d\n" % number)
        disk.copy("queue", "queue.1")
        disk.truncate()
        assert following.step() == [f"a{number}"]


def test_of_several_copies_the_longest_is_read_on(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.backup")
    disk.copy("queue", "queue.2")
    disk.append(b"a3\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    assert following.step() == ["a2", "a3"]


def test_a_truncation_between_the_look_and_the_read_makes_no_false_line(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    disk.append(b"aaaa1\n")
    following.step()

    class Interrupting:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def pread(self, descriptor: int, size: int, offset: int) -> bytes:
            if size >= tail_reader.SMALLEST_CHUNK_BYTES:
                monkeypatch.setattr(tail_reader, "os", os)
                disk.truncate()
                disk.append(b"bbbbbbbbbb1\nb2\n")
            return os.pread(descriptor, size, offset)

    monkeypatch.setattr(tail_reader, "os", Interrupting())
    assert following.step() == []
    assert following.step() == ["bbbbbbbbbb1", "b2"]


def test_a_rotation_while_copies_are_looked_through_makes_no_line_come_twice(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """What stands under a name by then is not what was seen there."""
    disk.append(b"a1\n")
    following.step()
    disk.tick()
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"a2\n")
    disk.copy("queue", "queue-20261123")
    disk.truncate()

    real = Place.open

    def interrupted(place: Place, flags: int) -> int:
        monkeypatch.setattr(Place, "open", real)
        disk.rename("queue.1", "queue.2")
        disk.rename("queue", "queue.1")
        return real(place, flags)

    monkeypatch.setattr(Place, "open", interrupted)
    first = following.step()
    assert not following.at_end
    assert first + following.step() + following.step() == ["a2"]


def test_the_hole_that_a_writer_that_does_not_append_leaves_is_no_part_of_its_next_line(
    disk: Disk, following: Following
):
    """It goes on where it was before the truncation; what it writes next begins with zeros."""
    disk.append(b"a1\n")
    following.step()
    disk.truncate()
    with disk.path().open("r+b") as writer:
        writer.seek(3)
        writer.write(b"a2\na3\n")
    assert following.step() == ["a2", "a3"]
    assert following.rejections == []
    assert following.zeros == [3]


# Replacement, deletion, making anew


def test_a_file_that_replaces_another_is_read_whole_and_the_other_to_its_end(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    disk.replace(b"b1\n")
    assert following.step() == ["a2", "b1"]


def test_a_deleted_file_is_read_to_its_end_and_the_next_one_from_its_start(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    disk.delete()
    assert following.step() == ["a2"]
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    assert following.event_names() == ["appeared", "deleted", "appeared"]


def test_a_file_deleted_and_made_again_between_two_steps_is_another_file(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.delete()
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


def test_a_file_that_is_made_again_as_it_was_is_read_again(disk: Disk, following: Following):
    """To submit the same asset again, on the same inode perhaps, is no mistake."""
    for _ in range(3):
        disk.append(b"a1\n")
        assert following.step() == ["a1"]
        disk.delete()
        following.step()
        following.step(DRAIN_SECONDS)
