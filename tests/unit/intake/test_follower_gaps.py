"""Saying what can't be accounted for: which file, how far it was read, what may be missing."""

import bz2
import gzip
import lzma
import os
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file import file_set
from asset_worker.intake.file.follower import DRAIN_SECONDS
from tests.doubles.intake import Disk, Following


def gaps(following: Following) -> list[str]:
    """The gaps that were reported: after a second look, because the first may have missed a file."""
    following.step()
    return [detail or "" for what, detail in following.events() if what == "gap"]


def compress(disk: Disk, name: str, how: Any = gzip.compress, suffix: str = ".gz") -> Path:
    """Replace a file by a compressed one with its modification time, as gzip and xz do."""
    path = disk.path(name)
    compressed = path.with_name(name + suffix)
    compressed.write_bytes(how(path.read_bytes()))
    os.utime(compressed, ns=(path.stat().st_mtime_ns,) * 2)
    disk.delete(name)
    return compressed


def test_a_file_that_was_deleted_while_down_is_reported_once(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.delete()
    following.restart()
    following.step()
    [gap] = gaps(following)
    assert str(disk.path()) in gap
    assert "read to byte 3 (line 1)" in gap
    assert "Submit their assets again" in gap
    following.step(60)
    following.restart()
    following.step(60)
    assert gaps(following) == []


@pytest.mark.parametrize(
    ("how", "suffix", "read"),
    [
        (gzip.compress, ".gz", "read to byte 3 of 6 (line 1)"),
        (bz2.compress, ".bz2", "read to byte 3 (line 1)"),
        (lzma.compress, ".xz", "read to byte 3 (line 1)"),
        (lambda data: b"(\xb5/\xfd" + data, ".zst", "was not read"),
    ],
)
def test_a_file_that_was_compressed_while_down_is_reported(
    disk: Disk, following: Following, how: Any, suffix: str, read: str
):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    compressed = compress(disk, "queue.1", how, suffix)
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["b1"]
    found = [gap for gap in gaps(following) if str(compressed) in gap]
    assert len(found) == 1
    assert read in found[0]
    assert "delaycompress" in found[0]
    following.step(60)
    following.restart()
    following.step()
    assert gaps(following) == []


@pytest.mark.parametrize("as_history", [False, True])
def test_a_compressed_file_that_had_been_read_to_its_end_is_accounted_for(
    disk: Disk, following: Following, as_history: bool
):
    disk.append(b"a1\n")
    following.step()
    if as_history:  # its modification time is kept, and names have changed since it was written
        disk.tick()
        disk.append(b"", "other")
        for _ in range(3):
            following.step(2)
        disk.append(b"# comment\n")
        following.step()
        following.step()
        os.utime(disk.path(), ns=(disk.now - 10**9,) * 2)
    following.follower.close()
    disk.tick()
    disk.rename("queue", "queue.1")
    compress(disk, "queue.1")
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["b1"]
    assert gaps(following) == []


def test_a_file_that_was_rotated_and_compressed_unseen_is_reported(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.tick()
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    compressed = compress(disk, "queue.1")
    disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["c1"]
    [gap] = gaps(following)
    assert str(compressed) in gap


def test_compressing_the_history_is_no_gap(disk: Disk, following: Following):
    """What `delaycompress` does at each rotation: the file before the last one was read to its end long ago."""
    disk.append(b"a1\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    following.step(DRAIN_SECONDS)
    following.step()
    following.follower.close()
    disk.tick()
    compress(disk, "queue.1").rename(disk.path("queue.2.gz"))
    disk.append(b"b2\n")
    disk.rename("queue", "queue.1")
    disk.append(b"c1\n")
    following.restart()
    assert following.step() == ["b2", "c1"]
    assert gaps(following) == []


def test_truncating_a_file_that_had_been_read_is_no_gap(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    following.step()
    disk.truncate()
    following.step()
    assert gaps(following) == []


def test_truncating_a_file_with_unread_lines_is_a_gap(disk: Disk, following: Following):
    disk.append(b"a1\na2\na3\n")
    assert following.step(limit=1) == ["a1"]
    disk.truncate()
    following.step()
    [gap] = gaps(following)
    assert "read to byte 3 (line 1)" in gap


def test_an_old_file_that_appears_with_a_rotation_is_not_read_but_reported(disk: Disk, following: Following):
    """An operator has unpacked an archive; or the clock was wrong when it was written."""
    disk.append(b"a1\n")
    following.step()
    following.step(2)
    following.step(2)
    following.follower.close()
    disk.rename("queue", "queue.1")
    disk.append(b"x1\n", "queue.7")
    os.utime(disk.path("queue.7"), ns=(disk.now - 10**15,) * 2)
    disk.append(b"b1\n")
    following.restart()
    assert following.step() == ["b1"]
    [gap] = gaps(following)
    assert str(disk.path("queue.7")) in gap
    following.step(60)
    following.restart()
    following.step()
    assert gaps(following) == []


def test_an_old_file_that_appears_with_a_rotation_while_it_runs_is_no_gap(disk: Disk, following: Following):
    """The queue file was watched all the time, so nothing of it can be in there."""
    disk.append(b"a1\n")
    following.step()
    following.step(2)
    following.step(2)
    disk.rename("queue", "queue.1")
    disk.append(b"x1\n", "queue.7")
    os.utime(disk.path("queue.7"), ns=(disk.now - 10**15,) * 2)
    disk.append(b"b1\n")
    assert following.step() == ["b1"]
    assert gaps(following) == []


def test_a_mounted_file_that_was_replaced_outside_is_reported_once(
    disk: Disk, following: Following, monkeypatch: pytest.MonkeyPatch
):
    """The path leads to the old file still, which has no name any more."""
    disk.append(b"a1\n")
    following.step()
    descriptor = os.open(disk.path(), os.O_RDONLY)
    disk.delete()
    monkeypatch.setattr(file_set, "current_status", lambda _: os.fstat(descriptor))
    for _ in range(3):
        following.step()
    [gap] = gaps(following)
    assert "Mount its directory" in gap
    monkeypatch.undo()
    following.step()
    assert gaps(following) == []
    os.close(descriptor)
