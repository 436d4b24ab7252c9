"""What to do about a disk that can't be used now: whether it is full is the first thing to know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LEAST_BYTES: Final = 256 << 10
"""With less, SQLite's log and shared memory may find no room. It calls that an I/O error."""
ROOM: Final = "the disk is full: make room on it; nothing is lost (docs/runbook.md#journal_failing)"


def advice_about(directory: Path, *, otherwise: str) -> str:
    """Return what to do about the disk of a directory; `otherwise`: if it is not full."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return otherwise
    is_full = found.f_bavail * found.f_frsize < LEAST_BYTES or (found.f_files > 0 and found.f_favail == 0)
    return ROOM if is_full else otherwise
