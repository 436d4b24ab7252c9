"""The files of requests: found whole, answered, deleted; and what is no request is set aside."""

from __future__ import annotations

import errno
import os
import stat
import time

import msgspec
import pytest

from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local import request_files
from asset_worker.queue.local.request_files import Found, Refused, RequestFiles, UnusableRequestsError

A = "https://a.example/#1"
ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def files(tmp_path):
    return RequestFiles(tmp_path)


RETRY = Request("retry", ids=("a.1",), sink=A)


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "requests").iterdir())


def test_a_request_is_found_answered_and_gone(files, tmp_path):
    assert files.find() == []
    files.write(ID, RETRY)
    assert stat.S_IMODE((tmp_path / "requests").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "requests" / f"{ID}.json").stat().st_mode) == 0o600
    assert files.read_answer(ID) is None
    for _ in range(2):
        assert files.find() == [Found(ID, RETRY)]
    files.answer(ID, Answer({A: 1}))
    assert files.find() == []
    assert files.read_answer(ID) == Answer({A: 1})
    files.delete(ID)
    assert names(tmp_path) == []


def test_no_more_requests_are_read_at_once_than_that_and_the_others_after_them(files, monkeypatch):
    monkeypatch.setattr(request_files, "MAX_FOUND", 2)
    for number in "012":
        files.write(number * 32, RETRY)
    assert files.find() == [Found("0" * 32, RETRY), Found("1" * 32, RETRY)]
    files.answer("0" * 32, Answer())
    assert files.find() == [Found("1" * 32, RETRY), Found("2" * 32, RETRY)]


def test_a_request_may_be_as_large_as_that(files, tmp_path):
    files.write(ID, RETRY)
    path = tmp_path / "requests" / f"{ID}.json"
    path.write_bytes(path.read_bytes().ljust(request_files.MAX_BYTES))
    assert files.find() == [Found(ID, RETRY)]


def test_a_request_is_on_the_disk_before_it_has_its_name(files, tmp_path, monkeypatch):
    """And its name is on the disk before the command waits for an answer."""
    steps, sync, rename = [], os.fsync, os.rename

    def synced(descriptor):
        found = os.fstat(descriptor)
        steps.append("directory" if stat.S_ISDIR(found.st_mode) else found.st_size)
        sync(descriptor)

    def renamed(*arguments, **others):
        steps.append("rename")
        rename(*arguments, **others)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    files.write(ID, RETRY)
    size = (tmp_path / "requests" / f"{ID}.json").stat().st_size
    assert steps[-3:] == [size, "rename", "directory"]


def test_what_a_worker_that_was_killed_has_left_of_an_answer_goes_with_the_request(files, tmp_path):
    files.write(ID, RETRY)
    (tmp_path / "requests" / f"{ID}.answer.json.draft").touch(mode=0o600)
    files.delete(ID)
    assert names(tmp_path) == []


def test_an_answer_is_written_although_a_worker_that_was_killed_has_left_a_part_of_it(files, tmp_path):
    files.write(ID, RETRY)
    draft = tmp_path / "requests" / f"{ID}.answer.json.draft"
    draft.write_text('{"counts": {"a part of an answer that was longer')
    draft.chmod(0o600)
    files.answer(ID, Answer())
    assert (files.read_answer(ID), names(tmp_path)) == (Answer(), [f"{ID}.answer.json"])


def link(path):
    path.with_name("target").write_bytes(msgspec.json.encode(RETRY))
    path.symlink_to("target")


