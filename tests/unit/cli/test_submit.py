"""`asset-worker submit`: what it leaves on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from asset_worker.cli import asset_worker


@pytest.fixture
def queue_file(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def submitted(queue_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(asset_worker, ["submit", *arguments, "--queue-file", str(queue_file)])


class Writes:
    """`os.write` that records its data and writes at most `most` bytes of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int | None = None) -> None:
        self.most = most
        self.given: list[bytes] = []
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return self._write(descriptor, data)
        self.given.append(data)
        return self._write(descriptor, data[: self.most])


def test_all_assets_are_written_in_one_write(queue_file: Path, monkeypatch: pytest.MonkeyPatch):
    writes = Writes(monkeypatch)
    assert submitted(queue_file, "a1", "a2", "--metadata", "video=12").exit_code == 0
    assert len(writes.given) == 1
    line = b'{"asset_id":"%s","metadata":{"video":"12"}}\n'
    assert queue_file.read_bytes() == line % b"a1" + line % b"a2" == writes.given[0]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o640), (0o002, 0o640), (0o077, 0o600)])
def test_a_new_queue_file_can_be_read_by_its_group_and_by_nobody_else(queue_file: Path, umask: int, mode: int):
    """IDs and metadata are nobody else's business. The worker reads it as a member of the group."""
    before = os.umask(umask)
    try:
        assert submitted(queue_file, "a1").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(queue_file.stat().st_mode) == mode


def test_the_rights_of_a_queue_file_that_is_there_stay(queue_file: Path):
    queue_file.touch()
    queue_file.chmod(0o664)
    assert submitted(queue_file, "a1").exit_code == 0
    assert stat.S_IMODE(queue_file.stat().st_mode) == 0o664


@pytest.mark.parametrize("most", [0, 1, 5, 8])
def test_a_partial_write_is_undone(queue_file: Path, monkeypatch: pytest.MonkeyPatch, most: int):
    """Half an ID may look like a complete one."""
    queue_file.write_bytes(b"a1\n")
    Writes(monkeypatch, most)
    result = submitted(queue_file, "asset2", "asset3")
    assert queue_file.read_bytes() == b"a1\n"
    assert (result.exit_code, "No space left on device" in result.stderr) == (2, True)


def test_submitted_assets_are_synced_to_disk_before_the_command_returns(
    queue_file: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[tuple[Path, bytes]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), queue_file.read_bytes()))

    monkeypatch.setattr(os, "fsync", note)
    assert submitted(queue_file, "a1").exit_code == 0
    assert synced == [(queue_file, b"a1\n"), (queue_file.parent, b"a1\n")], "with the new file's name"
    synced.clear()
    assert submitted(queue_file, "a2").exit_code == 0
    assert synced == [(queue_file, b"a1\na2\n")]


def test_a_disk_that_can_not_sync_is_reported(queue_file: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    result = submitted(queue_file, "a1")
    assert (result.exit_code, "Input/output error" in result.stderr) == (2, True)


def test_a_partial_line_of_another_writer_does_not_swallow_the_first_asset(queue_file: Path):
    queue_file.write_bytes(b"partial")
    assert submitted(queue_file, "a1", "a2").exit_code == 0
    assert queue_file.read_bytes() == b"partial\na1\na2\n"


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        pytest.param(b"theirs\n", b"", b"old\ntheirs\n", id="before"),
        pytest.param(b"", b"theirs\n", b"old\nourtheirs\n", id="after, so that nothing can be undone"),
    ],
)
def test_what_others_append_meanwhile_is_not_removed(
    queue_file: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes, left: bytes
):
    """They don't use our lock."""
    queue_file.write_bytes(b"old\n")
    write = os.write

    def others(data: bytes) -> None:
        with queue_file.open("ab") as file:
            file.write(data)

    def write_in_part(descriptor: int, data: bytes) -> int:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return write(descriptor, data)
        others(before)
        written = write(descriptor, data[:3])
        others(after)
        return written

    monkeypatch.setattr(os, "write", write_in_part)
    assert submitted(queue_file, "ours").exit_code == 2
    assert queue_file.read_bytes() == left


def test_a_file_system_without_locks_can_be_written_to(queue_file: Path, monkeypatch: pytest.MonkeyPatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert submitted(queue_file, "ours").exit_code == 0
    assert queue_file.read_bytes() == b"ours\n"


@pytest.mark.skipif(bool(os.geteuid()), reason="only root can make links of other users")
@pytest.mark.parametrize("is_there", [True, False], ids=["a file", "no file yet"])
def test_nothing_is_written_or_created_where_a_link_of_another_writer_leads(
    queue_file: Path, tmp_path: Path, is_there: bool
):
    target = tmp_path / "target"
    if is_there:
        target.write_bytes(b"kept\n")
    queue_file.symlink_to(target)
    os.chown(queue_file, 2000, 2000, follow_symlinks=False)
    result = submitted(queue_file, "a1")
    assert (result.exit_code, f"nothing was written to {queue_file}" in result.stderr) == (2, True)
    assert [path.read_bytes() for path in tmp_path.glob("target")] == [b"kept\n"] * is_there


def test_a_queue_file_that_is_created_is_named_as_its_name_may_be_a_slip(queue_file: Path):
    assert submitted(queue_file, "a1").stderr == f"asset-worker: {queue_file} was not there, and was created\n"
    assert submitted(queue_file, "a2").stderr == ""
