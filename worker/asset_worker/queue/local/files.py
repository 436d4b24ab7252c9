"""The journal's file: how it is created, and which one is at its path."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from asset_worker.runtime.paths import current_status


def create_private(path: Path) -> None:
    """Create the file for this user only: it holds events and metadata. SQLite's other files get the same mode.

    A file that exists is not opened: closing it would drop the locks of every connection to it in this process.
    """
    with suppress(OSError):  # SQLite's own error says more
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at this path; None: there is none."""
    status = current_status(path)
    return None if status is None else (status.st_dev, status.st_ino)
