"""The client against a real server: what aioresponses, which has no transport, can't show."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asset_worker.api.bodies import ASSET_BYTES_LIMIT, LIST_BYTES_LIMIT
from asset_worker.api.client import AssetsApi
from asset_worker.api.errors import TransientError
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import AssetId
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop

ID, OTHER_ID = AssetId("6298d673f1090f1100476d4c"), AssetId("7" * 24)
BOMB_BYTES = 64 << 20
BOMB = gzip.compress(bytes(BOMB_BYTES), compresslevel=9)


@asynccontextmanager
async def client_of(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[AssetsApi]:
    """A client that makes one attempt, and the server that it asks."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    stop = Stop()
    stop.set("one attempt")
    async with TestServer(app) as server:
        base_url = f"http://127.0.0.1:{server.port}"
        async with open_session(base_url, total_timeout=20) as session:
            gate = Gate(clock=SystemClock(), requests_per_second=0, concurrency=20, share=1.0)
            key = ApiKey(value="tlk_4F2SECRET", file=None, on_read=lambda _: None)
            yield AssetsApi(session, base_url, key, gate, Retries(stop), redact=lambda data: data)


@pytest.mark.parametrize(
    ("ask", "status", "limit"),
    [
        pytest.param(lambda api: api.retrieve(ID), 200, ASSET_BYTES_LIMIT, id="an asset"),
        pytest.param(lambda api: api.retrieve(ID), 500, None, id="an error"),
    ],
)
async def test_a_small_answer_that_unpacks_to_a_huge_one_is_cut_off(
    ask: Callable[[AssetsApi], Awaitable[object]], status: int, limit: int | None
):
    """Its length says nothing about its size once unpacked. Of an error, the status is what matters."""
    assert len(BOMB) < (limit or 64 << 10)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=BOMB, headers={"Content-Encoding": "gzip"})

    async with client_of(answer) as api:
        tracemalloc.start()
        try:
            expected = f"larger than {limit} bytes" if limit else "500 Internal Server Error"
            with pytest.raises(TransientError, match=expected):
                await ask(api)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < BOMB_BYTES / 4


async def test_a_list_that_is_too_large_is_left_to_retrieves_in_little_memory():
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})

    async with client_of(answer) as api:
        tracemalloc.start()
        try:
            assert await api.list_assets([ID, OTHER_ID]) == {ID: None, OTHER_ID: None}
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert LIST_BYTES_LIMIT < BOMB_BYTES / 8
    assert most < BOMB_BYTES / 4


async def test_a_compressed_answer_is_read():
    async def answer(_: web.Request) -> web.Response:
        body = gzip.compress(b'{"_id": "%s", "status": "ready"}' % ID.encode())
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with client_of(answer) as api:
        assert (await api.retrieve(ID)).status == "ready"


async def test_long_heads_are_read():
    """Gateways add long policies and many fields, which nothing here reads."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": "x" * 20_000} | {f"X-{number}": "y" for number in range(200)}
        return web.json_response({"_id": ID, "status": "ready"}, headers=headers)

    async with client_of(answer) as api:
        assert (await api.retrieve(ID)).status == "ready"
