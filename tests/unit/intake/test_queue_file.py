"""Which files are opened as the queue file or as one that was rotated away from it."""

import os
from pathlib import Path

import pytest

from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.tail_reader import NotAFileError, OutputFileError
from asset_worker.runtime.links import Place, UntrustedLinkError
from tests.doubles.intake import Disk, Following
from tests.doubles.searching import open_descriptors

WRITER = 2000

as_root = pytest.mark.skipif(bool(os.geteuid()), reason="only root can make links of other users")


class Outputs:
    """Files that the process writes to."""

    def __init__(self, *paths: Path) -> None:
        self._identities: set[tuple[int, int]] = set()
        for path in paths:
            self.add(path)

    def add(self, path: Path) -> None:
        self._identities.add((path.stat().st_dev, path.stat().st_ino))

    def __call__(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        return (status.st_dev, status.st_ino) in self._identities


def writers_link(path: Path, target: Path) -> None:
    path.symlink_to(target)
    os.chown(path, WRITER, WRITER, follow_symlinks=False)


def opened(queue_file: QueueFile, path: Path) -> int:
    """The inode of the file that is opened for this path."""
    queue_file.places()
    file = queue_file.open(path)
    file.close()
    return file.identity[1]


@pytest.mark.parametrize("name", ["queue", "queue.1"])
@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "link to a pipe"])
def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path: Path, name: str, kind: str):
    path = tmp_path / name
    if kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        pipe = path if kind == "pipe" else tmp_path / "pipe"
        os.mkfifo(pipe)
        if pipe != path:
            path.symlink_to(pipe)
    with pytest.raises(NotAFileError, match="is not a regular file"):
        opened(QueueFile(tmp_path / "queue"), path)


def test_a_link_is_followed_at_the_path_and_not_beside_it(tmp_path: Path):
    (tmp_path / "live").write_text("a1\n")
    for name in ("queue", "queue.1"):
        (tmp_path / name).symlink_to("live")
    queue_file = QueueFile(tmp_path / "queue")
    assert opened(queue_file, tmp_path / "queue") == (tmp_path / "live").stat().st_ino
    with pytest.raises(NotAFileError):
        opened(queue_file, tmp_path / "queue.1")


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_what_the_process_writes_is_not_read_under_any_name(tmp_path: Path, how: str):
    events = tmp_path / "events"
    events.write_text("{}\n")
    queue_file = QueueFile(tmp_path / "queue", Outputs(events))
    (tmp_path / "queue.1").hardlink_to(events)
    (tmp_path / "queue").symlink_to(events) if how == "symbolic" else (tmp_path / "queue").hardlink_to(events)
    for name in ("queue", "queue.1"):
        with pytest.raises(OutputFileError, match="the worker writes its events or its log to this file"):
            opened(queue_file, tmp_path / name)


@as_root
def test_a_writer_s_link_is_followed_to_his_own_files_alone(tmp_path: Path):
    target = tmp_path / "target"
    target.write_text("a1\n")
    writers_link(tmp_path / "queue", target)
    queue_file = QueueFile(tmp_path / "queue")
    with pytest.raises(UntrustedLinkError, match="belongs to user 2000, and is not followed to a file of user 0"):
        queue_file.places()
    with pytest.raises(UntrustedLinkError):
        queue_file.open(tmp_path / "queue")
    os.chown(target, WRITER, WRITER)
    assert opened(queue_file, tmp_path / "queue") == target.stat().st_ino


@as_root
def test_a_link_in_a_directory_above_counts_as_well(tmp_path: Path):
    """As that of somebody who may write to the directory above that of the queue file."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "queue").write_text("a1\n")
    (tmp_path / "private" / "queue.1").write_text("a2\n")
    writers_link(tmp_path / "spool", tmp_path / "private")
    queue_file = QueueFile(tmp_path / "spool" / "queue")
    for name in ("queue", "queue.1"):
        with pytest.raises(UntrustedLinkError):
            opened(queue_file, tmp_path / "spool" / name)


@as_root
def test_files_beside_the_target_of_a_writer_s_link_are_read_if_they_are_his(tmp_path: Path):
    """Even if the link leads to a file that does not exist: only the names beside it would be needed."""
    private = tmp_path / "private"
    private.mkdir()
    writers_link(tmp_path / "queue", private / "log")
    (private / "log.1").write_text("a1\n")
    queue_file = QueueFile(tmp_path / "queue")
    assert queue_file.places() == [tmp_path / "queue", private / "log"]
    with pytest.raises(UntrustedLinkError):
        queue_file.open(private / "log.1")
    os.chown(private / "log.1", WRITER, WRITER)
    assert opened(queue_file, private / "log.1") == (private / "log.1").stat().st_ino
    os.chown(private / "log.1", 0, 0)
    (tmp_path / "queue").unlink()
    queue_file.places()
    with pytest.raises(NotAFileError, match="is not beside the queue file any more"):
        queue_file.open(private / "log.1")


@pytest.mark.parametrize("at", ["queue", "queue.1"])
def test_a_file_that_the_process_begins_to_write_to_is_read_no_further(disk: Disk, at: str):
    """At the path it is reported until another file is there; elsewhere it is given up, and the rest is read on."""
    outputs = Outputs()
    following = Following(disk.path(), is_output=outputs)
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    if at == "queue.1":
        disk.rename("queue", at)
        disk.append(b"b1\n")
        assert following.step() == ["b1"]
    following.events()
    outputs.add(disk.path(at))
    disk.append(b"c1\n", at)
    assert [following.step(5), following.step(5), following.step(5)] == [[], [], []]
    assert following.event_names()[0] == "unreadable"
    assert following.at_end == (at == "queue.1")
    if at == "queue":
        disk.rename("queue", "queue.2")
        disk.tick()
    disk.append(b"d1\n")
    assert following.step(5) == ["d1"]
    following.follower.close()


def test_new_links_beside_the_queue_file_are_reported_once(disk: Disk, following: Following):
    """Those that were there at the start are history."""
    disk.append(b"x1\n", "elsewhere")
    disk.path("queue.1").symlink_to("elsewhere")
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    for name in ("queue.2", "queue.3", "queue-mine"):
        disk.path(name).symlink_to("elsewhere")
    disk.tick()
    disk.append(b"", "other")
    for _ in range(3):
        assert following.step(60) == []
    said = (
        f"{disk.path('queue.2')} (and 1 more) has the name of a rotated file, but is a symbolic link, which is not "
        "followed there. If it leads to a file that was rotated away from the queue file, move that file itself to "
        "this place"
    )
    assert following.events() == [("appeared", None), ("gap", said)]
    assert following.at_end


def test_a_pipe_that_appears_before_the_file_is_opened_is_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "queue")
    monkeypatch.setattr(Place, "status", lambda _: None)
    with pytest.raises(NotAFileError, match="not a regular file"):
        QueueFile(tmp_path / "queue").open(tmp_path / "queue")


def test_a_file_that_is_refused_is_closed(tmp_path: Path):
    (tmp_path / "queue").write_text("{}\n")
    queue_file = QueueFile(tmp_path / "queue", Outputs(tmp_path / "queue"))
    before = open_descriptors()
    with pytest.raises(OutputFileError):
        queue_file.open(tmp_path / "queue")
    assert open_descriptors() == before
