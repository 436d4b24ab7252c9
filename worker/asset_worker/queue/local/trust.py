"""Which state directories are trusted: a pure function.

Whoever may write to a directory may replace what is in it, and so decide what the worker sends and where it writes.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

CREATED_AGAIN: Final = "remove it, and the next command creates it again"


def reason_to_distrust(path: Path, *, mode: int, owner: int, user: int) -> str | None:
    """Return why the directory must not keep state, and what to do; None: it may.

    It must belong to this user or to root, and others must not have the right to write to it. Its group may: a mounted
    volume often belongs to root, and is writable by the worker's group (`fsGroup` in Kubernetes).

    Args:
        path: the directory.
        mode: its mode (`st_mode`).
        owner: the number of the user to whom it belongs.
        user: the number of the user as whom this process runs.
    """
    if owner not in {user, 0}:
        return (
            f"the state directory {path} belongs to user {owner}, who may change what is kept there, and this process "
            f"runs as user {user}: run as the owner, change the owner (chown {user} {path}), or name another directory "
            "with --state-dir"
        )
    if mode & stat.S_IWOTH:
        # A shared directory with the sticky bit, such as /tmp, must stay as it is.
        withdraw = "" if mode & stat.S_ISVTX else f"take that right away (chmod o-w {path}), or "
        return (
            f"everybody may write to the state directory {path} (mode {stat.S_IMODE(mode):04o}), and so change what is "
            f"kept there: {withdraw}name a directory in it, which the worker will create: --state-dir {path / 'state'}"
        )
    return None


def reason_to_distrust_requests(path: Path, *, mode: int, owner: int, user: int) -> str | None:
    """Return why the directory of requests must not be used, and what to do; None: it may.

    It must belong to this user or to root, and nobody else may have the right to write to it, its group neither:
    commands create it for one user. The arguments are those of `reason_to_distrust`.
    """
    if owner not in {user, 0}:
        return f"{path} belongs to user {owner}, and this process runs as user {user}: {CREATED_AGAIN}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to {path} (mode {stat.S_IMODE(mode):04o}): take that right away (chmod 0700 {path})"
    return None
