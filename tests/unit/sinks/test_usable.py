"""Whether a target can be used is seen before there is an event for it, and leaves no trace."""

from __future__ import annotations

import os
import socket

import pytest

from asset_worker.runtime.threads import DaemonThread
from asset_worker.sinks.file import usable
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import SinkUnavailableError
from asset_worker.sinks.registry import find_problem
from asset_worker.sinks.stdout import StdoutSink
from tests.doubles.threads import InlineThread


def denied(monkeypatch, *paths):
    """Take the rights on these paths away; from root, too."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path not in paths and access(path, mode))


def lacking(monkeypatch, right):
    """Take one right on everything away; from root, too."""
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & right)


def missing(path):
    return path / "none" / "events"


def below_a_file(path):
    (path / "file").touch()
    return path / "file" / "events"


def dangling_link(path):
    (path / "link").symlink_to("none/events")
    return path / "link"


def link_that_leads_to_itself(path):
    (path / "link").symlink_to("link")
    return path / "link"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (missing, "none does not exist: create it"),
        (below_a_file, "Not a directory"),
        (dangling_link, "none does not exist: create it"),
        (link_that_leads_to_itself, "Too many levels of symbolic links"),
    ],
)
async def test_what_may_be_mended_is_a_problem_that_is_not_final(tmp_path, make, says):
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    problem = find_problem(str(path))
    assert problem is not None
    assert (says in problem.text, problem.is_final) == (True, False)
    with pytest.raises(SinkUnavailableError, match=says):
        await FileSink(path, InlineThread()).check()
    assert sorted(tmp_path.rglob("*")) == before


async def test_missing_rights_are_a_problem_that_is_not_final(tmp_path, monkeypatch):
    path = tmp_path / "events"
    denied(monkeypatch, tmp_path)
    problem = find_problem(str(path))
    assert problem is not None
    assert (f"the directory {tmp_path} can't be written" in problem.text, problem.is_final) == (True, False)
    path.touch()
    denied(monkeypatch, path)
    problem = find_problem(str(path))
    assert problem is not None
    assert ("give this user the rights" in problem.text, problem.is_final) == (True, False)


@pytest.mark.parametrize(
    ("name", "right", "says"),
    [
        ("file", os.R_OK, "can't be read and written"),
        ("file", os.W_OK, "can't be read and written"),
        ("pipe", os.R_OK, None),
        ("pipe", os.W_OK, "can't be read and written"),
        ("new", os.W_OK, "can't be written"),
        ("new", os.X_OK, "can't be written"),
        ("new", os.R_OK, None),
    ],
)
async def test_each_right_that_is_needed_is_looked_for_and_no_other(tmp_path, monkeypatch, name, right, says):
    """A file is searched after a crash; a pipe is only written to."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    lacking(monkeypatch, right)
    problem = find_problem(str(tmp_path / name))
    if says is None:
        assert problem is None
    else:
        assert problem is not None
        assert says in problem.text
        assert not problem.is_final


def test_a_directory_that_a_file_takes_the_place_of_at_this_moment_is_a_problem(tmp_path, monkeypatch):
    path = below_a_file(tmp_path)
    monkeypatch.setattr(usable, "current_status", lambda _: None)
    problem = find_problem(str(path))
    assert problem is not None
    assert (f"{tmp_path / 'file'} is not a directory" in problem.text, problem.is_final) == (True, False)


def test_a_directory_and_a_socket_are_final(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, says in ((tmp_path, "is a directory"), (tmp_path / "socket", "neither a file nor a pipe")):
            problem = find_problem(str(path))
            assert problem is not None
            assert (says in problem.text, problem.is_final) == (True, True)


async def test_a_file_that_exists_or_can_be_created_is_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # its reader may come later
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("new")
    before = sorted(tmp_path.iterdir())
    for path in (tmp_path / "pipe", tmp_path / "file", tmp_path / "new", tmp_path / "link"):
        assert find_problem(str(path)) is None
        await FileSink(path, InlineThread()).check()
    assert find_problem(os.devnull) is None
    assert sorted(tmp_path.iterdir()) == before


async def test_standard_output_that_is_open_for_reading_only_is_a_problem(tmp_path):
    reading, writing = os.pipe()
    try:
        await StdoutSink(DaemonThread("test"), fd=writing).check()
        with pytest.raises(SinkUnavailableError, match="reading only"):
            await StdoutSink(DaemonThread("test"), fd=reading).check()
    finally:
        os.close(reading)
        os.close(writing)
