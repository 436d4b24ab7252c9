"""What becomes of a list request: how often it is made, and what an odd answer shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asset_worker.api.client import LIST_ATTEMPTS, AssetsApi
from asset_worker.api.errors import RateLimitedError, TransientError
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.domain.assets import AssetId
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock

pytestmark = pytest.mark.virtual_time

IDS = [AssetId(f"{number:024x}") for number in range(1, 4)]


class Answer:
    content_length = 2

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self._body = status, headers, body

    async def read(self) -> bytes:
        return self._body


class Server:
    """Gives each request the same answer, and counts them."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"{}") -> None:
        self._answer = Answer(status, headers, body)
        self.requests = 0

    @asynccontextmanager
    async def get(self, _url: Any, *, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        assert headers["x-api-key"]
        self.requests += 1
        yield self._answer


def client(server: Any) -> AssetsApi:
    clock = LoopClock(asyncio.get_running_loop())
    gate = Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0, uniform=lambda: 0.5)
    key = ApiKey(value="tlk_test", file=None, on_read=lambda _: None)
    return AssetsApi(server, "https://x.example", key, gate, Retries(Stop()), redact=Secrets().redact)


async def test_a_list_that_fails_is_tried_once_more():
    server = Server(503, {})
    with pytest.raises(TransientError, match="503"):
        await client(server).list_assets(IDS)
    assert server.requests == LIST_ATTEMPTS == 2


async def test_a_list_that_is_refused_by_a_limit_is_not_tried_again_after_the_pause():
    """A retrieve goes first then: it shows whether lists alone are limited."""
    server = Server(429, {"Retry-After": "7"})
    with pytest.raises(RateLimitedError) as raised:
        await client(server).list_assets(IDS)
    assert raised.value.retry_after == 7.0
    assert (server.requests, asyncio.get_running_loop().time()) == (1, 0.0)


async def test_an_odd_asset_whose_id_is_known_says_nothing_about_one_that_is_left_out():
    """Only if the ID can't be read, it may be any of them."""
    odd, good = f'{{"_id": "{IDS[0]}", "status": 7}}', f'{{"_id": "{IDS[1]}", "status": "ready"}}'
    found = await client(Server(200, {}, f'{{"data": [{odd}, {good}]}}'.encode())).list_assets(IDS)
    assert {asset_id: asset and asset.status for asset_id, asset in found.items()} == {IDS[0]: None, IDS[1]: "ready"}
    found = await client(Server(200, {}, f'{{"data": [{{}}, {good}]}}'.encode())).list_assets(IDS)
    assert {asset_id for asset_id, asset in found.items() if asset is None} == {IDS[0], IDS[2]}
