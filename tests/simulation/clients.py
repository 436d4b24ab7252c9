"""Clients that submit asset IDs over HTTP, and do so again until they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from tests.simulation.submitting import submit

if TYPE_CHECKING:
    from tests.simulation.records import Submission
    from tests.simulation.world import World

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 15.0
PATIENCE_SECONDS: Final = 20.0
"""How long a client waits for an answer."""
_encode = msgspec.json.Encoder().encode


async def post_until_answered(world: World, submissions: Sequence[Submission]) -> None:
    """Submit these until the answer is 202, as docs/submissions.md asks clients to do."""
    body = _encode([{"asset_id": each.asset_id} for each in submissions])
    wait = FIRST_RETRY_SECONDS
    while True:
        process = world.process
        if process is not None and process.is_running and process.endpoints is not None:
            work = process.spawn(submit(process.endpoints, body))
            done, _ = await asyncio.wait([work], timeout=PATIENCE_SECONDS)
            if not done:
                work.cancel()
            elif not work.cancelled() and work.exception() is None:
                status, _ = work.result()
                if status == 202:
                    for each in submissions:
                        each.certain_at = world.loop.time()
                    return
                if status not in {429, 503}:
                    world.unhandled.append(f"POST /submissions was answered {status}")
                    return
            elif not work.cancelled() and not process.is_dead:
                world.unhandled.append(f"POST /submissions failed: {work.exception()!r}")
                return
        await asyncio.sleep(wait)
        for each in submissions:
            each.repeats += 1
        wait = min(2 * wait, LONGEST_RETRY_SECONDS)
