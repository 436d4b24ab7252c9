"""The heartbeat: a log line every minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asset_worker.runtime.log import get_logger
from asset_worker.telemetry.problems import Problem, shown_problem
from asset_worker.telemetry.snapshot import DECLARATIONS, Snapshot

_log = get_logger()

HEARTBEAT_SECONDS = 60.0


async def log_heartbeat(read: Callable[[], Snapshot]) -> None:
    """Log the heartbeat every minute, forever. It is a warning while there is a problem."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        now = read()
        if now.problems:
            _log.warning("worker.heartbeat", **heartbeat_fields(now))
        else:
            _log.info("worker.heartbeat", **heartbeat_fields(now))


def heartbeat_fields(now: Snapshot) -> dict[str, Any]:
    """Return the fields of the heartbeat's log line. Fractions are rounded to one decimal place."""
    return {name: _for_log(getattr(now, name)) for name, declared in DECLARATIONS.items() if declared.in_heartbeat}


def _for_log(value: Any) -> Any:
    match value:
        case float():
            return round(value, 1)
        case tuple():
            return [_for_log(each) for each in value]
        case Problem():
            return shown_problem(value)
        case _:
            return value
