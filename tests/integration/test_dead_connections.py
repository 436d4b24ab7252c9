"""A change of the network path: the connections that exist go silent, and new ones work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import web

from tests.integration.processes import eventually

FIRST, LATE = [f"{number:024x}" for number in range(8)], [f"f{number:023x}" for number in range(2)]


class Path:
    """Forwards connections to a port; those that exist go silent when the path changes."""

    def __init__(self) -> None:
        self.to = 0
        self.connections = 0
        self._pouring: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers += [writer, to_writer]
        for source, target in ((reader, to_writer), (to_reader, writer)):
            self._pouring.add(asyncio.ensure_future(self._pour(source, target)))

    async def _pour(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
            target.close()

    async def change(self) -> None:
        """Forward nothing more, in either direction, and close nothing."""
        pouring, self._pouring = self._pouring, set()
        for each in pouring:
            each.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)

    async def close(self) -> None:
        await self.change()
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    path = Path()
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
    path.to = int(base_url.split(":")[2].partition("/")[0])
    listening = await asyncio.start_server(path, "127.0.0.1", 0)
    late = LATE[:1] if batch == "off" else LATE
    worker.submit(*FIRST, *late)
    run = worker.run(
        base_url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1.3",
        API__TIMEOUT="5",
        POLL__BATCH=batch,
        LIMITS__CONCURRENCY="20",
    )
    await eventually(lambda: len(worker.events()) == len(FIRST), otherwise=lambda: run.stderr)
    assert path.connections >= 3
    await path.change()
    lost, is_ready = path.connections, True
    await eventually(lambda: len(worker.events()) == len(FIRST) + len(late), otherwise=lambda: run.stderr)
    assert [line["why"] for line in run.logs("api.connections_replaced")] == ["a kept connection is dead"]
    timeouts = [line for line in run.logs("api.retry") if line["error"] == "no answer in time"]
    assert 1 <= len(timeouts) <= len(late)  # no look times out twice
    assert path.connections > lost
    listening.close()
