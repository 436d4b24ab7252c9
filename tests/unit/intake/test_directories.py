"""What is listed beside a path, and how long the next listing waits."""

from pathlib import Path

import pytest

from asset_worker.intake.file.directories import Directories, Entry, modification_time
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import QueueFile


class Listing:
    """The directories of one path, and what was said of them."""

    def __init__(self, path: Path) -> None:
        self.said: list[tuple[str, str | None]] = []
        self.directories = Directories(QueueFile(path), ROTATED, lambda *said: self.said.append(said))

    def entries(self, inodes: frozenset[int] = frozenset()) -> dict[str, Entry]:
        self.directories.follow_links()
        return {entry.path.name: entry for entry in self.directories.list(inodes)}


def made(directory: Path, *names: str) -> dict[str, int]:
    """Make empty files, and return their inodes."""
    for name in names:
        (directory / name).touch()
    return {name: (directory / name).stat().st_ino for name in names}


def test_files_are_listed_that_may_have_been_at_the_path_and_those_that_are_searched_for(tmp_path: Path):
    inodes = made(tmp_path, "queue", "queue.1", "queue-mine", "sought", "other")
    found = Listing(tmp_path / "queue").entries(frozenset({inodes["sought"]}))
    assert found == {
        name: Entry(tmp_path / name, inodes[name], is_rotated)
        for name, is_rotated in {"queue.1": True, "queue-mine": False, "sought": False}.items()
    }


def test_the_next_listing_waits_for_each_name_and_ten_times_as_long_for_each_file_that_is_examined(tmp_path: Path):
    listing = Listing(tmp_path / "queue")
    assert listing.directories.pause == 0.0
    made(tmp_path, "queue", "queue.1", "queue.2", "other", "another")
    listing.entries()
    assert listing.directories.pause == pytest.approx(50e-6 * (5 + 2 * 10))


def test_a_name_is_that_of_a_rotated_file_if_it_is_for_the_link_or_for_its_target(tmp_path: Path):
    made(tmp_path, "queue.log", "queue.log.old", "queue.old")
    (tmp_path / "queue").symlink_to("queue.log")
    found = Listing(tmp_path / "queue").entries()
    assert {name: entry.is_rotated for name, entry in found.items()} == {"queue.log.old": True, "queue.old": True}


def test_the_path_itself_is_no_new_link_beside_it(tmp_path: Path):
    """Even if its name is one that rotation gives to the file to which it leads."""
    listing = Listing(tmp_path / "queue.1")
    assert listing.entries() == {}
    made(tmp_path, "queue")
    (tmp_path / "queue.1").symlink_to("queue")
    assert listing.entries() == {}
    assert listing.said == []


def test_a_directory_that_does_not_exist_has_no_time(tmp_path: Path):
    listing = Listing(tmp_path / "none" / "queue")
    listing.directories.follow_links()
    assert listing.directories.modification_times() == {tmp_path / "none" / "queue": 0}
    assert modification_time(None) == 0
    assert modification_time(tmp_path.stat()) == tmp_path.stat().st_mtime_ns
