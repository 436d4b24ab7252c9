"""Runs of zeros in a followed file: after a power failure, or where a writer that does not append went on."""

import os

import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.follower import DRAIN_SECONDS
from tests.doubles.intake import PARTIAL_WAIT, Disk, Following

ID = b"6298d673f1090f1100476d4c"


def read_all(following: Following, *, limit: int = 1000, restarts: bool = False) -> list[str]:
    """Step until the end; returns the IDs in order."""
    ids = following.step(limit=limit)
    while not following.at_end:
        if restarts and following.position is not None:
            following.restart()
        ids += following.step(limit=limit)
    return ids


@pytest.mark.parametrize("count", [1, 3, 3000, 3 * tail_reader.CHUNK_BYTES + 5])
@pytest.mark.parametrize("limit", [1, 1000])
@pytest.mark.parametrize("restarts", [False, True])
def test_the_line_behind_zeros_is_read_and_the_zeros_are_reported_once(
    disk: Disk, following: Following, count: int, limit: int, restarts: bool
):
    disk.append(b"a1\na2\n" + bytes(count) + b"a3\na4\n")
    assert read_all(following, limit=limit, restarts=restarts) == ["a1", "a2", "a3", "a4"]
    assert [found.line for batch in following.batches for found in batch.submissions] == [1, 2, 3, 4]
    assert (following.zeros, following.rejections) == ([count], [])
    following.restart()
    disk.append(b"a5\n")
    assert following.step() == ["a5"]
    assert "truncated" not in following.event_names()


def test_a_restart_within_zeros_that_still_grow_loses_nothing(disk: Disk, following: Following):
    disk.append(b"a1\n" + bytes(3000))
    assert following.step() == ["a1"]
    assert following.at_end
    for _ in range(3):
        following.restart()
        disk.append(bytes(3000))
        assert following.step() == []
    disk.append(b"a2\n")
    assert following.step() == ["a2"]
    assert following.zeros == [12_000]


@pytest.mark.parametrize("ends", [b"a2\n", b""], ids=["a line behind it", "nothing behind it"])
def test_a_hole_of_a_terabyte_takes_a_few_reads(disk: Disk, following: Following, ends: bytes):
    """After a `copytruncate`, as its writer goes on where it was."""
    disk.append(b"a1\n")
    os.truncate(disk.path(), 10**12)
    disk.append(ends)
    if disk.path().stat().st_blocks > 100_000:
        pytest.skip("this file system has no holes")
    ids = []
    for _ in range(5):
        ids += following.step()
    assert following.at_end
    assert ids == ["a1", "a2"][: 1 + bool(ends)]
    if not ends:
        disk.append(b"a2\n")
        assert following.step() == ["a2"]
    assert following.zeros == [10**12 - 3]
    disk.append(b"a3\n")
    following.restart()
    assert following.step() == ["a3"]
    assert "truncated" not in following.event_names()


def test_zeros_that_are_no_hole_are_read_in_bounded_memory(disk: Disk, following: Following):
    with disk.path().open("wb") as file:
        for _ in range(40):
            file.write(bytes(2**20))
        file.write(b"a1\n")
    assert read_all(following) == ["a1"]
    assert following.zeros == [40 * 2**20]


def test_what_zeros_have_cut_is_rejected_as_incomplete_and_a_whole_id_is_not(disk: Disk, following: Following):
    disk.append(ID[:10] + bytes(100) + b"a2\n" + ID + bytes(100) + b"\na4\n")
    assert read_all(following) == ["a2", ID.decode(), "a4"]
    assert following.rejections == [(1, ID[:10])]
    assert "incomplete" in following.batches[0].rejections[0].reason


def test_zeros_at_the_end_of_the_input_are_reported_once(disk: Disk, following: Following):
    disk.append(b"a1\n" + bytes(3000))
    following.step()
    assert following.finish() == ([], False)
    assert following.finish(PARTIAL_WAIT) == ([], True)
    assert following.zeros == [3000]
    following.restart()
    assert following.step() == []
    assert following.finish(PARTIAL_WAIT) == ([], True)
    assert following.zeros == [3000]
    disk.append(b"a2\n")
    assert following.step() == ["a2"]


def test_zeros_at_the_end_of_a_rotated_file_are_reported_and_hold_nothing_up(disk: Disk, following: Following):
    for number, name in enumerate(["queue.2", "queue.1"]):
        disk.append(b"a%d\n" % number + bytes(3000))
        following.step()
        disk.rename("queue", name)
        following.step()
    following.step(DRAIN_SECONDS)
    assert following.zeros == [3000, 3000]
    assert following.event_names()[-1] == "retired"
    following.step(DRAIN_SECONDS)
    assert following.zeros == [3000, 3000]


def test_a_file_in_utf_16_is_rejected_line_by_line_and_has_no_zeros(disk: Disk, following: Following):
    disk.append("a1\r\na2\r\n".encode("utf-16"))
    assert read_all(following) == []
    assert following.finish(PARTIAL_WAIT) == ([], True)
    reasons = [found.reason for batch in following.batches for found in batch.rejections]
    assert ["UTF-16" in reason for reason in reasons] == [True, True]
    assert following.zeros == []
