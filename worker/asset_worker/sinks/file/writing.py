"""Writes in one piece or not at all, and writes again what may not have reached the disk."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence

from asset_worker.sinks.file.scan import ScanResult


def require_whole(written: int, wanted: int) -> None:
    """Refuse a write of which only a part was written.

    Raises:
        OSError: `written` is less than `wanted`, both in bytes.
    """
    if written < wanted:
        raise OSError(
            errno.ENOSPC, f"only {written} of {wanted} bytes could be written: the disk is full, or a limit is reached"
        )


def write_again(fd: int, start: int, found: ScanResult, bodies: Sequence[bytes]) -> None:
    """Write events that a scan from `start` has found in an open file over themselves, for the next sync to write.

    After a sync that failed, Linux takes the pages for written: they can be read, a second sync reports success, and a
    power failure loses them. What the system knew of that is gone with the process that wrote them. (Rebello et al.,
    "Can Applications Recover from fsync Failures?", USENIX ATC 2020.)

    No byte changes, so other writers and readers notice nothing. The newline before an event is written with it: it may
    be ours, after another writer's partial line. A file that may only be appended to (`chattr +a`) is left as it is.

    Raises:
        OSError: they can't be written.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)  # with it, Linux appends wherever `pwrite` is to write
    except PermissionError:
        return
    try:
        for at, body in zip(found.starts, bodies, strict=False):
            newline = b"\n" if at > start else b""
            line = newline + body + b"\n"
            require_whole(os.pwrite(fd, line, at - len(newline)), len(line))
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
