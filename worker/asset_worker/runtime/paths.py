"""Paths as people write them: with `~`, relative, or with several names for one file; and what is there."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(text: str | os.PathLike[str]) -> Path:
    """Return the path that `text` names, with `~` expanded.

    The absolute path must be UTF-8, because it is written to the journal, to events and to logs.

    Raises:
        ValueError: the path can't be used; the message says why and what to do.
    """
    written = os.fspath(text)
    if not written.strip():
        raise ValueError("it is empty: name a path, or leave it out")
    if "\0" in written:
        raise ValueError("it holds a NUL character, which no path can: leave that out")
    if not _is_utf8(written):
        raise ValueError("it is not UTF-8 text: give the file a name that is")
    try:
        path = Path(written).expanduser()
    except RuntimeError:
        raise ValueError(f"{written!r} begins with the home directory of nobody here: write it from / on") from None
    try:
        absolute = path.absolute()
    except FileNotFoundError:
        raise ValueError("the current directory is gone: write it from / on") from None
    if not _is_utf8(str(absolute)):
        raise ValueError("the directory that it is relative to is not UTF-8 text: use another one")
    return path


def current_status(path: Path) -> os.stat_result | None:
    """Return the status of what is at the path now, symbolic links followed; None: nothing is there.

    Raises:
        OSError: the path can't be examined.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Return whether two paths name the same file: by another spelling, a symbolic link or a hard link.

    The file need not exist.
    """
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is missing or can't be reached
        return False


def is_same_open_file(one: int, other: int) -> bool:
    """Return whether two descriptors are of the same file; a closed one is of no file."""
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
