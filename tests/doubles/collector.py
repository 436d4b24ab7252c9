"""A collector: receives spans by OTLP over HTTP as a real one does, and answers as a test wants."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Answer = Callable[[], Awaitable[web.Response]]


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Attributes of OTLP as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Received:
    """A span, with its resource."""

    def __init__(self, span: Span, resource: dict[str, Any]) -> None:
        self.span = span
        self.resource = resource
        self.name = span.name
        self.attributes = attributes_of(span.attributes)
        self.ids = (span.trace_id.hex(), span.span_id.hex())
        self.parent = span.parent_span_id.hex()
        self.is_error = span.status.code == span.status.STATUS_CODE_ERROR
        self.events = [(event.name, attributes_of(event.attributes)) for event in span.events]
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]


class Collector:
    """What a collector has accepted."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answer: Answer | None = None
        """Answers instead of accepting; None: all spans are accepted."""
        self.url = ""

    def named(self, name: str) -> list[Received]:
        return [each for each in self.spans if each.name == name]

    @property
    def assets(self) -> dict[str, list[Received]]:
        """The spans of assets, by asset."""
        found: dict[str, list[Received]] = {}
        for each in self.named("asset"):
            found.setdefault(each.attributes["asset_worker.asset.id"], []).append(each)
        return found

    async def receive(self, request: web.Request) -> web.Response:
        self.requests += 1
        body = await request.read()
        self.bodies.append(body)
        if self.answer is not None:
            return await self.answer()
        if request.headers.get("Content-Encoding") == "gzip" and body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        self.headers.append(dict(request.headers))
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = attributes_of(each.resource.attributes)
            self.spans += [Received(span, resource) for scope in each.scope_spans for span in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def answering(status: int) -> Answer:
    async def answer() -> web.Response:
        return web.Response(status=status)

    return answer


async def hanging() -> web.Response:
    await asyncio.sleep(3600)
    raise AssertionError


def rejecting(count: int) -> Answer:
    """A partial success."""

    async def answer() -> web.Response:
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = count
        response.partial_success.error_message = "too old"
        return web.Response(body=response.SerializeToString(), content_type="application/x-protobuf")

    return answer


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector."""
    collector = Collector()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", collector.receive)
    server = TestServer(app)
    await server.start_server()
    collector.url = str(server.make_url("/")).rstrip("/")
    try:
        yield collector
    finally:
        await server.close()
