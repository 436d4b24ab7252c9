"""The names that rotation gives to a file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.intake.file.names import ROTATED, checked_glob, is_compressed, rotated_names


def is_rotated(name: str, path: str, globs: tuple[str, ...] = ROTATED) -> bool:
    return rotated_names(Path(path), globs).fullmatch(name) is not None


def test_the_default_is_the_documented_one():
    assert ROTATED == ("NAME.*[0-9]*", "NAME.old", "NAME-DATE*", "STEM-DATE*SUFFIX", "STEM.[0-9]*SUFFIX")


@pytest.mark.parametrize(
    "name",
    [
        "queue.1",
        "queue.10",
        "queue-20261123",
        "queue-20261123T1200",
        "queue-20261123-1",
        "queue.2026-11-23.2",
        "queue.20261126T180316Z",
        "queue.2026-11-26T18:03:16",
        "queue.~1~",
        "queue.1764180000.done",
        "queue.old",
        "queue.1.gz",
    ],
)
def test_a_rotated_files_name_is_known(name: str):
    assert is_rotated(name, "/spool/queue")


@pytest.mark.parametrize("name", ["ids.txt.1", "ids.txt-20261123", "ids-20261123.txt", "ids.1.txt", "ids.txt.old"])
def test_a_rotated_files_name_with_a_suffix_is_known(name: str):
    assert is_rotated(name, "/spool/ids.txt")


@pytest.mark.parametrize(
    "name",
    [
        "queue",
        "queue-1",
        "queue-2026",
        "queue.lock",
        "queue.tmp",
        "queue2",
        "queuex.1",
        "other.1",
        "queue.",
        "xqueue.1",
    ],
)
def test_other_names_are_not_those_of_a_rotation(name: str):
    assert not is_rotated(name, "/spool/queue")


@pytest.mark.parametrize("name", ["videos-2.txt", "videos.txt", "videos2.txt", "videos.old.txt", "videos-2026.txt"])
def test_another_queue_files_name_is_not_that_of_a_rotation(name: str):
    assert not is_rotated(name, "videos.txt")


def test_the_globs_may_be_set():
    globs = ("archive-NAME-*", "STEM_DATE.*")
    assert is_rotated("archive-ids.txt-x", "ids.txt", globs)
    assert is_rotated("ids_20261126.z", "ids.txt", globs)
    assert not is_rotated("ids.txt.1", "ids.txt", globs)


def test_without_globs_no_name_is_that_of_a_rotation():
    assert not is_rotated("", "queue", ())
    assert not is_rotated("queue.1", "queue", ())


@given(
    name=st.text(st.characters(blacklist_characters="/\0\n", codec="utf-8"), min_size=1).filter(lambda n: n.strip("."))
)
def test_a_name_is_taken_literally_whatever_it_holds(name: str):
    assert is_rotated(f"{name}.1", f"/spool/{name}")
    assert is_rotated(f"{name}-20261126", f"/spool/{name}")
    assert not is_rotated(f"x{name}.1", f"/spool/{name}", ("NAME.*[0-9]*",))


@pytest.mark.parametrize("glob", ["NAME.*", "*"])
def test_a_glob_of_names_beside_the_file_is_taken_as_it_is(glob: str):
    assert checked_glob(glob) == glob


@pytest.mark.parametrize("glob", ["", "sub/NAME.*", "/var/spool/NAME.*"])
def test_a_glob_that_can_match_nothing_beside_the_file_is_refused(glob: str):
    with pytest.raises(ValueError, match="must not"):
        checked_glob(glob)


@pytest.mark.parametrize(("name", "expected"), [("q.1.gz", True), ("q.1.ZST", True), ("q.xz", True), ("q.1", False)])
def test_a_compressed_file_is_known_by_its_suffix(name: str, expected: bool):
    assert is_compressed(name) is expected
