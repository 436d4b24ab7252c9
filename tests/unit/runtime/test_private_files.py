"""Files that the worker keeps for itself: no link and no pipe in their place is used, and nobody else reads them."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from asset_worker.runtime.private_files import (
    NotRegularFileError,
    check_regular,
    create_private_directory,
    open_new,
    open_private,
    open_to_read,
)


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def link(path):
    (path.parent / "target").write_text("precious")
    path.symlink_to("target")


def dangling_link(path):
    path.symlink_to("missing")


def bind(path):
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(path))


SPECIAL = {
    "link": (link, "a symbolic link and not a regular file"),
    "dangling link": (dangling_link, "a symbolic link and not a regular file"),
    "pipe": (os.mkfifo, "a named pipe and not a regular file"),
    "directory": (Path.mkdir, "a directory and not a regular file"),
    "socket": (bind, "a socket and not a regular file"),
}


@pytest.fixture(params=SPECIAL)
def special(tmp_path, request):
    """A path at which there is something else than a regular file, and what the error says."""
    path = tmp_path / "kept"
    put, says = SPECIAL[request.param]
    put(path)
    return path, says


WAYS = {
    "to read": os.O_RDONLY,
    "to write": os.O_WRONLY,
    "to truncate": os.O_WRONLY | os.O_TRUNC,
    "to create": os.O_RDWR | os.O_CREAT,
}


@pytest.mark.parametrize("flags", WAYS.values(), ids=WAYS)
def test_what_is_no_regular_file_is_named_and_neither_followed_nor_waited_for(special, flags):
    path, says = special
    before, open_files = sorted(path.parent.iterdir()), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(NotRegularFileError) as raised:
        open_private(path, flags)
    assert raised.value.strerror == says
    with pytest.raises(NotRegularFileError, match=says):
        check_regular(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        with pytest.raises(NotRegularFileError, match=says):
            open_private(path.name, flags, dir_fd=directory)
    finally:
        os.close(directory)
    assert sorted(path.parent.iterdir()) == before
    assert not (path.parent / "target").exists() or (path.parent / "target").read_text() == "precious"
    assert len(os.listdir("/proc/self/fd")) == open_files  # noqa: PTH208


def test_a_device_is_no_regular_file():
    with pytest.raises(NotRegularFileError, match="a device and not a regular file"):
        open_private("/dev/null", os.O_RDWR)


def test_a_regular_file_and_a_missing_one_are_no_error(tmp_path):
    check_regular(tmp_path / "none")
    (tmp_path / "file").write_text("kept")
    check_regular(tmp_path / "file")
    with open_to_read(tmp_path / "file") as file:
        assert file.read() == b"kept"
    with pytest.raises(FileNotFoundError):
        open_to_read(tmp_path / "none")


def test_links_in_the_directories_above_are_followed(tmp_path):
    """With DynamicUser, systemd makes the state directory such a link."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "file").write_text("kept")
    (tmp_path / "state").symlink_to("private")
    with open_to_read(tmp_path / "state" / "file") as file:
        assert file.read() == b"kept"


def test_a_file_that_is_created_is_for_this_user_alone(tmp_path):
    with umask(0):
        os.close(open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT))
        open_new(tmp_path / "draft").close()
    assert mode_of(tmp_path / "file") == mode_of(tmp_path / "draft") == 0o600


@pytest.mark.parametrize("put", [link, dangling_link, os.mkfifo, Path.touch], ids=lambda put: put.__name__)
def test_a_draft_replaces_what_is_in_its_place_and_follows_nothing(tmp_path, put):
    path = tmp_path / "draft"
    put(path)
    with open_new(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_ISREG(path.lstat().st_mode)
    assert not (tmp_path / "missing").exists()
    assert not (tmp_path / "target").exists() or (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize("put", [link, dangling_link, os.mkfifo, Path.touch], ids=lambda put: put.__name__)
def test_a_draft_is_not_written_to_what_appears_in_its_place_at_this_moment(tmp_path, monkeypatch, put):
    path = tmp_path / "draft"
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: put(path))
    with pytest.raises(FileExistsError):
        open_new(path)
    assert not (tmp_path / "missing").exists()
    assert not (tmp_path / "target").exists() or (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize(
    ("mask", "parents"), [(0, 0o755), (0o002, 0o755), (0o022, 0o755), (0o027, 0o750), (0o077, 0o700)], ids=oct
)
def test_directories_are_created_so_that_others_can_write_to_none_of_them(tmp_path, mask, parents):
    with umask(mask):
        create_private_directory(tmp_path / "a" / "b" / "state")
    assert mode_of(tmp_path / "a" / "b" / "state") == 0o700
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == parents


def test_a_directory_that_exists_stays_as_it_is(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o770)
    create_private_directory(tmp_path / "state")
    assert mode_of(tmp_path / "state") == 0o770


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        create_private_directory(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        create_private_directory(tmp_path / "file" / "state")
