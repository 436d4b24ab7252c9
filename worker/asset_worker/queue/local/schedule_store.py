"""Keeping what the schedule has learned, in the state directory.

Losing it costs some lag until it is learned again, and no asset; so it is a small file of its own beside the journal.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

from asset_worker.runtime.threads import WorkerThread
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState, UnreadableState, from_bytes, to_bytes

_log = structlog.get_logger()

FILE_NAME: Final = "schedule.msgpack"
KEEP_EVERY_SECONDS: Final = 60.0


def recall(path: Path) -> LearnedState | UnreadableState | None:
    """What was kept; None when nothing was."""
    try:
        return from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return UnreadableState(error.strerror or str(error))


def recall_or_begin(path: Path) -> LearnedState | None:
    """What was kept; what can't be read is set aside, with a line in the log, and learning begins anew."""
    match recall(path):
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


def keep(path: Path, learned: LearnedState) -> None:
    """Write it, whole or not at all; a disk that is full or failing is told of and forgiven."""
    draft = path.with_suffix(".new")
    try:
        with draft.open("wb") as file:
            file.write(to_bytes(learned))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        _log.warning("schedule.not_kept", path=str(path), error=error.strerror)


async def keep_learned(schedule: AdaptiveSchedule, path: Path, thread: WorkerThread) -> None:
    """Write what was learned every minute, and once more when cancelled."""
    try:
        while True:
            await asyncio.sleep(KEEP_EVERY_SECONDS)
            await thread.run(keep, path, schedule.learned())
    finally:
        keep(path, schedule.learned())
