"""Following a file, step by step, through what writers and rotation do to it."""

import os
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.checkpoint import decode
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.intake.splitter import LINE_BYTES_LIMIT
from tests.doubles.intake import Disk, Following


def test_a_deleted_file_is_read_for_as_long_as_documented():
    assert DRAIN_SECONDS == 5


# Appending


def test_what_stands_in_the_file_and_what_is_appended_is_read_once(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    assert following.step() == ["a1", "a2"]
    assert following.step() == []
    disk.append(b"a3\n")
    assert following.step() == ["a3"]
    assert following.event_names() == ["appeared"]


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


def test_a_partial_last_line_comes_when_its_newline_has_come(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    assert following.step() == ["a1"]
    assert following.at_end
    disk.append(b"cd")
    assert following.step() == []
    disk.append(b"ef\na2\n")
    assert following.step() == ["abcdef", "a2"]


def test_a_partial_line_is_read_again_after_a_restart(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    following.restart()
    disk.append(b"cd\n")
    assert following.step() == ["abcd"]


def test_no_more_lines_are_read_at_once_than_there_is_room_for(disk: Disk, following: Following):
    disk.append(b"".join(b"a%d\n" % number for number in range(10)) + b"partial")
    assert following.step(limit=4) == ["a0", "a1", "a2", "a3"]
    assert not following.at_end
    following.restart()
    assert following.step(limit=4) == ["a4", "a5", "a6", "a7"]
    assert following.step(limit=4) == ["a8", "a9"]
    assert [submission.line for batch in following.batches for submission in batch.submissions] == [*range(1, 11)]
    assert following.at_end


def test_rejected_lines_take_room_as_others_do_in_whichever_file_they_are(disk: Disk, following: Following):
    disk.append(b"!\n")
    following.step()
    disk.append(b"!\n!\na1\n")
    disk.rename("queue", "queue.1")
    disk.append(b"?\n?\nb1\n")
    read = [(following.step(limit=4), len(following.batches[-1].rejections)) for _ in range(2)]
    assert read == [(["a1"], 3), (["b1"], 1)]


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
    limit = 2**18
    monkeypatch.setattr(tail_reader, "READ_BYTES", limit)
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    disk.append(b"x" * (10 * limit))
    read: list[int] = []
    monkeypatch.setattr(tail_reader, "os", Counting(read))
    for _ in range(3):
        read.clear()
        step = following.follower.step(following.now, 1000)
        assert (step.batch, step.at_end, step.has_more) == (None, False, True)
        assert limit <= sum(read) < 2 * limit
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


def test_a_line_of_the_full_length_is_read_when_it_comes_in_many_pieces(disk: Disk, following: Following):
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
    assert following.event_names() == ["appeared", "rotated"]


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
    """An uploader keeps its descriptor open while it has work; the directory does not show its writes."""
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


def test_a_late_line_written_into_a_renamed_file_while_down_is_read(disk: Disk, following: Following):
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


def test_the_latest_renamed_file_is_closed_once_another_has_been_renamed(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.2")
    following.step()
    following.step(60)
    assert following.at_end
    disk.append(b"b1\n")
    following.step()
    assert following.event_names() == ["appeared", "deleted", "appeared"]
    disk.rename("queue", "queue.1")
    disk.append(b"a2\n", "queue.2")
    assert following.step() == ["a2"]
    following.step(DRAIN_SECONDS - 0.1)
    assert following.event_names() == ["deleted"]
    following.step(0.1)
    assert following.event_names() == ["retired"]
    state = decode(following.position)
    assert state is not None
    assert (len(state.files), len(state.retired)) == (1, 1)


def test_a_renamed_file_is_closed_when_it_is_deleted_and_quiet(disk: Disk, following: Following):
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
    following.event_names()
    following.step(DRAIN_SECONDS - 0.1)
    assert following.event_names() == []
    following.step(0.1)
    assert following.event_names() == ["retired"]


def test_a_file_deleted_last_does_not_count_as_the_latest(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    disk.delete()
    following.step()
    following.step(60)
    assert following.event_names() == ["appeared", "rotated", "deleted", "retired"]
    disk.append(b"a2\n", "queue.1")
    assert following.step() == ["a2"]


def test_a_renamed_file_with_a_growing_partial_line_is_kept(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    for piece in (b"a", b"b", b"c"):
        disk.append(piece, "queue.1")
        assert following.step(DRAIN_SECONDS - 0.1) == []
    disk.append(b"d\n", "queue.1")
    assert following.step(DRAIN_SECONDS - 0.1) == ["abcd"]


@pytest.mark.parametrize(("rest", "rejected"), [(b"ab", [(2, b"ab")]), (b"# no newline", []), (b"  ", [])])
def test_a_partial_line_at_the_end_of_a_renamed_file_is_rejected_once_the_file_has_been_quiet(
    disk: Disk, following: Following, rest: bytes, rejected: list[tuple[int, bytes]]
):
    """Half an ID may look like a whole one."""
    disk.append(b"a1\n" + rest)
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS - 0.1)
    assert following.rejections == []
    following.step(0.1)
    assert following.rejections == rejected


def test_a_partial_line_at_the_end_of_a_renamed_file_that_looks_whole_is_taken_once_the_file_has_been_quiet(
    disk: Disk, following: Following
):
    """If its end comes later, the whole line is read as well, and later lines keep their numbers."""
    disk.append(b"a1\n6298d673f1090f1100476d4c")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    assert following.step(DRAIN_SECONDS) == ["6298d673f1090f1100476d4c"]
    assert following.step(60) == []
    disk.append(b"\na3\nx", "queue.1")
    assert following.step() == ["a3"]
    assert following.step(DRAIN_SECONDS) == ["x"]
    disk.append(b"4\na5\n", "queue.1")
    assert following.step() == ["x4", "a5"]
    lines = [submission.line for batch in following.batches for submission in batch.submissions]
    assert lines == [1, 2, 3, 4, 4, 5]
    assert following.rejections == []


def test_a_partial_line_is_rejected_once_though_its_file_is_read_on(disk: Disk, following: Following):
    """Not again after a restart, nor when the file is closed; and the finish does not take it for a whole line."""
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
    assert following.event_names()[-1] == "retired"
    assert following.rejections == [(2, b"ab")]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("rest", "whole"), [(b"\n", "ab"), (b"cd\n", "abcd")])
def test_a_rejected_partial_line_comes_whole_if_its_end_is_written_later(
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


def test_a_rejected_partial_line_that_grows_and_stays_partial_is_rejected_again(disk: Disk, following: Following):
    disk.append(b"a1\nab")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    disk.append(b"c", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(2, b"ab"), (2, b"abc")]


def test_a_partial_line_of_a_single_byte_is_rejected(disk: Disk, following: Following):
    disk.append(b"a")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(1, b"a")]


def test_a_partial_line_as_long_as_one_rejected_before_in_the_same_file_is_rejected(disk: Disk, following: Following):
    """The file was truncated and written again since."""
    disk.append(b"a1\nab")
    following.step()
    disk.rename("queue", "queue.1")
    following.step()
    following.step(DRAIN_SECONDS)
    disk.tick()
    disk.truncate("queue.1")
    disk.append(b"b1\ncd", "queue.1")
    assert following.step() == ["b1"]
    following.step(DRAIN_SECONDS)
    assert following.rejections == [(2, b"ab"), (2, b"cd")]


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


def test_a_file_older_than_a_late_write_into_the_file_before_is_read(disk: Disk, following: Following):
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
def test_a_file_that_came_and_went_while_nothing_was_at_the_path_is_read(
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


def test_a_file_that_came_and_went_before_the_first_was_seen_is_read(disk: Disk, following: Following):
    following.step()
    disk.tick()
    disk.append(b"a1\n")
    disk.rename("queue", "queue.1")
    assert following.step() == ["a1"]
    assert following.event_names() == ["found"]


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


def test_history_stays_history_after_a_restart(disk: Disk, following: Following):
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


def test_a_file_that_was_read_and_closed_is_not_read_again(disk: Disk, following: Following):
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
    assert following.event_names()[-1] == "retired"
    for number in range(2, 0, -1):
        disk.rename(f"queue.{number}", f"queue.{number + 1}")
    disk.rename("queue", "queue.1")
    disk.append(b"d1\n")
    assert following.step() == ["d1"]


def test_a_line_in_a_file_that_was_closed_comes_with_a_rotation_soon_after(disk: Disk, following: Following):
    for name in ("queue.2", "queue.1"):
        disk.append(b"a1\n")
        following.step()
        disk.rename("queue", name)
        following.step()
    following.step(DRAIN_SECONDS)
    assert following.event_names()[-1] == "retired"
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
