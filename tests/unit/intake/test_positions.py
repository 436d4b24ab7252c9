"""From which stored position a path is read on, whatever its name was before."""

import os
import shutil
from pathlib import Path

import pytest

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, encode
from asset_worker.intake.file.positions import find_position
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.tail_reader import TailReader

LINES = b"a1\na2\na3\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "queue"
    path.write_bytes(LINES)
    return path


def read_to(path: Path, lines: int) -> Checkpoint:
    """The checkpoint of a file of which so many lines have been read."""
    file = TailReader(os.open(path, os.O_RDONLY), path.name, lambda _: False)
    if lines:
        file.read(lines)
    checkpoint = file.checkpoint()
    file.close()
    return checkpoint


def position(*checkpoints: Checkpoint, path: Path | str = "") -> bytes:
    return encode(FollowerState(checkpoints, (), 0, path=str(path)))


def found(path: Path, positions: dict[str, bytes]) -> str | None:
    """The name of the position that is found."""
    value = find_position(QueueFile(path), positions)
    return next((name for name in positions if positions[name] is value), None)


def test_without_any_position_none_is_found(path: Path):
    assert found(path, {}) is None
    assert found(path, {"stdin": position(read_to(path, 1))}) is None


def test_the_only_position_is_that_of_the_path_whatever_stands_in_it(path: Path):
    assert found(path, {f"file:{path}": b"not to be read"}) == f"file:{path}"


@pytest.mark.parametrize("lines", [1, 2])
def test_the_position_that_is_furthest_in_the_file_is_found(path: Path, lines: int):
    positions = {f"file:{path}": position(read_to(path, lines)), "file:/other": position(read_to(path, 3 - lines))}
    assert found(path, positions) == (f"file:{path}" if lines == 2 else "file:/other")


def test_of_several_checkpoints_in_one_file_the_furthest_counts(path: Path):
    """As when the file was read on in a copy, and the copy was moved over it."""
    positions = {
        f"file:{path}": position(read_to(path, 2)),
        "file:/other": position(read_to(path, 3), read_to(path, 1)),
    }
    assert found(path, positions) == "file:/other"


def test_the_files_at_the_path_and_beside_it_count_together(path: Path):
    (path.parent / "queue.1").write_bytes(LINES)
    before = read_to(path.parent / "queue.1", 2)
    positions = {"file:/one": position(read_to(path, 3)), "file:/both": position(before, read_to(path, 2))}
    assert found(path, positions) == "file:/both"


@pytest.mark.parametrize("is_first", [True, False])
def test_of_positions_that_are_equally_far_that_of_the_path_is_found(path: Path, is_first: bool):
    names = [f"file:{path}", "file:/other"]
    value = read_to(path, 2)
    assert found(path, {name: position(value) for name in (names if is_first else names[::-1])}) == f"file:{path}"


def test_of_the_positions_under_the_name_of_a_link_and_of_its_target_the_furthest_is_found(path: Path):
    link = path.with_name("link")
    link.symlink_to(path)
    positions = {f"file:{path}": position(read_to(path, 1)), f"file:{link}": position(read_to(path, 2))}
    assert found(link, positions) == f"file:{link}"


def test_a_position_after_a_single_byte_is_found(path: Path):
    path.write_bytes(b"\n")
    assert found(path, {"file:/other": position(read_to(path, 1))}) == "file:/other"


def test_a_position_before_the_first_line_is_no_reason_to_take_that_of_another_path(path: Path):
    assert found(path, {"file:/other": position(read_to(path, 0))}) is None


def test_the_position_of_a_file_that_is_not_there_is_not_taken(path: Path):
    before = read_to(path, 2)
    path.rename(path.with_name("kept"))
    path.write_bytes(LINES)
    path.with_name("kept").rename(path.parent.parent / "elsewhere")
    assert found(path, {"file:/other": position(before)}) is None


def test_positions_that_can_not_be_read_are_passed_over(path: Path):
    assert found(path, {"file:/other": b"not to be read"}) is None
    positions = {"file:/other": b"not to be read", "file:/third": position(read_to(path, 1))}
    assert found(path, positions) == "file:/third"


def test_the_position_of_the_path_is_found_though_none_of_its_files_is_left(path: Path):
    positions = {"file:/other": b"not to be read", f"file:{path}": position(read_to(path, 2))}
    path.unlink()
    assert found(path, positions) == f"file:{path}"


def test_the_position_of_a_link_is_found_though_none_of_the_files_is_left_to_which_it_led(path: Path):
    link = path.parent / "sub" / "current"
    link.parent.mkdir()
    before = read_to(path, 2)
    path.unlink()
    path.write_bytes(b"b1\n")
    link.symlink_to(path)
    positions = {
        "file:/another": position(before, path="/another"),
        "file:/yesterday": position(before, path=link),
    }
    assert found(link, positions) == "file:/yesterday"


def test_a_file_that_was_rotated_where_the_link_leads_is_found(path: Path):
    link = path.parent / "sub" / "link"
    link.parent.mkdir()
    before = read_to(path, 2)
    path.rename(path.with_name("queue.1"))
    link.symlink_to(path)
    assert found(link, {"file:/other": position(before)}) == "file:/other"


# Which file a checkpoint is of


def test_a_file_that_was_moved_is_found_though_it_has_grown_since(path: Path):
    before = read_to(path, 2)
    with path.open("ab") as file:
        file.write(b"a4\n")
    os.utime(path, ns=(0, before.mtime + 1))
    assert found(path, {"file:/other": position(before)}) == "file:/other"


def test_other_content_on_the_same_inode_is_another_file(path: Path):
    before = read_to(path, 2)
    path.write_bytes(b"b1\nb2\nb3\n")
    assert found(path, {"file:/other": position(before)}) is None


def restored(path: Path) -> Path:
    """A copy of the file in another directory, with the same time, as a backup makes it."""
    copy = path.parent / "restored" / "queue"
    copy.parent.mkdir()
    shutil.copy2(path, copy)
    return copy


def test_a_file_that_was_restored_from_a_copy_is_found_once_the_original_is_gone(path: Path):
    copy, positions = restored(path), {f"file:{path}": position(read_to(path, 2))}
    assert found(copy, positions) is None
    path.unlink()
    assert found(copy, positions) == f"file:{path}"
    os.utime(copy, ns=(0, copy.stat().st_mtime_ns + 1))
    assert found(copy, positions) is None


def test_a_restored_file_is_found_though_another_is_where_the_original_was(path: Path):
    copy, positions = restored(path), {f"file:{path}": position(read_to(path, 2))}
    path.rename(path.with_name("kept"))
    path.write_bytes(b"b1\n")
    assert found(copy, positions) == f"file:{path}"


def test_a_copy_is_another_queue_while_it_is_not_known_whether_the_original_is_there(path: Path):
    copy, before = restored(path), read_to(path, 2)
    assert found(copy, {f"file:{path}/below/a/file": position(before)}) is None


def test_a_search_for_a_position_leaves_no_file_open(path: Path):
    positions = {"file:/other": position(read_to(path, 2))}
    before = len([*Path("/proc/self/fd").iterdir()])
    assert found(path, positions) == "file:/other"
    assert len([*Path("/proc/self/fd").iterdir()]) == before
