"""Recognising a file whose device, inode or name has changed, and saying so if it must be read again."""

import json
import os
import shutil
from pathlib import Path

import pytest

from asset_worker.intake.file.checkpoint import Checkpoint, decode, unused_id
from asset_worker.intake.file.follower import DRAIN_SECONDS
from tests.doubles.intake import Disk, Following

LINES = b"a1\n!\na2\n"


def change_device(following: Following) -> None:
    """As after a reboot: the checkpoints have another device number."""
    state = json.loads(following.position or b"")
    for file in (*state["files"], *state["retired"]):
        file["device"] += 1
    following.position = json.dumps(state).encode()


def forget_what_is_new(following: Following) -> None:
    """As an earlier version stored it."""
    state = json.loads(following.position or b"")
    for file in (*state["files"], *state["retired"]):
        for name in ("id", "size", "mtime"):
            del file[name]
    del state["seen"], state["path"]
    following.position = json.dumps(state).encode()


def keys(following: Following) -> list[str]:
    return [found.key for batch in following.batches for found in batch.rejections]


def restore(path: Path, *, with_times: bool) -> None:
    """Replace a file by a copy of it on another inode."""
    copy = path.with_name("restored")
    (shutil.copy2 if with_times else shutil.copyfile)(path, copy)
    if not with_times:
        os.utime(copy, ns=(path.stat().st_mtime_ns + 1, path.stat().st_mtime_ns + 1))
    copy.rename(path)


def test_a_changed_device_number_changes_nothing(disk: Disk, following: Following):
    disk.append(LINES)
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    following.step()
    following.follower.close()
    following.event_names()
    change_device(following)
    disk.append(b"!\na3\n", "queue.1")
    disk.append(b"b2\n")
    following.restart()
    assert following.step() == ["a3", "b2"]
    assert following.event_names() == []


def test_a_restored_copy_is_read_on_and_its_rejected_lines_keep_their_keys(disk: Disk, following: Following):
    disk.append(LINES)
    following.step()
    for _ in range(3):
        following.step()
    following.follower.close()
    restore(disk.path(), with_times=True)
    following.restart()
    following.event_names()
    assert following.step() == []
    assert following.event_names() == []
    disk.append(b"!\na3\n")
    assert following.step() == ["a3"]
    state = decode(following.position)
    assert state is not None
    first = f"{disk.path().stat().st_dev}:"
    assert state.files[-1].id.startswith(first)
    assert state.files[-1].inode == disk.path().stat().st_ino
    assert not state.files[-1].id.endswith(str(state.files[-1].inode))


def test_a_copy_with_another_time_is_read_again_and_that_is_said(disk: Disk, following: Following):
    disk.append(LINES)
    following.step()
    following.step()
    following.event_names()
    following.follower.close()
    restore(disk.path(), with_times=False)
    following.restart()
    assert following.step() == ["a1", "a2"]
    events = dict(following.events())
    assert "another modification time" in (events["reread"] or "")
    assert "gap" not in events


def test_a_new_file_with_the_same_content_is_read_while_running(disk: Disk, following: Following):
    """A producer may submit the same assets anew; the copy has even the same time."""
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    restore(disk.path(), with_times=True)
    assert following.step() == ["a1"]
    assert "reread" not in following.event_names()


@pytest.mark.parametrize("content", [b"b1\n", b"a1\n!\nb2\n" + b"b" * 20 + b"\n"])
@pytest.mark.parametrize("in_place", [True, False])
def test_another_content_is_read_from_its_start_and_that_is_said(
    disk: Disk, following: Following, content: bytes, in_place: bool
):
    disk.append(LINES)
    following.step()
    following.step()
    following.event_names()
    following.follower.close()
    disk.tick()
    if in_place:
        disk.truncate()
        disk.append(content)
    else:
        disk.replace(content)
    following.restart()
    assert following.step()[-1][0] == "b"
    following.step()
    events = dict(following.events())
    assert events["reread"] is not None
    assert "8 bytes had been read" in events["reread"]
    assert "read to byte 8 (line 3)" in (events["gap"] or "")
    following.restart()
    following.step()
    assert {"reread", "gap"}.isdisjoint(following.event_names())


def test_a_key_of_a_rejected_line_survives_an_upgrade(disk: Disk, following: Following):
    """The line is read again, after a restart, where an earlier version had left off before it."""
    disk.append(b"a1\n")
    following.step()
    forget_what_is_new(following)
    before = following.position
    following.restart()
    disk.append(b"!\n")
    following.step()
    assert before is not None
    following.position = before
    change_device(following)
    following.restart()
    following.step()
    [first, second] = keys(following)
    status = disk.path().stat()
    assert first != second  # the earlier version knew no id but the device
    following.position = before
    following.restart()
    following.step()
    assert keys(following)[2] == first
    assert status.st_ino == disk.path().stat().st_ino


