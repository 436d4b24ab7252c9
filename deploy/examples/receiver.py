"""Receives webhooks of asset-worker: verifies each request, keeps each event once, answers, and works on it afterwards.

    pip install aiohttp standardwebhooks
    WEBHOOK_SECRET=whsec_… python receiver.py

Put a proxy with TLS in front. What `handle` does is yours.
"""

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
database = sqlite3.connect(os.environ.get("EVENTS_DATABASE", "events.sqlite3"), isolation_level=None)
database.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, body BLOB, is_handled INTEGER DEFAULT 0)")
arrived = asyncio.Event()
log = logging.getLogger("receiver")


async def handle(event: dict[str, Any]) -> None:
    """Do your work. After a crash it may be called a second time with the same event."""
    print(event["data"]["outcome"], event.get("subject"), flush=True)


async def receive(request: web.Request) -> web.Response:
    """Keep an event on disk, then answer: from then on it is not sent again."""
    body = await request.read()
    try:
        webhook.verify(body, dict(request.headers))  # refuses what is more than five minutes old, too
    except (WebhookVerificationError, ValueError):
        return web.Response(status=401)
    database.execute("INSERT OR IGNORE INTO events (id, body) VALUES (?, ?)", (request.headers["webhook-id"], body))
    arrived.set()
    return web.Response(status=204)


async def work(_app: web.Application) -> AsyncIterator[None]:
    """Handle what is on disk, also from before a restart, while the server runs."""

    async def handle_all() -> None:
        while True:
            arrived.clear()
            for identity, body in database.execute("SELECT id, body FROM events WHERE NOT is_handled").fetchall():
                try:
                    await handle(json.loads(body))
                    database.execute("UPDATE events SET is_handled = 1 WHERE id = ?", (identity,))
                except Exception:
                    log.exception("the event %s will be handled again, with the next one that arrives", identity)
            await arrived.wait()

    handling = asyncio.create_task(handle_all())
    yield
    handling.cancel()


app = web.Application(client_max_size=4 << 20)
app.router.add_post("/hooks", receive)
app.cleanup_ctx.append(work)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
