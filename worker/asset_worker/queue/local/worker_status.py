"""The file `status.json` in the state directory: what the worker reports about itself, and whether it runs.

Only the lock says whether a worker runs: the file outlives a process that is killed, and its process ID may belong to
another one by then.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.domain.worker_report import State, WorkerReport
from asset_worker.queue.local.lock import find_holder
from asset_worker.runtime.clock import read_clocks
from asset_worker.runtime.private_files import open_new, open_private, open_to_read
from asset_worker.runtime.steady_time import seconds_between

FILE_NAME: Final = "status.json"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_BLOCK_BYTES: Final = 512
"""The unit of `st_blocks` (POSIX, sys/stat.h)."""
MAX_BYTES: Final = 1 << 20
"""What is read at most. A report of a hundred sinks and problems has some 50 KiB."""


def read_worker(directory: Path) -> WorkerReport | None:
    """Return the worker of a state directory, as it last reported itself; None: none has ever done so, and none runs.

    Of a worker that runs and has reported nothing yet, or in a form that this version does not know, only the process
    is known.

    Raises:
        OSError: the directory can't be read.
    """
    holder, last = find_holder(directory), _read(directory / FILE_NAME)
    if holder is not None:
        is_its_own = last is not None and last.state == "running" and holder.pid in {None, last.pid}
        return _aged(last) if last is not None and is_its_own else WorkerReport("running", holder.pid)
    if last is None:
        return None
    return _aged(last, state="stopped" if last.state == "stopped" else "died")


def save(path: Path, report: WorkerReport) -> bool:
    """Replace the whole file. If that fails, keep the old one, and return False.

    It is not synced: it is written again in some seconds, and the lock says whether the process runs.
    """
    draft, data = path.with_suffix(".new"), msgspec.json.encode(report) + b"\n"
    try:
        with open_new(draft) as file:
            file.write(data)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        return error.errno in _FULL and _overwrite(path, data)
    return True


def _overwrite(path: Path, data: bytes) -> bool:
    """Write in the place of the old report, if its room suffices. Return whether that worked.

    It takes no more of the disk, and a full disk is what should be reported above all. Readers see one write of so few
    bytes as a whole.
    """
    try:
        descriptor = open_private(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_nlink > 1 or len(data) > status.st_blocks * _BLOCK_BYTES:
            return False
        padded = data.ljust(status.st_size)
        return os.pwrite(descriptor, padded, 0) == len(padded)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _read(path: Path) -> WorkerReport | None:
    try:
        with open_to_read(path) as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=WorkerReport)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # half a file, one of another version, or something else that is no report


def _aged(report: WorkerReport, *, state: State = "running") -> WorkerReport:
    """Return a report with its age, and what is now known of the worker's state."""
    ago = None if report.reading is None else round(seconds_between(report.reading, read_clocks()), 1)
    return msgspec.structs.replace(report, updated_ago=ago, state=state)
