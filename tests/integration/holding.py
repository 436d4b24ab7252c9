"""Holding the simulator still: a state lasts until the test lets go, on a machine of any speed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import msgspec
from aiohttp import web

from asset_worker.simulator.answers import Reply
from asset_worker.simulator.faults import Fault
from asset_worker.simulator.lifecycles import Kind, Lifecycle
from asset_worker.simulator.server import Simulator

DONE = Lifecycle()


def waiting(simulator: Simulator, count: int, *, kind: Kind | None = None) -> list[str]:
    """IDs of assets that process until the test says otherwise (`change`)."""
    return [simulator.store.add(Lifecycle(math.inf), kind=kind) for _ in range(count)]


def change(simulator: Simulator, *asset_ids: str, to: Lifecycle = DONE) -> None:
    """From now on the assets go this way, as if they were created now."""
    store = simulator.store
    for asset_id in asset_ids:
        store._assets[asset_id] = msgspec.structs.replace(
            store._assets[asset_id], lifecycle=to, began_at=store._clock()
        )


def hold_answers(simulator: Simulator) -> Callable[[], None]:
    """From now on requests are in flight, and stay there; what is returned lets them be answered."""
    let_go, early = asyncio.Event(), simulator._apply_early_fault

    async def late(request: web.Request, fault: Fault | None) -> Reply | None:
        await let_go.wait()
        return await early(request, fault)

    simulator._apply_early_fault = late
    return let_go.set
