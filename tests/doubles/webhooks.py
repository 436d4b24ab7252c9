"""Receivers of webhooks on this machine: one that answers as a test says, and one that sends raw bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from multidict import CIMultiDict
from standardwebhooks.webhooks import Webhook

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Received:
    """A request that arrived."""

    def __init__(self, headers: Mapping[str, str], body: bytes, path: str) -> None:
        self.headers = CIMultiDict(headers)
        self.body = body
        self.path = path

    def verify(self, secret: str) -> Any:
        return Webhook(secret).verify(self.body, dict(self.headers))


class Receiver:
    def __init__(self, answering: Answering | None = None) -> None:
        self.answering = answering
        self.received: list[Received] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Received(request.headers, await request.read(), request.path_qs))
        return web.Response(status=204) if self.answering is None else await self.answering(request)


@asynccontextmanager
async def receiving(
    answering: Answering | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(answering)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(raw: Raw) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            await raw(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