BAD = {
    "no JSON": (lambda path: path.write_text("{"), "it is not a request"),
    "no UTF-8": (lambda path: path.write_bytes(b'{"action": "retry", "sink": "\xff"}'), "it is not a request"),
    "another action": (lambda path: path.write_text('{"action": "explode", "all": true}'), "Invalid enum value"),
    "an unknown field": (lambda path: path.write_text('{"action": "drop", "every": true}'), "unknown field"),
    "half of a character": (lambda path: path.write_text('{"sink": "\\ud800"}'), "it is not a request"),
    "a list": (lambda path: path.write_text("[]"), "it is not a request"),
    "empty": (lambda path: path.write_text(""), "it is not a request"),
    "too large": (lambda path: path.write_bytes(b" " * (request_files.MAX_BYTES + 1)), "it is larger than"),
    "deep": (lambda path: path.write_text('{"action": ' + "[" * 100_000), "it is not a request"),
    "a link": (link, "it is a symbolic link and not a regular file"),
    "a pipe": (os.mkfifo, "it is a named pipe and not a regular file"),
    "a directory": (lambda path: path.mkdir(), "it is a directory and not a regular file"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_what_is_no_request_is_reported_once_and_set_aside_and_others_are_found(files, tmp_path, make, says):
    files.write("f" * 32, RETRY)
    path = tmp_path / "requests" / f"{ID}.json"
    make(path)
    refused, found = files.find()
    assert isinstance(refused, Refused)
    assert (refused.name, refused.id) == (path.name, ID)
    assert says in refused.reason
    assert found == Found("f" * 32, RETRY)
    assert files.find() == [found]
    assert f"{ID}.json.refused" in names(tmp_path)


@pytest.mark.parametrize("name", ["x.json", f"{ID}0.json", f"{ID.upper()}.json", "\x1b[31m.json", "\udcff.json"])
def test_a_file_without_an_id_is_set_aside(files, tmp_path, name):
    files.write(ID, RETRY)
    (tmp_path / "requests" / name).write_text("{}")
    refused = [each for each in files.find() if isinstance(each, Refused)]
    assert refused == [Refused(name, "its name is not that of a request", None)]
    assert files.find() == [Found(ID, RETRY)]


def test_what_can_not_be_set_aside_is_reported_once(files, tmp_path, monkeypatch):
    files.write(ID, RETRY)
    (tmp_path / "requests" / "x.json").mkdir()

    def fail(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "rename", fail)
    assert [type(each) for each in files.find()] == [Found, Refused]
    assert files.find() == [Found(ID, RETRY)]
    (tmp_path / "requests" / "x.json").rmdir()
    assert files.find() == [Found(ID, RETRY)]
    (tmp_path / "requests" / "x.json").mkdir()
    assert [type(each) for each in files.find()] == [Found, Refused], "another one of this name"


def test_other_files_are_left_alone(files, tmp_path):
    files.write(ID, RETRY)
    for name in ("notes", f"{ID}.json.draft", f"{ID}.json.refused", f"{ID}.answer.json"):
        (tmp_path / "requests" / name).write_text("x")
    before = names(tmp_path)
    assert files.find() == [Found(ID, RETRY)]
    files.clean()
    assert names(tmp_path) == before


def test_what_commands_have_left_behind_is_deleted_after_an_hour_but_no_request(files, tmp_path):
    files.write(ID, RETRY)
    old = time.time() - request_files.STALE_SECONDS - 1
    for name in ("old.answer.json", "old.json.draft", f"{ID}.json", "notes"):
        (tmp_path / "requests" / name).touch()
        os.utime(tmp_path / "requests" / name, (old, old))
    ahead = time.time() + request_files.STALE_SECONDS + 60  # the clock was wrong when it was written
    (tmp_path / "requests" / "ahead.answer.json").touch()
    os.utime(tmp_path / "requests" / "ahead.answer.json", (ahead, ahead))
    (tmp_path / "requests" / "new.answer.json").touch()
    files.clean()
    assert names(tmp_path) == [f"{ID}.json", "new.answer.json", "notes"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_not_used(files, tmp_path, mode):
    files.write(ID, RETRY)
    (tmp_path / "requests").chmod(mode)
    for call in (files.find, files.clean, lambda: files.answer(ID, Answer()), lambda: files.write("0" * 32, RETRY)):
        with pytest.raises(UnusableRequestsError, match="others may write to "):
            call()
    assert names(tmp_path) == [f"{ID}.json"]


def test_a_link_to_a_directory_is_not_used(files, tmp_path):
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "requests").symlink_to("elsewhere")
    for call in (files.find, lambda: files.write(ID, RETRY)):
        with pytest.raises(UnusableRequestsError, match="is a link, or no directory"):
            call()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_of_another_user_is_no_request(files, tmp_path, monkeypatch):
    files.write(ID, RETRY)
    real = os.fstat

    def fstat(descriptor):
        status = real(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return status
        return os.stat_result((*status[:4], 54321, *status[5:]))

    monkeypatch.setattr(os, "fstat", fstat)
    [refused] = files.find()
    assert isinstance(refused, Refused)
    assert "it belongs to user 54321" in refused.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_command_of_root_leaves_its_request_to_the_owner_of_the_state_directory(tmp_path):
    os.chown(tmp_path, 1234, 1234)
    RequestFiles(tmp_path).write(ID, RETRY)
    for path in (tmp_path / "requests", tmp_path / "requests" / f"{ID}.json"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)
    assert RequestFiles(tmp_path).read_answer(ID) is None
