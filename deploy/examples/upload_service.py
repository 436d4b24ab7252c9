"""A web service that answers when a video can be played. The waiting is done in the service's own process.

pip install asset-worker
TWELVE_LABS_API_KEY=tlk_… python upload_service.py
curl localhost:8081/assets/6298d673f1090f1100476d4c
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from aiohttp import web

from asset_worker import Client

CLIENT = web.AppKey("client", Client)


async def open_client(app: web.Application) -> AsyncIterator[None]:
    """Keep one client open for as long as the service runs: all requests share it.

    Of a file that gets no stream, such as an image, a wait for `hls` lasts until the timeout.
    """
    async with Client(timeout="10m", wait_for="hls") as client:
        app[CLIENT] = client
        yield


async def playable(request: web.Request) -> web.Response:
    """Answer when the asset is done. If whoever asked hangs up, the wait ends."""
    try:
        completion = await request.app[CLIENT].wait(request.match_info["asset_id"])
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    return web.json_response({"outcome": completion.outcome, "reason": completion.reason, "asset": completion.asset})


app = web.Application(handler_args={"handler_cancellation": True})
app.cleanup_ctx.append(open_client)
app.router.add_get("/assets/{asset_id}", playable)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8081")))
