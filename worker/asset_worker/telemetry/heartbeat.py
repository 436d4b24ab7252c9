"""One line a minute, and a line when the event loop was held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from asset_worker.telemetry.snapshot import Snapshot

_log = structlog.get_logger()

HEARTBEAT_SECONDS = 60.0
LAG_CHECK_SECONDS = 0.5
LAG_LIMIT_SECONDS = 0.25
"""A loop held up for longer answers late to everything: signals, due assets, health checks."""


async def log_heartbeat(read: Callable[[], Snapshot]) -> None:
    """Log the heartbeat, for ever."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        now = read()
        _log.info(
            "worker.heartbeat",
            pending=now.pending,
            due=now.due,
            oldest_pending_age=round(now.oldest_pending_age, 1),
            looks=now.looks,
            requests=now.requests,
            refusals=now.refusals,
            retries=now.retries,
            completions=now.completions,
            outbox_depth=now.outbox_depth,
            problems=list(now.problems),
        )


async def watch_lag() -> None:
    """Log when the event loop was held up, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        asleep = loop.time()
        await asyncio.sleep(LAG_CHECK_SECONDS)
        lag = loop.time() - asleep - LAG_CHECK_SECONDS
        if lag > LAG_LIMIT_SECONDS:
            _log.warning("worker.lagging", lag=round(lag, 3))
