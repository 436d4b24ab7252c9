"""The file `status.json` in the state directory: what the worker reports about itself, and whether it runs.

Only the lock says whether a worker runs: the file outlives a process that is killed, and its process ID may belong to
another one by then.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.domain.worker_report import WorkerReport
from asset_worker.queue.local.lock import find_holder
from asset_worker.runtime.clock import read_clocks
from asset_worker.runtime.private_files import open_new, open_to_read
from asset_worker.runtime.steady_time import seconds_between

FILE_NAME: Final = "status.json"
MAX_BYTES: Final = 1 << 20
"""What is read at most. A report of a hundred sinks and problems has some 50 KiB."""


def read_worker(directory: Path) -> WorkerReport | None:
    """Return the worker of a state directory, as it last reported itself; None: none has ever done so, and none runs.

    Of a worker that runs and has reported nothing yet, or in a form that this version does not know, only the process
    is known.

    Raises:
        OSError: the directory can't be read.
    """
    holder, kept = find_holder(directory), _read(directory / FILE_NAME)
    if holder is None:
        return None if kept is None else _aged(kept) if kept.state == "stopped" else _aged(kept, state="died")
    is_its_own = kept is not None and kept.state == "running" and holder.pid in {None, kept.pid}
    return _aged(kept) if kept is not None and is_its_own else WorkerReport("running", holder.pid)


def save(path: Path, report: WorkerReport) -> bool:
    """Replace the whole file. If that fails, keep the old one, and return False.

    It is not synced: it is written again in some seconds, and the lock says whether the process runs.
    """
    draft = path.with_suffix(".new")
    try:
        with open_new(draft) as file:
            file.write(msgspec.json.encode(report) + b"\n")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True


def _read(path: Path) -> WorkerReport | None:
    try:
        with open_to_read(path) as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=WorkerReport)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # half a file, one of another version, or something else that is no report


def _aged(report: WorkerReport, **changes: str) -> WorkerReport:
    ago = None if report.reading is None else round(seconds_between(report.reading, read_clocks()), 1)
    return msgspec.structs.replace(report, updated_ago=ago, **changes)