def test_a_position_of_an_earlier_version_gets_its_id_before_the_device_changes(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    forget_what_is_new(following)
    following.restart()
    for _ in range(3):
        following.step()
    stored = following.position
    disk.append(b"!\n")
    following.step()
    assert stored is not None
    following.position = stored
    change_device(following)
    following.restart()
    following.step()
    [first, second] = keys(following)
    assert first == second


def test_the_same_rejected_line_in_new_content_on_the_same_inode_has_another_key(disk: Disk, following: Following):
    disk.append(b"!\n")
    following.step()
    disk.truncate()
    following.step()
    disk.append(b"!\n")
    following.step()
    assert len(set(keys(following))) == 2


def test_the_same_rejected_line_in_a_file_that_is_used_again_has_another_key(disk: Disk, following: Following):
    """Rotation may take the oldest file for the new one."""
    disk.append(b"!\n")
    for name in ("queue.1", "queue.2"):
        following.step()
        disk.rename("queue", name)
        disk.append(b"b1\n")
    following.step()
    following.step(DRAIN_SECONDS)
    assert "retired" in following.event_names()
    disk.tick()
    disk.truncate("queue.1")
    disk.append(b"!\n", "queue.1")
    disk.rename("queue.1", "queue")
    following.step()
    assert len(keys(following)) == len(set(keys(following))) == 2


def test_an_id_that_is_taken_gets_a_number():
    assert unused_id("8:1", set()) == "8:1"
    assert unused_id("8:1", {"8:1"}) == "8:1+1"
    assert unused_id("8:1+1", {"8:1", "8:1+1", "8:1+2"}) == "8:1+3"


def test_a_checkpoint_without_an_id_has_that_of_the_earlier_version():
    assert Checkpoint(8, 12, 0, 0, 0, "", 0, "").file_id == "8:12"


# Names


def test_a_position_is_found_by_another_spelling_of_the_path(disk: Disk, following: Following):
    (disk.directory / "sub").mkdir()
    disk.append(b"a1\n")
    following.step()
    disk.append(b"a2\n")
    following.restart(disk.directory / "sub" / ".." / "queue")
    assert following.step() == ["a2"]
    assert len(following.positions) == 1
    link = disk.directory / "sub" / "link"
    link.symlink_to(disk.path())
    disk.append(b"a3\n")
    following.restart(link)
    assert following.step() == ["a3"]
    assert len(following.positions) == 1


def test_a_position_kept_under_the_name_of_a_link_is_found(disk: Disk, following: Following):
    """Earlier versions did so."""
    disk.append(b"a1\n")
    following.step()
    link = disk.directory / "link"
    link.symlink_to("queue")
    following.positions = {f"file:{link}": following.position or b""}
    disk.append(b"a2\n")
    following.restart(link)
    assert following.step() == ["a2"]
    assert {*following.positions} == {f"file:{link}", f"file:{disk.path()}"}


def test_a_position_is_found_after_the_directory_was_moved(tmp_path: Path):
    (tmp_path / "old").mkdir()
    disk = Disk(tmp_path / "old")
    following = Following(disk.path())
    disk.append(b"a1\n")
    following.step()
    following.follower.close()
    disk.append(b"a2\n")
    disk.rename("queue", "queue.1")
    disk.append(b"b1\n")
    (tmp_path / "old").rename(tmp_path / "new")
    following.restart(tmp_path / "new" / "queue")
    assert following.step() == ["a2", "b1"]
    following.follower.close()
    (tmp_path / "new").rename(tmp_path / "old")
    disk.append(b"b2\n")
    following.restart(tmp_path / "old" / "queue")
    assert following.step() == ["b2"]
    following.follower.close()


def test_a_copy_of_a_queue_file_beside_it_is_another_queue(disk: Disk, following: Following):
    disk.append(b"a1\n")
    following.step()
    shutil.copy2(disk.path(), disk.path("other"))
    following.restart(disk.path("other"))
    assert following.step() == ["a1"]


def test_a_link_that_was_moved_to_a_newer_file_while_down_keeps_its_position(disk: Disk, following: Following):
    """As `current -> queue-20261126`, each day to another file: the one before is read to its end."""
    link = disk.directory / "current"
    disk.append(b"a1\n", "queue-20261126")
    link.symlink_to("queue-20261126")
    following.restart(link)
    assert following.step() == ["a1"]
    following.follower.close()
    disk.append(b"a2\n", "queue-20261126")
    disk.append(b"b1\n", "queue-20261127")
    link.unlink()
    link.symlink_to("queue-20261127")
    following.restart(link)
    assert following.step() == ["a2", "b1"]


def test_a_file_on_a_volume_that_is_mounted_late_is_read_on(tmp_path: Path):
    (tmp_path / "volume").mkdir()
    disk = Disk(tmp_path / "volume")
    following = Following(disk.path())
    disk.append(b"a1\n")
    for _ in range(3):
        following.step()
    following.follower.close()
    (tmp_path / "volume").rename(tmp_path / "away")
    following.restart()
    following.step()
    assert not following.at_end
    (tmp_path / "volume").mkdir()
    following.step()
    (tmp_path / "volume").rmdir()
    (tmp_path / "away").rename(tmp_path / "volume")
    disk.append(b"")
    assert following.step() == []
    disk.append(b"a2\n")
    assert following.step() == ["a2"]
    following.follower.close()
