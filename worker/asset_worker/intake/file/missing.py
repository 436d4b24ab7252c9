"""Finds out whether a followed file is missing because its directory is."""

from __future__ import annotations

import os
from pathlib import Path


def missing_directory(path: Path) -> str | None:
    """Return a sentence about the directory of the file, symbolic links followed, if it does not exist; else None.

    A file that is missing is nothing to report: its writer may create it. But no writer creates the directory.
    """
    directory = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(directory):
        return None
    return f"the directory {directory} does not exist: create it, or correct queue.file"
