"""The names to which a followed file may have been renamed or copied."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_STAMP: Final = r"[.-](\d[\d.T_-]*|old)"


def siblings(path: Path) -> list[Path]:
    """Return the files beside `path` whose names begin with its name, or are names that rotation gives to it.

    A directory that does not exist has no files.

    Raises:
        OSError: the directory can't be listed.
    """
    with suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        return [
            path.parent / entry.name
            for entry in entries
            if entry.name != path.name and (entry.name.startswith(path.name) or is_rotated_name(entry.name, path))
        ]
    return []


def is_rotated_name(name: str, path: Path) -> bool:
    """Return whether log rotation may give this name to the file at `path`.

    Names for `queue` are `queue.1`, `queue-20261123`, `queue.2026-11-23.2` and `queue.old`. Names for `queue.txt` are
    `queue.txt.1` and so on, and `queue-20261123.txt`.
    """
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    return re.fullmatch(rf"{stem}({suffix}{_STAMP}|{_STAMP}{suffix})", name) is not None
