"""Following a file, step by step, through what writers and rotation do to it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.intake.doubles import Disk, Following
from worker.intake import watched
from worker.intake.cursor import decode
from worker.intake.follower import DRAIN_SECONDS, UNTERMINATED_SECONDS, Follower
from worker.intake.lines import LINE_BYTES_LIMIT
from worker.intake.names import is_rotated_name, siblings
from worker.intake.watched import READ_BYTES

# Appending


def test_what_stands_in_the_file_and_what_is_appended_is_read_once(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    assert following.step() == ["a1", "a2"]
    assert following.step() == []
    disk.append(b"a3\n")
    assert following.step() == ["a3"]
    assert following.whats() == ["appeared"]


def test_a_file_that_does_not_exist_yet_is_read_when_it_appears(disk: Disk, following: Following):
    assert following.step() == []
    assert following.at_end
    disk.append(b"a1\n")
    assert following.step() == ["a1"]


def test_a_directory_that_does_not_exist_yet_is_waited_for(tmp_path: Path):
    following = Following(tmp_path / "later" / "queue")
    assert following.step() == []
    (tmp_path / "later").mkdir()
    Disk(tmp_path / "later").append(b"a1\n")
    assert following.step() == ["a1"]
    following.follower.close()


def test_a_torn_last_line_comes_when_its_newline_has_come(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    assert following.step() == ["a1"]
    assert following.at_end
    disk.append(b"cd")
    assert following.step() == []
    disk.append(b"ef\na2\n")
    assert following.step() == ["abcdef", "a2"]


def test_a_torn_line_is_read_again_after_a_restart(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    following.restart()
    disk.append(b"cd\n")
    assert following.step() == ["abcd"]


def test_no_more_lines_are_read_at_once_than_there_is_room_for(disk: Disk, following: Following):
    disk.append(b"".join(b"a%d\n" % number for number in range(10)) + b"torn")
    assert following.step(limit=4) == ["a0", "a1", "a2", "a3"]
    assert not following.at_end
    following.restart()
    assert following.step(limit=4) == ["a4", "a5", "a6", "a7"]
    assert following.step(limit=4) == ["a8", "a9"]
    assert [submission.line for batch in following.batches for submission in batch.submissions] == [*range(1, 11)]
    assert following.at_end


def test_a_long_file_is_read_in_many_steps(disk: Disk, following: Following):
    ids = [f"asset{number:06}" for number in range(60_000)]
    disk.append("\n".join(ids).encode() + b"\n")
    read: list[str] = []
    while not following.at_end:
        read += following.step(limit=10_000)
    assert read == ids


def test_a_line_without_an_end_is_read_in_bounded_steps(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """A stop waits for a step; and nothing has been read to its end meanwhile."""
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    os.truncate(disk.path(), 100 * READ_BYTES)
    read: list[int] = []
    monkeypatch.setattr(watched, "os", Counting(read))
    for _ in range(3):
        read.clear()
        step = following.follower.step(following.now, 1000)
        assert (step.batch, step.at_end, step.has_more) == (None, False, True)
        assert READ_BYTES <= sum(read) < 2 * READ_BYTES
    os.truncate(disk.path(), 4 * READ_BYTES)
    disk.append(b"\na2\n")
    ids = following.step()
    while not following.at_end:
        ids += following.step()
    assert ids == ["a2"]
    assert [line for line, _ in following.rejections] == [2]


class Counting:
    """`os`, where what is read is counted."""

    def __init__(self, read: list[int]) -> None:
        self._read = read

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        data = os.pread(descriptor, size, offset)
        self._read.append(len(data))
        return data


def test_there_is_no_more_where_all_has_been_read(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    step = following.follower.step(following.now, 1000)
    assert (step.at_end, step.has_more) == (True, False)


def test_a_bad_line_is_rejected_with_its_number(disk: Disk, following: Following):
    disk.append(b"a1\n\n# comment\n../bad\na2\n" + b"x" * 300_000 + b"\na3\n")
    read: list[str] = []
    while not following.at_end:
        read += following.step()
    assert read == ["a1", "a2", "a3"]
    assert following.rejections == [(4, b"../bad"), (6, b"x" * 1024)]
    assert following.batches[-1].submissions[-1].line == 7


def test_an_id_followed_by_more_blanks_than_a_line_may_hold_is_rejected(disk: Disk, following: Following):
    """What is kept of such a line is an ID, and not the whole."""
    disk.append(b"a1" + b" " * 70 * 1024 + b"\na2\n")
    assert [*following.step(), *following.step()] == ["a2"]
    [found] = [found for batch in following.batches for found in batch.rejections]
    assert following.rejections == [(1, b"a1".ljust(1024))]
    assert str(LINE_BYTES_LIMIT) in found.reason


def test_a_line_of_the_full_length_is_read_while_it_is_torn_in_many_pieces(disk: Disk, following: Following):
    line = b'{"asset_id":"a1","metadata":{"a":"' + b"x" * (LINE_BYTES_LIMIT - 37) + b'"}}'
    for start in range(0, len(line), 10_000):
        disk.append(line[start : start + 10_000])
        assert following.step() == []
    disk.append(b"\n")
    assert following.step() == ["a1"]
    following.restart()
    disk.append(b"a2\n")
    assert following.step() == ["a2"]


# Rotation by renaming


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(disk: Disk, following: Following):
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["a2", "b1"]
    assert following.whats() == ["appeared", "rotated"]


def test_a_late_writer_into_a_renamed_file_is_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    disk.append(b"a2\na", "queue.1")
    assert following.step(DRAIN_SECONDS - 0.1) == ["a2"]
    disk.append(b"3\n", "queue.1")
    assert following.step(DRAIN_SECONDS - 0.1) == ["a3"]


@pytest.mark.parametrize("seconds", [8, 3600])
def test_a_late_line_comes_however_long_after_the_renaming(disk: Disk, following: Following, seconds: float):
    """An uploader keeps its descriptor open for as long as it has work; nothing tells of a write there."""
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    for _ in range(10):
        following.step(seconds / 10)
    disk.tick(1000)
    disk.append(b"b2\n")
    assert following.step() == ["b2"]
    disk.append(b"a2\n", "queue.1")
    assert following.step() == ["a2"]


def test_so_does_one_that_was_written_while_the_follower_was_down(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    following.step(60)
    disk.append(b"b2\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n", "queue.1")
    disk.tick(1000)
    disk.append(b"b3\n")
    following.restart()
    assert following.step() == ["a2", "b3"]


def test_the_latest_renamed_file_is_let_go_once_another_has_been_renamed(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.2")
    following.step()
    following.step(60)
    assert following.at_end
    disk.append(b"b1\n")
    following.step()
    assert following.whats() == ["appeared", "deleted", "appeared"]
    disk.rename("queue", "queue.1")
    disk.append(b"a2\n", "queue.2")
    assert following.step() == ["a2"]
    following.step(DRAIN_SECONDS - 0.1)
    assert following.whats() == ["deleted"]
    following.step(0.1)
    assert following.whats() == ["retired"]
    cursor = decode(following.position)
    assert cursor is not None
    assert (len(cursor.files), len(cursor.retired)) == (1, 1)


def test_a_renamed_file_is_let_go_when_it_is_deleted_and_quiet(disk: Disk, following: Following):
    """As long as it is open, its space on the disk is taken."""
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    with disk.path("queue.1").open("ab") as writer:
        disk.delete("queue.1")
        following.step()
        writer.write(b"a2\n")
        writer.flush()
        assert following.step(DRAIN_SECONDS - 0.1) == ["a2"]
    following.whats()
    following.step(DRAIN_SECONDS - 0.1)
    assert following.whats() == []
    following.step(0.1)
    assert following.whats() == ["retired"]


def test_a_file_deleted_last_does_not_count_as_the_latest(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    disk.delete()
    following.step()
    following.step(60)
    assert following.whats() == ["appeared", "rotated", "deleted", "retired"]
    disk.append(b"a2\n", "queue.1")
    assert following.step() == ["a2"]


def test_a_renamed_file_with_a_growing_torn_line_is_kept(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    for piece in (b"a", b"b", b"c"):
        disk.append(piece, "queue.1")
        assert following.step(DRAIN_SECONDS - 0.1) == []
    disk.append(b"d\n", "queue.1")
    assert following.step(DRAIN_SECONDS - 0.1) == ["abcd"]


@pytest.mark.parametrize(("rest", "told"), [(b"ab", [(2, b"ab")]), (b"# no newline", []), (b"  ", [])])
def test_a_torn_line_that_a_renamed_file_ends_in_is_rejected_once_the_file_has_been_quiet(
    disk: Disk, following: Following, rest: bytes, told: list[tuple[int, bytes]]
):
    """Half an ID may look like a whole one."""
    disk.append(b"a1\n" + rest)
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS - 0.1)
    assert following.rejections == []
    following.step(0.1)
    assert following.rejections == told


def test_it_is_rejected_once_though_the_file_is_read_on(disk: Disk, following: Following):
    """Not again after a restart, nor when the file is let go; and it is not taken for whole at the finish."""
    disk.append(b"a1\nab")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    for _ in range(3):
        following.step(60)
        following.restart()
    following.step()
    following.finish()
    assert following.finish(60) == ([], True)
    disk.append(b"b1\n")
    following.step()
    disk.rename("queue", "queue.2")
    following.step()
    following.step(60)
    assert following.whats()[-1] == "retired"
    assert following.rejections == [(2, b"ab")]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("rest", "whole"), [(b"\n", "ab"), (b"cd\n", "abcd")])
def test_it_comes_whole_should_its_end_be_written_after_that(
    disk: Disk, following: Following, rest: bytes, whole: str, restarted: bool
):
    disk.append(b"a1\nab")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(2, b"ab")]
    if restarted:
        following.restart()
    disk.append(rest, "queue.1")
    assert following.step() == [whole]
    assert following.batches[-1].submissions[0].line == 2


def test_one_that_grows_and_stays_torn_is_rejected_again(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    disk.append(b"c", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(2, b"ab"), (2, b"abc")]


def test_a_file_that_came_and_was_renamed_between_two_steps_is_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.tick()
    disk.append(b"b1\n")
    disk.rename("queue.1", "queue.2")
    disk.rename("queue", "queue.1")
    disk.tick()
    disk.append(b"c1\n")
    assert following.step() == ["b1", "c1"]


def test_so_is_one_that_is_older_than_a_late_write_into_the_file_before(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.2")
    disk.tick()
    disk.append(b"b1\n", "queue.1")
    disk.tick()
    disk.append(b"a2\n", "queue.2")
    disk.append(b"c1\n")
    assert sorted(following.step()) == ["a2", "b1", "c1"]


@pytest.mark.parametrize("there_again", [True, False])
def test_so_is_one_that_came_and_went_while_nothing_stood_under_the_path(
    disk: Disk, following: Following, there_again: bool
):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    disk.tick()
    disk.append(b"b1\n")
    disk.rename("queue", "queue.2")
    if there_again:
        disk.append(b"c1\n")
    assert following.step() == ["b1", "c1"][: 1 + there_again]


def test_so_is_one_that_came_and_went_before_the_first_ever_was_seen(disk: Disk, following: Following):
    following.step()
    disk.tick()
    disk.append(b"a1\n")
    disk.rename("queue", "queue.1")
    assert following.step() == ["a1"]
    assert following.whats() == ["found"]


def test_files_that_were_rotated_before_the_first_start_are_history(disk: Disk, following: Following):
    disk.append(b"x1\n", "queue.1")
    disk.tick()
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    disk.tick()
    disk.rename("queue.1", "queue.2")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


def test_and_stay_history_after_a_restart(disk: Disk, following: Following):
    disk.append(b"x1\n", "queue.1")
    disk.tick()
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    following.restart()
    disk.append(b"a2\n")
    assert following.step() == ["a2"]
    disk.tick()
    disk.rename("queue.1", "queue.2")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


def test_a_file_that_was_read_and_let_go_is_not_read_again(disk: Disk, following: Following):
    """Not even if it was written last of all."""
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"")
    following.step()
    disk.tick()
    disk.append(b"a2\n", "queue.1")
    assert following.step() == ["a2"]
    disk.rename("queue.1", "queue.2")
    disk.rename("queue", "queue.1")
    disk.append(b"c1\n")
    assert following.step() == ["c1"]
    following.step(DRAIN_SECONDS)
    assert following.whats()[-1] == "retired"
    for number in range(2, 0, -1):
        disk.rename(f"queue.{number}", f"queue.{number + 1}")
    disk.rename("queue", "queue.1")
    disk.append(b"d1\n")
    assert following.step() == ["d1"]


def test_a_line_in_a_file_that_was_let_go_comes_with_a_rotation_soon_after(disk: Disk, following: Following):
    for name in ("queue.2", "queue.1"):
        disk.append(b"a1\n")
        following.step()
        disk.rename("queue", name)
        following.step()
    following.step(DRAIN_SECONDS)
    assert following.whats()[-1] == "retired"
    disk.tick()
    disk.append(b"a2\n", "queue.2")
    disk.append(b"b1\n")
    assert following.step() == ["a2", "b1"]


def test_a_file_that_is_moved_back_is_not_read_again(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    disk.rename("queue", "queue.2")
    disk.rename("queue.1", "queue")
    disk.append(b"a2\n")
    assert following.step() == ["a2"]
    disk.append(b"a3\n")
    disk.append(b"b2\n", "queue.2")
    assert sorted(following.step()) == ["a3", "b2"]


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
    assert following.whats() == ["appeared", "truncated", "found"]


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


def test_a_torn_line_is_not_glued_to_what_is_written_after_a_truncation(disk: Disk, following: Following):
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
def test_so_is_one_that_was_written_into_an_older_copy(disk: Disk, following: Following, after: bytes):
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
            if size >= watched.SMALLEST_CHUNK_BYTES:
                monkeypatch.setattr(watched, "os", os)
                disk.truncate()
                disk.append(b"bbbbbbbbbb1\nb2\n")
            return os.pread(descriptor, size, offset)

    monkeypatch.setattr(watched, "os", Interrupting())
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
    disk.copy("queue", "queue-1")
    disk.truncate()

    class Interrupting:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def open(self, path: Path, flags: int) -> int:
            monkeypatch.setattr(watched, "os", os)
            disk.rename("queue.1", "queue.2")
            disk.rename("queue", "queue.1")
            return os.open(path, flags)

    monkeypatch.setattr(watched, "os", Interrupting())
    first = following.step()
    assert not following.at_end
    assert first + following.step() + following.step() == ["a2"]


def test_a_writer_that_does_not_append_leaves_a_hole_and_a_rejected_line(disk: Disk, following: Following):
    """It goes on where it was before the truncation; what it writes next begins with zeros."""
    disk.append(b"a1\n")
    following.step()
    disk.truncate()
    with disk.path().open("r+b") as writer:
        writer.seek(3)
        writer.write(b"a2\na3\n")
    assert following.step() == ["a3"]
    assert following.rejections == [(1, b"\0\0\0a2")]


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
    assert following.whats() == ["appeared", "deleted", "appeared"]


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


# Restarts


def test_after_a_restart_reading_goes_on_at_the_cursor(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    following.step()
    disk.append(b"a3\n")
    following.restart()
    assert following.step() == ["a3"]
    assert following.batches[-1].submissions[0].line == 3


def test_a_step_whose_batch_was_not_accepted_is_repeated_after_a_restart(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    following.follower.step(following.now, 1000)
    following.restart()
    assert following.step() == ["a2"]


def test_a_file_that_was_renamed_while_down_is_read_on(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["a2", "b1"]
    disk.append(b"a3\n", "queue.1")
    assert following.step() == ["a3"]


def test_a_file_that_was_made_and_renamed_while_down_is_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["b1", "c1"]


@pytest.mark.parametrize("there_again", [True, False])
def test_so_is_one_whose_predecessor_is_deleted(disk: Disk, following: Following, there_again: bool):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.append(b"b1\n", "queue.1")
    disk.delete()
    if there_again:
        disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["b1", "c1"][: 1 + there_again]
    assert "gone" in following.whats()


def test_so_is_one_that_came_and_went_while_nothing_was_being_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.delete()
    following.step()
    following.step(DRAIN_SECONDS)
    following.follower.close()
    disk.tick()
    disk.append(b"b1\n")
    disk.rename("queue", "queue.1")
    following.restart()
    assert following.step() == ["b1"]


def test_a_file_that_was_copied_and_truncated_while_down_is_read_on_in_the_copy(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.copy("queue", "queue.1")
    disk.truncate()
    disk.append(b"b1\nb2\nb3\n")
    following.restart()
    assert following.step() == ["a2", "b1", "b2", "b3"]


def test_a_file_on_a_recycled_inode_is_read_from_its_start(disk: Disk, following: Following):
    """The same inode with another content, as an inode number that was given out again."""
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.truncate()
    disk.append(b"b1\nb2\n")
    following.restart()
    assert following.step() == ["b1", "b2"]


def test_a_file_that_differs_only_behind_its_first_kilobyte_is_read_from_its_start(disk: Disk, following: Following):
    head = b"# x\n" * 400
    disk.append(head + b"a1\n")
    following.step()
    following.follower.close()
    disk.truncate()
    disk.append(head + b"b1\n")
    following.restart()
    assert following.step() == ["b1"]


def test_so_is_one_that_differs_only_in_its_first_kilobyte(disk: Disk, following: Following):
    """Of the same length, and the same before the position."""
    rest = b"# x\n" * 400
    disk.append(b"a1\n" + rest)
    assert following.step() == ["a1"]
    following.follower.close()
    disk.truncate()
    disk.append(b"b1\n" + rest)
    following.restart()
    assert following.step() == ["b1"]


def test_files_in_their_drain_are_found_again_and_drained_anew(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    following.restart()
    disk.append(b"a2\n", "queue.1")
    assert following.step(60) == ["a2"]
    disk.rename("queue", "queue.2")
    following.step(DRAIN_SECONDS)
    assert following.whats()[-1] == "retired"


@pytest.mark.parametrize("position", [b"", b"{}", b'{"files":[],"retired":[],"since":0,"version":2}', b"\xff"])
def test_a_position_that_cannot_be_read_means_to_begin_anew(disk: Disk, following: Following, position: bytes):
    disk.append(b"a1\n")
    following.position = position
    following.restart()
    assert following.step() == ["a1"]
    assert following.whats() == ["position_unreadable", "appeared"]


# Where no more is to come


def test_a_last_line_without_a_newline_is_taken_at_the_finish_once_it_is_quiet(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    assert following.finish() == ([], False)
    disk.append(b"c")
    following.step()
    assert following.finish(UNTERMINATED_SECONDS) == ([], False)
    assert following.finish(UNTERMINATED_SECONDS - 0.1) == ([], False)
    assert following.finish(0.1) == (["abc"], True)
    assert following.batches[-1].submissions[0].line == 2


def test_nothing_is_left_when_all_lines_have_ended(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    assert following.finish() == ([], True)


def test_a_line_taken_at_the_finish_is_not_taken_again(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    following.finish()
    assert following.finish(UNTERMINATED_SECONDS) == (["ab"], True)
    following.restart()
    assert following.step() == []
    assert following.finish(UNTERMINATED_SECONDS) == ([], True)
    disk.append(b"\na2\n")
    assert following.step() == ["a2"]
    assert following.batches[-1].submissions[0].line == 3


def test_a_line_taken_at_the_finish_that_was_half_a_line_comes_whole_the_next_time(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    following.finish()
    following.finish(UNTERMINATED_SECONDS)
    following.restart()
    disk.append(b"cd\na3\n")
    assert following.step() == ["abcd", "a3"]
    assert [submission.line for submission in following.batches[-1].submissions] == [2, 3]


# What can't be followed


@pytest.mark.parametrize("kind", ["directory", "pipe", "loop"])
def test_what_is_no_file_is_told_once_and_waited_out(disk: Disk, following: Following, kind: str):
    path = disk.path()
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(path)
    assert [following.step(), following.step()] == [[], []]
    assert following.whats() == ["unreadable"]
    path.rmdir() if kind == "directory" else path.unlink()
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    assert following.whats() == ["appeared", "readable"]


def test_a_pipe_is_never_opened(disk: Disk, following: Following):
    """Its writer would take us for a reader, and lose what it writes."""
    os.mkfifo(disk.path())
    following.step()
    with pytest.raises(OSError) as caught:
        os.open(disk.path(), os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO


def test_the_file_before_is_read_on_while_its_successor_cannot_be_read(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.path().mkdir()
    disk.append(b"a2\n", "queue.1")
    assert following.step() == ["a2"]
    disk.path().rmdir()
    disk.append(b"b1\n")
    assert following.step() == ["b1"]


class Failing:
    """`os`, where one call fails."""

    def __init__(self, call: str, number: int) -> None:
        self._call, self._number = call, number

    def __getattr__(self, name: str) -> Any:
        if name != self._call:
            return getattr(os, name)

        def fail(*_: Any) -> Any:
            raise OSError(self._number, os.strerror(self._number))

        return fail


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("call", "number"), [("open", errno.EMFILE), ("open", errno.EACCES), ("pread", errno.EIO), ("fstat", errno.ESTALE)]
)
def test_nothing_is_lost_to_a_call_that_fails_for_a_while(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch, call: str, number: int, restarted: bool
):
    disk.append(b"a1\n")
    following.step()
    disk.tick()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.append(b"c1\n")
    if restarted:
        following.restart()
    monkeypatch.setattr(watched, "os", Failing(call, number))
    before = [*following.step(), *following.step()]
    assert following.whats()[-1] == "unreadable"
    monkeypatch.undo()
    assert sorted(before + following.step() + following.step()) == ["a2", "b1", "c1"]
    assert following.whats()[-1] == "readable"


def test_what_fails_while_it_is_read_is_not_read_to_its_end(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    monkeypatch.setattr(watched, "os", Failing("pread", errno.EIO))
    following.step()
    assert not following.at_end
    assert following.told() == [("appeared", None), ("unreadable", "queue: Input/output error")]


def test_descriptors_are_let_go(disk: Disk, following: Following):
    def count() -> int:
        """Of this test's files alone: others may close what is theirs meanwhile."""
        return sum(is_ours(descriptor) for descriptor in Path("/proc/self/fd").iterdir())

    def is_ours(descriptor: Path) -> bool:
        try:
            return descriptor.readlink().is_relative_to(disk.directory)
        except FileNotFoundError:  # closed since: that of the listing itself is
            return False

    for number in range(20):
        disk.append(b"a%d\n" % number)
        disk.append(b"x\n", f"queue.other{number}")
        following.step(DRAIN_SECONDS)
        disk.tick()
        if number % 2:
            disk.copy("queue", f"queue.{number}")
            disk.truncate()
        else:
            disk.rename("queue", f"queue.{number}")
        if number % 5 == 0:
            following.restart()
    following.step()
    following.step(DRAIN_SECONDS)
    following.step(DRAIN_SECONDS)
    assert count() <= 2
    following.follower.close()
    following.follower.close()
    assert count() == 0


