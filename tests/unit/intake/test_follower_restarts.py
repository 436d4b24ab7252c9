"""Following a file through restarts, and to the end of it."""

import os
from hashlib import blake2b
from typing import Any

import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.follower import DRAIN_SECONDS
from asset_worker.intake.splitter import LINE_BYTES_LIMIT
from tests.doubles.intake import PARTIAL_WAIT, Disk, Following

# Restarts


def test_after_a_restart_reading_goes_on_at_the_position(disk: Disk, following: Following):
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
def test_a_file_that_was_made_and_renamed_while_down_is_read_though_its_predecessor_is_deleted(
    disk: Disk, following: Following, there_again: bool
):
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
    following.step()
    assert "gap" in following.event_names()


def test_a_file_that_came_and_went_while_nothing_was_being_read_is_read(disk: Disk, following: Following):
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


def test_a_file_that_differs_only_in_its_first_kilobyte_is_read_from_its_start(disk: Disk, following: Following):
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
    assert following.event_names()[-1] == "retired"


@pytest.mark.parametrize("position", [b"", b"{}", b'{"files":[],"retired":[],"since":0,"version":2}', b"\xff"])
def test_a_position_that_cannot_be_read_means_to_begin_anew(disk: Disk, following: Following, position: bytes):
    disk.append(b"a1\n")
    following.position = position
    following.restart()
    assert following.step() == ["a1"]
    assert following.event_names() == ["position_unreadable", "appeared"]


def test_a_position_stored_by_an_earlier_version_is_read_on(disk: Disk, following: Following):
    """The field names are in journals; the position is after `a1`."""
    disk.append(b"a1\na2\n")
    status = disk.path().stat()
    digest = blake2b(b"a1\n", digest_size=16).hexdigest()
    file = (
        f'{{"device":{status.st_dev},"inode":{status.st_ino},"offset":3,"line":1,"head_bytes":3,"head":"{digest}",'
        f'"tail_bytes":3,"tail":"{digest}","rejected":0}}'
    )
    following.position = f'{{"files":[{file}],"retired":[],"since":{disk.now},"version":1}}'.encode()
    following.restart()
    assert following.step() == ["a2"]
    assert following.batches[-1].submissions[0].line == 2


# Where no more is to come


def test_a_last_line_without_a_newline_is_taken_at_the_finish_once_it_is_quiet(disk: Disk, following: Following):
    disk.append(b"a1\nxy")
    following.step()
    assert following.finish() == ([], False)
    disk.append(b"c")
    following.step()
    assert following.finish(PARTIAL_WAIT) == ([], False)
    assert following.finish(PARTIAL_WAIT - 0.1) == ([], False)
    assert following.finish(0.1) == (["xyc"], True)
    assert following.batches[-1].submissions[0].line == 2


def test_a_last_line_that_looks_like_a_part_of_an_id_is_rejected_and_comes_whole_if_it_grows(
    disk: Disk, following: Following
):
    disk.append(b"a1\n6298d673f109")
    following.step()
    following.finish()
    assert following.finish(PARTIAL_WAIT) == ([], True)
    assert following.rejections == [(2, b"6298d673f109")]
    assert "incomplete" in following.batches[-1].rejections[0].reason
    following.restart()
    assert following.step() == []
    assert following.finish(PARTIAL_WAIT) == ([], True)
    disk.append(b"0f1100476d4c\n")
    assert following.step() == ["6298d673f1090f1100476d4c"]
    assert following.rejections == [(2, b"6298d673f109")]


def test_a_last_line_that_looked_like_a_part_of_an_id_and_was_whole_comes_with_its_newline(
    disk: Disk, following: Following
):
    disk.append(b"abc")
    following.step()
    following.finish()
    following.finish(PARTIAL_WAIT)
    following.restart()
    disk.append(b"\na2\n")
    assert following.step() == ["abc", "a2"]


