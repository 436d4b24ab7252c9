"""What is stored of a file that is being read, and what it tells of that file."""

import json
from typing import Any

import pytest

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, decode, unused_id
from asset_worker.intake.file.siblings import COMMON, SeenFile

STORED: dict[str, Any] = {
    "device": 8,
    "inode": 12,
    "offset": 6,
    "line": 2,
    "head_bytes": 6,
    "head": "h",
    "tail_bytes": 6,
    "tail": "t",
}


def checkpoint(**fields: Any) -> Checkpoint:
    return Checkpoint(**STORED | fields)


def test_a_position_of_the_first_version_knows_nothing_that_later_ones_store():
    position = json.dumps({"files": [STORED], "retired": [], "since": 5}).encode()
    stored = checkpoint(rejected=0, id="", size=-1, mtime=0, is_doubtful=False, start=COMMON)
    assert decode(position) == FollowerState((stored,), (), 5, version=1, seen=None, path="", is_settled=False)


def test_a_checkpoint_names_the_device_and_inode_of_its_file():
    assert checkpoint().identity == (8, 12)


def test_a_closed_file_is_remembered_as_it_was():
    assert checkpoint(size=9, mtime=77, start="s").seen() == SeenFile(12, 9, 77, "s")


@pytest.mark.parametrize(
    ("size", "rejected", "is_complete"),
    [
        pytest.param(6, 0, True, id="read to its end"),
        pytest.param(9, 9, True, id="the rest was rejected"),
        pytest.param(9, 0, False, id="with more to read"),
        pytest.param(9, 8, False, id="grown since the rest was rejected"),
        pytest.param(0, 0, False, id="emptied"),
        pytest.param(-1, 0, False, id="of unknown size"),
    ],
)
def test_a_file_is_complete_once_all_of_it_was_read_or_rejected(size: int, rejected: int, is_complete: bool):
    assert checkpoint(size=size, rejected=rejected).is_complete is is_complete


@pytest.mark.parametrize(
    ("fields", "mtime", "is_restored"),
    [
        pytest.param({"mtime": 77}, 77, True, id="the same time"),
        pytest.param({"mtime": 1}, 1, True, id="the same time, long ago"),
        pytest.param({"mtime": 77}, 78, False, id="another time"),
        pytest.param({"mtime": 0}, 0, False, id="a time that is not known"),
        pytest.param({"mtime": 77, "offset": 0}, 77, False, id="nothing was read of it"),
    ],
)
def test_a_file_on_another_inode_is_a_restored_copy_only_with_the_time_of_the_original(
    fields: dict[str, int], mtime: int, is_restored: bool
):
    assert checkpoint(**fields).is_restored(mtime) is is_restored


@pytest.mark.parametrize(
    ("wanted", "used", "expected"),
    [
        ("8:1", set[str](), "8:1"),
        ("8:1", {"8:1"}, "8:1+1"),
        ("8:1+5", {"8:1+5"}, "8:1+6"),
        ("8:1+5", {"8:1"}, "8:1+5"),
    ],
)
def test_the_number_of_an_id_never_decreases(wanted: str, used: set[str], expected: str):
    """A rejected line in earlier content on the same inode may have been reported under a smaller one."""
    assert unused_id(wanted, used) == expected
