"""Stores what the schedule has learned, in a file in the state directory.

If the file is lost, ends are detected later until it is learned again, but no asset is lost. So it is not part of the
journal.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from asset_worker.runtime.log import get_logger
from asset_worker.runtime.private_files import open_new, open_to_read
from asset_worker.runtime.threads import WorkerThread
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState, UnreadableState, from_bytes, to_bytes

_log = get_logger()

FILE_NAME: Final = "schedule.msgpack"
SAVE_EVERY_SECONDS: Final = 60.0
MAX_BYTES: Final = 1 << 20
"""What is read at most. `to_bytes` returns less than 64 KiB."""


def load(path: Path) -> LearnedState | UnreadableState | None:
    """Return what was saved, or why it can't be read; None: there is no file."""
    try:
        with open_to_read(path) as file:
            kept = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return UnreadableState(error.strerror or str(error))
    if len(kept) > MAX_BYTES:
        return UnreadableState(f"larger than {MAX_BYTES >> 20} MiB")
    return from_bytes(kept)


def load_or_start(path: Path) -> LearnedState | None:
    """Return what was saved; None: learning starts from nothing.

    A file that can't be read is renamed to `schedule.unreadable`, with a warning in the log.
    """
    match load(path):
        case UnreadableState(why):
            aside = path.with_suffix(".unreadable")
            try:
                path.replace(aside)
            except OSError:
                aside = path
            _log.warning("schedule.unreadable", path=str(aside), error=why)
            return None
        case found:
            return found


def save(path: Path, learned: LearnedState) -> None:
    """Replace the whole file, synced to the disk. If the disk is full or failing, log that, and keep the old file."""
    draft = path.with_suffix(".new")
    try:
        with open_new(draft) as file:
            file.write(to_bytes(learned))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        _log.warning("schedule.not_kept", path=str(path), error=error.strerror)


async def save_periodically(schedule: AdaptiveSchedule, path: Path, thread: WorkerThread) -> None:
    """Save what was learned every minute, and a last time when cancelled. The thread is closed then."""
    try:
        while True:
            await asyncio.sleep(SAVE_EVERY_SECONDS)
            await thread.run(save, path, schedule.learned())
    finally:
        thread.close()
        save(path, schedule.learned())