def test_nothing_is_left_when_all_lines_have_ended(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    assert following.finish() == ([], True)


def test_a_line_taken_at_the_finish_is_not_taken_again(disk: Disk, following: Following):
    disk.append(b"a1\nxy")
    following.step()
    following.finish()
    assert following.finish(PARTIAL_WAIT) == (["xy"], True)
    following.restart()
    assert following.step() == []
    assert following.finish(PARTIAL_WAIT) == ([], True)
    disk.append(b"\na2\n")
    assert following.step() == ["a2"]
    assert following.batches[-1].submissions[0].line == 3
    disk.append(b"a3\n")
    assert following.step() == ["a3"]
    assert following.event_names() == ["appeared"]


def test_half_a_line_taken_at_the_finish_comes_whole_the_next_time(disk: Disk, following: Following):
    disk.append(b"a1\nxy")
    following.step()
    following.finish()
    following.finish(PARTIAL_WAIT)
    following.restart()
    disk.append(b"cd\na3\n")
    assert following.step() == ["xycd", "a3"]
    assert [submission.line for submission in following.batches[-1].submissions] == [2, 3]


def take_unterminated(disk: Disk, following: Following, content: bytes) -> None:
    """Read a file to its end, take its unterminated last line as whole, and restart."""
    disk.append(content)
    while not following.at_end:
        following.step()
    following.finish()
    following.finish(PARTIAL_WAIT)
    following.restart()


def test_half_a_line_of_a_single_byte_taken_at_the_finish_comes_whole_the_next_time(disk: Disk, following: Following):
    take_unterminated(disk, following, b"x")
    disk.append(b"b\na2\n")
    assert following.step() == ["xb", "a2"]
    assert [submission.line for submission in following.batches[-1].submissions] == [1, 2]


def test_half_a_line_taken_at_the_finish_of_a_long_file_comes_whole_the_next_time(disk: Disk, following: Following):
    """Only the end of such a file is read again, to find where the line begins."""
    comments = b"# comment\n" * 10_000
    assert len(comments) > LINE_BYTES_LIMIT
    take_unterminated(disk, following, comments + b"xy")
    disk.append(b"cd\na3\n")
    assert following.step() == ["xycd", "a3"]
    assert [submission.line for submission in following.batches[-1].submissions] == [10_001, 10_002]
    assert following.event_names() == ["appeared"]


def test_half_a_line_taken_at_the_finish_that_grows_slowly_comes_once_and_later_lines_keep_their_numbers(
    disk: Disk, following: Following
):
    take_unterminated(disk, following, b"a1\nxy")
    for piece, ids in ((b"cd", []), (b"ef\na3\n", ["xycdef", "a3"]), (b"\na5\n", ["a5"])):
        disk.append(piece)
        assert following.step() == ids
    assert [submission.line for batch in following.batches for submission in batch.submissions] == [1, 2, 2, 3, 5]
    assert following.event_names() == ["appeared"]


def test_a_file_that_is_rewritten_while_the_start_of_half_a_line_is_looked_for_is_read_anew(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """The file is read from its start instead, by the next step."""
    comments = b"# x\n" * 400
    take_unterminated(disk, following, comments + b"a1\nxy")
    disk.append(b"cd\n")

    class Interrupting:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def pread(self, descriptor: int, size: int, offset: int) -> bytes:
            data = os.pread(descriptor, size, offset)
            if size == 1:
                monkeypatch.setattr(tail_reader, "os", os)
                disk.truncate()
                disk.append(comments + b"b1\nabcd\nb2\n")
            return data

    monkeypatch.setattr(tail_reader, "os", Interrupting())
    assert following.step() == []
    assert following.step() == ["b1", "abcd", "b2"]


def test_a_line_taken_at_the_finish_that_was_too_long_and_grows_is_rejected_again(disk: Disk, following: Following):
    """Its start is out of reach. Its end is rejected again, and the lines after it keep their numbers."""
    take_unterminated(disk, following, b"a1\n" + b"x" * 100_000)
    assert [line for line, _ in following.rejections] == [2]
    for piece, ids in ((b"yyyyyyyy", []), (b"\na3\n", ["a3"]), (b"\na5\n", ["a5"])):
        disk.append(piece)
        assert following.step() == ids
    assert [line for line, _ in following.rejections] == [2, 2]
    assert [submission.line for batch in following.batches for submission in batch.submissions] == [1, 3, 5]
    assert following.event_names() == ["appeared"]
