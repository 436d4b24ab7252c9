"""What those who watch the client's requests see: each attempt, and how it ended."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asset_worker.api.client import AssetsApi
from asset_worker.api.errors import ApiError
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import AssetId
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop

ID, OTHER_ID = AssetId("6298d673f1090f1100476d4c"), AssetId("7" * 24)


@pytest.mark.parametrize(
    ("ask", "path", "asset_ids"),
    [
        (lambda api: api.retrieve(ID), f"/assets/{ID}", [ID]),
        (lambda api: api.list_assets([ID, OTHER_ID]), "/assets", [ID, OTHER_ID]),
        (lambda api: api.page(1), "/assets", []),
    ],
    ids=["retrieve", "list", "page"],
)
@pytest.mark.parametrize("status", [200, 400, 503])
async def test_each_attempt_is_watched(ask, path, asset_ids, status):
    seen = []

    class Watched:
        traceparent = None

        def answered(self, status):
            seen.append(status)

    @contextmanager
    def watch(url, about):
        seen.append((url.path, list(about)))
        try:
            yield Watched()
        except ApiError:
            seen.append("failed")
            raise
        seen.append("ended")

    async def answer(_):
        data = {"_id": ID, "status": "ready"} if asset_ids == [ID] else {"data": [], "page_info": {"total_results": 0}}
        return web.json_response(data if status == 200 else {"code": "c", "message": "m"}, status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    stop = Stop()
    stop.set("one attempt")
    async with TestServer(app) as server, open_session(str(server.make_url("/")), total_timeout=20) as session:
        gate = Gate(clock=SystemClock(), requests_per_second=0, concurrency=20, share=1.0)
        key = ApiKey(value="tlk_4F2SECRET", file=None, on_read=lambda _: None)
        base_url = f"http://127.0.0.1:{server.port}"
        api = AssetsApi(session, base_url, key, gate, Retries(stop), redact=lambda data: data, watch=watch)
        try:
            await ask(api)
        except ApiError:
            assert status != 200
    assert seen == [(path, asset_ids), status, "ended" if status == 200 else "failed"]
