"""What the schedules of a fleet learn: each worker keeps its own evidence in the database, and plans with the sum.

What a worker has learned whose life is over is merged once, into the evidence of one of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol, runtime_checkable

from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.runtime.log import get_logger
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState, UnreadableState, from_bytes, sum_of, to_bytes

_log = get_logger()

SHARE_EVERY_SECONDS: Final = 60.0
LAST_SHARE_SECONDS: Final = 1.0
"""How long the last exchange may take, at the end of the process."""


@runtime_checkable
class SharesLearned(Protocol):
    """A queue of a fleet, whose workers share what their schedules learn."""

    async def exchange_learned(self, own: LearnedState) -> tuple[list[bytes], list[bytes]]:
        """Keep what this worker has learned, together with what retired lives have left.

        Return what the other workers have learned, and what was left.
        """
        ...


async def share_periodically(schedule: AdaptiveSchedule, queue: SharesLearned) -> None:
    """Exchange what was learned now, every minute, and a last time when cancelled."""
    try:
        while True:
            await _share(schedule, queue)
            await asyncio.sleep(SHARE_EVERY_SECONDS)
    finally:
        with suppress(TimeoutError, QueueUnavailableError):
            async with asyncio.timeout(LAST_SHARE_SECONDS):
                await queue.exchange_learned(schedule.learned())


async def _share(schedule: AdaptiveSchedule, queue: SharesLearned) -> None:
    others, left = await queue.exchange_learned(schedule.learned())
    schedule.add(readable(left))
    schedule.use_others(readable(others))


def merged(own: LearnedState, left: Sequence[bytes]) -> bytes:
    """Return the evidence of a worker with what was left by others, as bytes."""
    return to_bytes(sum_of([own, *readable(left)]).as_of_one()) if left else to_bytes(own)


def readable(evidence: Iterable[bytes]) -> list[LearnedState]:
    """Return what can be read: another version of the program may have written it."""
    found: list[LearnedState] = []
    for each in evidence:
        match from_bytes(each):
            case UnreadableState(why):
                _log.warning("schedule.unreadable", path="the fleet's database", error=why)
            case state:
                found.append(state)
    return found
