"""What becomes of spans that are sent to a collector over a real connection."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asset_worker.telemetry.tracing.context import SpanContext
from asset_worker.telemetry.tracing.results import Refused, Sent, Unavailable
from asset_worker.telemetry.tracing.spans import Kind, Span, changed
from tests.doubles.collector import answering, collecting, rejecting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CONTEXT, PARENT, OTHER = (SpanContext(1, number, is_sampled=True) for number in (2, 3, 4))
SPAN = Span(
    "asset",
    CONTEXT,
    5,
    9,
    {"asset_worker.polls": 7},
    PARENT,
    parent_is_remote=True,
    kind=Kind.CLIENT,
    links=[OTHER],
    events=[changed("status", None, "ready", at=6)],
    error="why",
)


@pytest.fixture
async def collector(monkeypatch):
    async with collecting() as it:
        monkeypatch.setenv(ENDPOINT, it.url)
        yield it


def send():
    from asset_worker.telemetry.tracing.otlp import OtlpSender  # noqa: PLC0415 - it reads the environment

    return OtlpSender().send([SPAN])


async def test_a_span_arrives_as_it_is(collector, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=uploads,team=films")
    assert await asyncio.to_thread(send) == Sent()
    [received] = collector.spans
    span = received.span
    assert (received.ids, received.parent) == ((f"{1:032x}", f"{2:016x}"), f"{3:016x}")
    assert (span.start_time_unix_nano, span.end_time_unix_nano, span.kind) == (5, 9, span.SPAN_KIND_CLIENT)
    assert received.attributes == {"asset_worker.polls": 7}
    assert received.events == [("asset.changed", {"asset_worker.what": "status", "asset_worker.to": "ready"})]
    assert received.links == [(f"{1:032x}", f"{4:016x}")]
    assert (received.is_error, span.status.message) == (True, "why")
    assert (received.resource["service.name"], received.resource["team"]) == ("uploads", "films")


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (answering(202), Sent()),
        (rejecting(3), Sent(3, "too old")),
        (answering(302), Unavailable("HTTP 302")),
        (answering(400), Refused("HTTP 400")),
        (answering(401), Unavailable("HTTP 401")),
        (answering(404), Unavailable("HTTP 404")),
        (answering(413), Refused("HTTP 413")),
        (answering(429), Unavailable("HTTP 429")),
        (answering(500), Unavailable("HTTP 500")),
        (answering(503), Unavailable("HTTP 503")),
    ],
)
async def test_the_answer_decides_and_each_request_is_made_once(collector, answer, result):
    collector.answer = answer
    assert await asyncio.to_thread(send) == result
    assert collector.requests == 1


async def test_without_an_answer_the_kind_of_error_is_known_and_no_part_of_the_url(monkeypatch):
    monkeypatch.setenv(ENDPOINT, "http://user:password@127.0.0.1:1/")
    assert await asyncio.to_thread(send) == Unavailable("no answer (ConnectionError)")


@pytest.mark.parametrize("url", ["no URL", "http://127.0.0.1:x/"])
async def test_an_endpoint_that_is_no_url_is_a_failure_that_says_what_to_correct(monkeypatch, url):
    monkeypatch.setenv(ENDPOINT, url)
    result = await asyncio.to_thread(send)
    assert isinstance(result, Unavailable)
    assert ENDPOINT in result.why


async def test_an_endless_answer_is_read_to_its_limit(monkeypatch):
    written = 0

    async def answer(request):
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(64 << 10))
            written += 64 << 10

    app = web.Application()
    app.router.add_post("/v1/traces", answer)
    async with TestServer(app) as server:
        monkeypatch.setenv(ENDPOINT, str(server.make_url("/")))
        assert await asyncio.to_thread(send) == Sent()
    assert written < 32 << 20
