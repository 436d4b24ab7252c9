"""A change of the network path: the connections that exist go silent, and new ones work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.doubles.network import Route
from tests.integration.processes import eventually

FIRST, LATE = [f"{number:024x}" for number in range(8)], [f"f{number:023x}" for number in range(2)]


@pytest.fixture
async def path() -> AsyncIterator[Route]:
    path = Route()
    yield path
    await path.close()


@pytest.mark.parametrize("batch", ["off", "confirm"])
async def test_one_timeout_is_enough_to_leave_all_connections_that_the_path_has_lost(
    worker, aiohttp_server_of, path, batch
):
    """Tried in turn, the dead ones would take a timeout each."""
    is_ready = False

    def shown(asset_id: str) -> dict[str, str]:
        return {"_id": asset_id, "status": "ready" if asset_id in FIRST or is_ready else "processing"}

    async def retrieve(request: web.Request) -> web.Response:
        asset_id = request.match_info["id"]
        if asset_id in FIRST:
            await asyncio.sleep(0.5)  # so that several are in flight at once
        return web.json_response(shown(asset_id))

    async def listed(request: web.Request) -> web.Response:
        return web.json_response({"data": [shown(each) for each in request.query.getall("asset_ids")]})

    base_url = await aiohttp_server_of(web.get("/v1.3/assets", listed), web.get("/v1.3/assets/{id}", retrieve))
    port = await path.listen(int(base_url.split(":")[2].partition("/")[0]))
    late = LATE[:1] if batch == "off" else LATE
    worker.submit(*FIRST, *late)
    run = worker.run(
        base_url=f"http://127.0.0.1:{port}/v1.3",
        API__TIMEOUT="5",
        POLL__BATCH=batch,
        LIMITS__CONCURRENCY="20",
    )
    await eventually(lambda: len(worker.events()) == len(FIRST), otherwise=lambda: run.stderr)
    assert path.connections >= 3
    path.change()
    lost, is_ready = path.connections, True
    await eventually(lambda: len(worker.events()) == len(FIRST) + len(late), otherwise=lambda: run.stderr)
    assert [line["why"] for line in run.logs("api.connections_replaced")] == ["a kept connection is dead"]
    timeouts = [line for line in run.logs("api.retry") if line["error"] == "no answer in time"]
    assert 1 <= len(timeouts) <= len(late)  # no look times out twice
    assert path.connections > lost
