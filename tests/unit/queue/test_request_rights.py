"""Whose requests are used, to whom they are given, and what is on the disk when a request is done."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local import request_files
from asset_worker.queue.local.request_files import Found, RequestFiles, UnusableRequestsError

ID = "0123456789abcdef0123456789abcdef"
RETRY = Request("retry", all=True)
WORKER, ROOT = 1234, 0


@pytest.fixture
def files(tmp_path):
    return RequestFiles(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    """The names that are deleted, and the descriptors that are synced, in their order."""
    steps, sync, unlink = [], os.fsync, os.unlink

    def synced(descriptor):
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def unlinked(name, **others):
        unlink(name, **others)
        steps.append(name)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "unlink", unlinked)
    return steps


def test_a_request_is_gone_from_the_disk_when_it_is_answered(files, steps):
    """Its answer is on the disk before that: whatever happens, the command gets one."""
    files.write(ID, RETRY)
    steps.clear()
    files.answer(ID, Answer())
    assert steps == ["file", "directory", f"{ID}.json", "directory"]


def test_a_request_that_is_deleted_is_gone_from_the_disk(files, steps):
    """Otherwise a power cut brings it back, and the next worker carries out what was withdrawn."""
    files.write(ID, RETRY)
    steps.clear()
    files.delete(ID)
    assert steps == [f"{ID}.json", "directory"]


def owned_by(monkeypatch, *, directory, file, process):
    """Let the directory of requests and its files have these owners, and this process its user."""
    real = os.fstat

    def fstat(descriptor):
        status = real(descriptor)
        owner = directory if stat.S_ISDIR(status.st_mode) else file
        return os.stat_result((*status[:4], owner, *status[5:]))

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "geteuid", lambda: process)


@pytest.mark.parametrize("directory", [WORKER, ROOT])
@pytest.mark.parametrize("file", [WORKER, ROOT])
def test_requests_of_the_user_and_of_root_are_used_whoever_has_the_state_directory(files, monkeypatch, directory, file):
    files.write(ID, RETRY)
    owned_by(monkeypatch, directory=directory, file=file, process=WORKER)
    assert files.find() == [Found(ID, RETRY)]


class StateOf(type(Path())):  # type: ignore[misc]
    """A state directory that belongs to a user."""

    owner = ROOT

    def stat(self, **others):
        status = super().stat(**others)
        return os.stat_result((*status[:4], self.owner, self.owner, *status[6:]))


@pytest.mark.parametrize(
    ("process", "owner", "given"),
    [(ROOT, WORKER, [(WORKER, WORKER)] * 2), (ROOT, ROOT, []), (WORKER, WORKER, []), (WORKER, 99, [])],
    ids=["root for a worker", "root for itself", "the worker for itself", "a user for another one"],
)
def test_only_root_gives_its_requests_away_and_only_to_another_user(tmp_path, monkeypatch, process, owner, given):
    monkeypatch.setattr(StateOf, "owner", owner)
    files, gifts = RequestFiles(StateOf(tmp_path)), []
    owned_by(monkeypatch, directory=process, file=process, process=process)
    monkeypatch.setattr(os, "chown", lambda _, user, group: gifts.append((user, group)))
    files.write(ID, RETRY)
    assert gifts == given


def test_a_file_in_place_of_the_directory_is_not_used(files, tmp_path):
    (tmp_path / "requests").touch(mode=0o600)
    with pytest.raises(UnusableRequestsError) as raised:
        files.find()
    assert str(raised.value) == (
        f"{tmp_path / 'requests'} is a link, or no directory: remove it, and the next command creates it again"
    )


def refusal(code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_directory_that_may_not_be_opened_is_named_with_what_to_do(files, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", refusal(errno.EACCES))
    with pytest.raises(UnusableRequestsError) as raised:
        files.find()
    assert str(raised.value) == (
        f"{tmp_path / 'requests'} can't be opened (Permission denied): remove it, and the next command creates it again"
    )


def test_a_disk_that_fails_refuses_no_request(files, monkeypatch):
    """It is found by a later look."""
    files.write(ID, RETRY)
    with monkeypatch.context() as patched:
        patched.setattr(request_files, "open_private", refusal(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            files.find()
    assert files.find() == [Found(ID, RETRY)]


def test_a_look_leaves_no_descriptor_open(files):
    files.write(ID, RETRY)
    before = sorted(Path("/proc/self/fd").iterdir())
    files.find()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


NOW = 1_800_000_000


@pytest.mark.parametrize(("age", "is_kept"), [(3600, True), (3601, False), (-3600, True), (-3601, False)], ids=str)
def test_what_is_left_behind_is_kept_for_an_hour(files, tmp_path, monkeypatch, age, is_kept):
    files.write(ID, RETRY)
    (tmp_path / "requests" / "left.draft").touch()
    os.utime(tmp_path / "requests" / "left.draft", (NOW - age, NOW - age))
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    files.clean()
    assert (tmp_path / "requests" / "left.draft").exists() is is_kept


def test_a_link_and_a_directory_stop_no_cleaning(files, tmp_path, monkeypatch):
    """A link is as old as it is itself, and what it leads to stays."""
    files.write(ID, RETRY)
    requests = tmp_path / "requests"
    (tmp_path / "target").touch()
    (requests / "link.draft").symlink_to(tmp_path / "target")
    (requests / "dangling.draft").symlink_to("nowhere")
    (requests / "directory.draft").mkdir()
    (requests / "old.answer.json").touch()
    for path in requests.iterdir():
        os.utime(path, (1, 1), follow_symlinks=False)
    os.utime(tmp_path / "target", (NOW, NOW))
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    files.clean()
    assert sorted(path.name for path in requests.iterdir()) == [f"{ID}.json", "directory.draft"]
    assert (tmp_path / "target").exists()
