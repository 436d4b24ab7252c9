"""How often a list request is made before its assets are retrieved, or wait."""

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

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    async def read(self) -> bytes:
        return b"{}"


class Server:
    """Gives each request the same answer, and counts them."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self._answer = Answer(status, headers)
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
