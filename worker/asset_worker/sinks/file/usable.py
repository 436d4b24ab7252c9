"""Finds out whether a target can be used, before there is an event for it, and without a trace."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from asset_worker.runtime.paths import current_status
from asset_worker.sinks.ports import TargetProblem


def find_problem(path: Path) -> TargetProblem | None:
    """Return what keeps events from being written at the path now; None: nothing that can be seen."""
    try:
        status = current_status(path)
    except OSError as error:
        return TargetProblem(f"{path} can't be examined ({error.strerror}): check the path and the rights on it")
    if status is None:
        return _directory_problem(path, Path(os.path.realpath(path)).parent)
    if stat.S_ISDIR(status.st_mode):
        return TargetProblem(f"{path} is a directory: name a file in it", is_final=True)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)):
        return TargetProblem(f"{path} is neither a file nor a pipe nor a character device: name a file", is_final=True)
    needed = os.R_OK | os.W_OK if stat.S_ISREG(status.st_mode) else os.W_OK  # a file is searched after a crash
    if not os.access(path, needed):
        return TargetProblem(f"{path} can't be read and written: give this user the rights, or name another file")
    return None


def _directory_problem(path: Path, directory: Path) -> TargetProblem | None:
    if not os.path.exists(directory):
        return TargetProblem(f"{path} can't be created: the directory {directory} does not exist: create it")
    if not os.path.isdir(directory):
        return TargetProblem(f"{path} can't be created: {directory} is not a directory: name another file")
    if not os.access(directory, os.W_OK | os.X_OK):
        return TargetProblem(
            f"{path} can't be created: the directory {directory} can't be written: give this user the rights, or name "
            "another file"
        )
    return None
