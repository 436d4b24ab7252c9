"""Webhooks to this machine, and receivers for them: one that answers as a test says, and one that sends raw bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from standardwebhooks.webhooks import Webhook

from asset_worker.domain.events import Stored
from asset_worker.runtime.clock import Clock, SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.settings.tree import Settings
from asset_worker.sinks.ports import Attempt, IndependentSink, SinkContext
from asset_worker.sinks.registry import open_sink
from asset_worker.sinks.webhook.target import WebhookTarget

ONE, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = (
    b'{"specversion":"1.0","id":"a1.1","source":"https://api.twelvelabs.io/v1.3/assets",'
    b'"type":"dev.asset-worker.asset.ready","subject":"a1","time":"2026-11-23T14:00:00.123Z",'
    b'"datacontenttype":"application/json","data":{"asset_id":"a1","outcome":"ready"}}'
)
EVENT = Stored(1, "a1.1", BODY)

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
    app = web.Application(client_max_size=8 << 20)
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


def target_of(url: str, *, secret_file: Path | None = None, **table: Any) -> WebhookTarget:
    events = {"sinks": [{"url": url, "timeout": 5.0} | table], "secret_file": secret_file}
    [target] = Settings.model_validate({"events": events}).events.targets
    assert isinstance(target, WebhookTarget)
    return target


def webhook(url: str, *, clock: Clock | None = None, secrets: Secrets | None = None, **table: Any) -> IndependentSink:
    sink = open_sink(target_of(url, **table), SinkContext(clock or SystemClock(), secrets or Secrets()))
    assert sink.kind == "independent"
    return sink


async def attempt(url: str, **table: Any) -> Attempt:
    sink = webhook(url, **table)
    try:
        return await sink.attempt(EVENT)
    finally:
        await sink.close()


def put(path: Path, text: str | None) -> None:
    """Write the file; None: remove it."""
    path.unlink() if text is None else path.write_text(text)


class Lookups(AbstractResolver):
    """A resolver whose answers a test decides."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.is_closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in found
        ]

    async def close(self) -> None:
        self.is_closed = True
