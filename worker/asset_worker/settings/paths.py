"""Paths as people write them: with `~`, relative, by several names for one file."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(text: str | os.PathLike[str]) -> Path:
    """The path that a text names, `~` expanded.

    A path is kept in the journal and told in events and logs, all of which are text: from the root down to it, it must
    be UTF-8.

    Raises:
        ValueError: it can't be used; the error says why and what to do.
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
        whole = path.absolute()
    except FileNotFoundError:
        raise ValueError("the current directory is gone: write it from / on") from None
    if not _is_utf8(str(whole)):
        raise ValueError("the directory that it is relative to is not UTF-8 text: use another one")
    return path


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths name one file, there or not: by another spelling, a symbolic link or a hard link."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return Path(one).samefile(other)
    except OSError:  # one of them isn't there, or can't be reached: it is not the other, then
        return False


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
