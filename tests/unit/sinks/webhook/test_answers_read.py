"""How much of an answer is read, what is shown of it, and what is left to the connection; over real connections."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult

from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks.ports import Attempt, Delivered, Failed, Gone, SinkContext
from asset_worker.sinks.webhook import sink as webhook_sink
from asset_worker.sinks.webhook.sink import WebhookSink
from tests.doubles.clocks import ManualClock
from tests.doubles.threads import ClosingThread
from tests.doubles.webhooks import EVENT, Lookups, attempt, receiving, serving, target_of, webhook

CUT_OFF = "but its body did not come to an end: the answer was cut off"
REDIRECT = "HTTP 300: redirects are not followed: give the URL that it leads to"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, Failed(f"HTTP 200, {CUT_OFF}")),
        (299, Failed(f"HTTP 299, {CUT_OFF}")),
        (300, Failed(REDIRECT)),
        (410, Gone("HTTP 410: thanks")),
        (500, Failed("HTTP 500: thanks")),
    ],
)
async def test_only_a_2xx_needs_a_body_that_comes_to_its_end(status: int, meaning: Attempt):
    """All else is no delivery anyway, and its status says more."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 100\r\n\r\nthanks" % status)
        await writer.drain()

    async with serving(cut) as port:
        assert await attempt(f"http://127.0.0.1:{port}/") == meaning


@pytest.mark.parametrize(("size", "connections"), [(64 * 1024, 1), (64 * 1024 + 1, 2)])
async def test_the_connection_is_kept_if_the_body_has_at_most_64_kib(size: int, connections: int):
    peers: set[object] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * size)
        await asyncio.sleep(0.05 if connections == 1 else 30)  # it is waited for the end, or not
        return response

    async with receiving(answer) as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/")
        for _ in range(2):
            assert await sink.attempt(EVENT) == Delivered()
        await sink.close()
    assert len(peers) == connections


async def test_a_reason_is_made_from_4_kib_of_the_body_however_it_arrives():
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        for part in (b" " * 4000, b" " * 94 + b"no", b"!", b"!"):
            await response.write(part)
            await asyncio.sleep(0.01)
        return response

    async with receiving(answer) as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/") == Failed("HTTP 500: no")


async def test_a_date_to_wait_for_is_read_by_the_servers_own_clock():
    """It shows that in the answer."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "Retry-After": "Thu, 01 Jan 1970 00:01:30 GMT"}
        return web.Response(status=503, text="later", headers=headers)

    async with receiving(answer) as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/") == Failed("HTTP 503: later", 90.0)


class NoSuchName(Lookups):
    """Finds no name."""

    async def resolve(self, host: str, *_: object, **__: object) -> list[ResolveResult]:
        raise OSError(-2, "Name or service not known")


async def test_a_name_that_is_not_found_is_named_and_the_resolver_is_closed(secret_file: Path):
    lookups = NoSuchName([])
    sink = WebhookSink(
        target_of("https://app.example/", secret_file=secret_file),
        SinkContext(SystemClock(), Secrets()),
        resolver=lookups,
    )
    assert await sink.attempt(EVENT) == Failed("the name app.example can't be resolved (Name or service not known)")
    await sink.close()
    assert lookups.is_closed


async def test_the_thread_that_reads_certificates_is_closed(monkeypatch: pytest.MonkeyPatch):
    """Whether they could be read or not."""
    threads: list[ClosingThread] = []

    def thread(_name: str) -> ClosingThread:
        threads.append(ClosingThread())
        return threads[-1]

    def unreadable() -> ssl.SSLContext:
        raise OSError("can't be read")

    sink = webhook("http://127.0.0.1:1/")
    monkeypatch.setattr(webhook_sink, "DaemonThread", thread)
    await sink.reload()
    monkeypatch.setattr(webhook_sink, "tls_context", unreadable)
    await sink.reload()
    assert [each.closed for each in threads] == [True, True]
    await sink.close()


@pytest.mark.parametrize(("secret", "is_in_events"), [("S3CRET7", True), ("S3CRET-8", False)])
async def test_a_short_secret_is_hidden_in_reasons_and_a_longer_one_everywhere(
    tmp_path: Path, secret: str, is_in_events: bool
):
    """In other people's texts a short one may be a word."""
    (tmp_path / "token").write_text(f"{secret}\n")
    secrets = Secrets()

    async def echo(request: web.Request) -> web.Response:
        return web.Response(status=500, text=f"no: {request.headers['X-Token']}")

    async with receiving(echo) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        sink = webhook(url, secrets=secrets, clock=ManualClock(), headers={"X-Token": {"file": tmp_path / "token"}})
        assert await sink.attempt(EVENT) == Failed("HTTP 500: no: ********")
        await sink.close()
    assert (secrets.redact(secret) == secret) == is_in_events


@pytest.mark.parametrize(("password", "is_in_events"), [("S3CRET7", True), ("S3CRET-8", False)])
async def test_a_password_of_eight_characters_is_hidden_in_events(password: str, is_in_events: bool):
    secrets = Secrets()
    sink = webhook(f"http://ada:{password}@127.0.0.1:1/", secrets=secrets)
    assert (secrets.redact(password) == password) == is_in_events
    await sink.close()
