"""Control of the simulator by events instead of times, so that tests hold on a machine of any speed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from aiohttp import web

from asset_worker.simulator.answers import Reply
from asset_worker.simulator.faults import Fault
from asset_worker.simulator.lifecycles import Kind, Lifecycle
from asset_worker.simulator.server import Simulator

DONE = Lifecycle()


def waiting(simulator: Simulator, count: int, *, kind: Kind | None = None) -> list[str]:
    """Add assets that stay in `processing` until the test changes them (`change`); returns their IDs."""
    return [simulator.store.add(Lifecycle(math.inf), kind=kind) for _ in range(count)]


def change(simulator: Simulator, *asset_ids: str, to: Lifecycle = DONE) -> None:
    """Give the assets another lifecycle, which begins now."""
    for asset_id in asset_ids:
        simulator.store.change(asset_id, to)


def hold_answers(simulator: Simulator, *, lists_too: bool = True) -> Callable[[], None]:
    """Keep all requests in flight, or all but lists, until the returned function is called."""
    released, apply_early_fault = asyncio.Event(), simulator._apply_early_fault

    async def late(request: web.Request, fault: Fault | None) -> Reply | None:
        if lists_too or not request.path.endswith("/assets"):
            await released.wait()
        return await apply_early_fault(request, fault)

    simulator._apply_early_fault = late
    return released.set
