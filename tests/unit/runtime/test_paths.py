"""Paths as people write them: what is refused, what is expanded, which of them are one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asset_worker.runtime.paths import is_same_file, path_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        ("a\0b", "NUL"),
        ("~nobody-here/q", "'~nobody-here/q' begins with the home directory of nobody here: write it from / on"),
        (os.fsdecode(b"q\xff"), "not UTF-8"),
        (os.fsdecode(b"~\xff/q"), "not UTF-8"),
    ],
    ids=ascii,
)
def test_a_path_that_can_not_be_used_is_refused_with_what_to_do(text, said):
    with pytest.raises(ValueError, match=said):
        path_of(text)


def test_a_home_directory_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert path_of("~/q") == Path("/home/ada/q")
    assert path_of("q") == Path("q")


def test_a_relative_path_is_text_from_the_root_on(tmp_path, monkeypatch):
    """The journal keeps it whole."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="the directory that it is relative to is not UTF-8"):
        path_of("q")
    assert path_of("/q") == Path("/q")


def test_a_relative_path_needs_a_directory_that_is_there(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ValueError, match="the current directory is gone"):
        path_of("q")


@pytest.mark.parametrize("other", ["q", "./q", "sub/../q", "{here}/q", "soft", "sub/up/q", "hard"])
def test_one_file_has_many_names(tmp_path, monkeypatch, other):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "soft").symlink_to("q")
    (tmp_path / "q").touch()
    (tmp_path / "hard").hardlink_to(tmp_path / "q")
    monkeypatch.chdir(tmp_path)
    other = other.format(here=tmp_path)
    assert is_same_file("q", other)
    if other != "hard":
        (tmp_path / "q").unlink()
        assert is_same_file("q", other), "before it is there"


def test_files_that_hold_the_same_are_not_one(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    assert not is_same_file(tmp_path / "a", tmp_path / "b")
    assert not is_same_file(tmp_path / "a", tmp_path / "absent")
    assert not is_same_file(tmp_path / "a", tmp_path / ("x" * 300))