# Names


@pytest.mark.parametrize(
    "name", ["queue.1", "queue-20261123", "queue.2026-11-23.2", "queue.old", "queue-20261123T1200"]
)
def test_a_rotated_files_name_is_known(name: str):
    assert is_rotated_name(name, Path("/spool/queue"))


@pytest.mark.parametrize("name", ["ids.txt.1", "ids.txt-20261123", "ids-20261123.txt", "ids.1.txt", "ids.old.txt"])
def test_so_is_one_with_a_suffix(name: str):
    assert is_rotated_name(name, Path("/spool/ids.txt"))


@pytest.mark.parametrize(
    "name", ["queue", "queue.1.gz", "queue.lock", "queue.tmp", "queue2", "queuex.1", "other.1", "queue.1.txt", "queue."]
)
def test_no_other_name_is(name: str):
    assert not is_rotated_name(name, Path("/spool/queue"))


def test_siblings_are_those_that_may_have_been_this_file(tmp_path: Path):
    for name in ("ids.txt", "ids.txt.1", "ids-1.txt", "ids.txt~", "idsx.txt", "other"):
        (tmp_path / name).touch()
    found = sorted(path.name for path in siblings(tmp_path / "ids.txt"))
    assert found == ["ids-1.txt", "ids.txt.1", "ids.txt~"]
    assert siblings(tmp_path / "missing" / "ids.txt") == []


def test_the_intake_is_named_after_the_file(tmp_path: Path):
    assert Follower(tmp_path / "queue", None).intake == f"file:{tmp_path}/queue"
