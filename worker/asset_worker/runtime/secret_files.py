"""Files that hold secrets: whether others may read one, and whether it has changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def exposure(file: Path) -> str | None:
    """Return which others may read a file of secrets, and what to do, for people; None: none, as far as its mode shows.

    On a read-only mount the mode is the platform's business: that is how Kubernetes, Docker and systemd hand over
    secrets, to one container or service alone. A group is taken for others if the file is ours and the group is not:
    root's file with a group for the worker is meant so.

    Raises:
        OSError: the file is not there, or can't be looked at.
    """
    found = file.stat()
    is_of_other_group = found.st_uid == os.geteuid() and found.st_gid not in {os.getegid(), *os.getgroups()}
    if found.st_mode & stat.S_IROTH:
        others = "every user"
    elif found.st_mode & stat.S_IRGRP and is_of_other_group:
        others = f"the group {found.st_gid}, which is none of the worker's"
    else:
        return None
    if os.statvfs(file).f_flag & os.ST_RDONLY:
        return None
    mode = stat.S_IMODE(found.st_mode)
    return f"{others} may read it (mode {mode:04o}): chmod 600, or 640 with a group of the worker's alone"


def identity_of(file: Path) -> tuple[int, int, int]:
    """Return what is different after the file was changed or replaced.

    Raises:
        OSError: the file is not there, or can't be looked at.
    """
    found = file.stat()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
