"""The connections of a webhook: where they may lead, when they are kept, and whom they trust."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.sockets import AddressInfo, socket_maker
from asset_worker.sinks.ports import (
    Delivered,
    Failed,
    SinkContext,
)
from asset_worker.sinks.webhook.sink import KEEP_ALIVE_SECONDS, WebhookSink
from tests.doubles.webhooks import (
    EVENT,
    ONE,
    Lookups,
    attempt,
    receiving,
    target_of,
    webhook,
)


async def test_a_private_address_is_refused_when_it_is_connected_to(secret_file: Path):
    """However the name behaved before: it is looked up for each connection, and that very address is used."""
    target = target_of("https://app.example/", secret_file=secret_file)
    lookups = Lookups(["192.0.2.1"], ["169.254.169.254"], ["::ffff:169.254.169.254"], ["64:ff9b::a9fe:a9fe"])
    sink = WebhookSink(target, SinkContext(SystemClock(), Secrets()), resolver=lookups)
    for address in ("192.0.2.1", "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"):
        assert await sink.attempt(EVENT) == Failed(
            f"app.example leads to {address}, which is not a public address: set allow_private = true in the table of "
            "this sink if that is intended"
        )
    assert lookups.asked == ["app.example"] * 4
    await sink.close()


async def test_a_name_that_leads_elsewhere_between_two_deliveries_is_refused():
    """The first connection is to a public address, here played by a server of this machine."""
    async with receiving() as receiver:
        target = target_of(f"http://localhost:{receiver.port}/")
        lookups = Lookups(["127.0.0.1"], ["169.254.169.254"])
        receiver.answering = closing
        sink = WebhookSink(target, SinkContext(SystemClock(), Secrets()), resolver=lookups)
        assert await sink.attempt(EVENT) == Delivered()
        found = await sink.attempt(EVENT)
        assert isinstance(found, Failed)
        assert "169.254.169.254" in found.reason
        assert len(receiver.received) == 1
        await sink.close()


async def closing(_: web.Request) -> web.Response:
    return web.Response(headers={"Connection": "close"})


async def test_allow_private_permits_any_address(secret_file: Path):
    async with receiving() as receiver:
        target = target_of(f"http://app.internal:{receiver.port}/", secret_file=secret_file, allow_private=True)
        sink = WebhookSink(target, SinkContext(SystemClock(), Secrets()), resolver=Lookups(["127.0.0.1"]))
        assert await sink.attempt(EVENT) == Delivered()
        assert receiver.received[0].headers["Host"] == f"app.internal:{receiver.port}"
        await sink.close()


async def test_tls_is_checked_and_its_roots_are_read_again_at_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority, roots = trustme.CA(), tmp_path / "roots.pem"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    async with receiving(tls=tls) as receiver:
        sink = webhook(f"https://localhost:{receiver.port}/")
        found = await sink.attempt(EVENT)
        assert isinstance(found, Failed)
        assert found.reason.startswith("the certificate of localhost can't be trusted (")
        with capture_logs() as logs:
            await sink.reload()
        assert [(log["event"], log["sink"]) for log in logs] == [("sink.reload_failed", sink.name)]
        authority.cert_pem.write_to_path(roots)
        await sink.reload()
        assert await sink.attempt(EVENT) == Delivered()
        await sink.close()


async def test_connections_are_kept_and_no_more_than_the_concurrency():
    peers: set[object] = set()
    present = most = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal present, most
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        present += 1
        most = max(most, present)
        await asyncio.sleep(0.01)
        present -= 1
        return web.Response()

    async with receiving(answer) as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/", concurrency=3)
        assert sink.concurrency == 3
        for _ in range(3):
            assert set(await asyncio.gather(*(sink.attempt(EVENT) for _ in range(9)))) == {Delivered()}
        await sink.close()
    assert most == 3
    assert len(peers) == 3


async def test_an_idle_connection_is_given_up_before_servers_do(monkeypatch: pytest.MonkeyPatch):
    assert KEEP_ALIVE_SECONDS < 5
    monkeypatch.setattr("asset_worker.sinks.webhook.sink.KEEP_ALIVE_SECONDS", 1.5)
    ports: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async with receiving(answer) as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/")
        for wait in (0, 3.5, 0):
            await sink.attempt(EVENT)
            await asyncio.sleep(wait)
        await sink.attempt(EVENT)
        await sink.close()
    first, second, third, fourth = ports
    assert first == second != third == fourth


async def test_sockets_have_the_options_of_the_timeout(monkeypatch: pytest.MonkeyPatch):
    """So the system finds out that a connection is dead, where it can."""
    made: list[float] = []

    def recording(total: float) -> Callable[[AddressInfo], socket.socket]:
        made.append(total)
        return socket_maker(total)

    monkeypatch.setattr("asset_worker.sinks.webhook.sink.socket_maker", recording)
    async with receiving() as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/", timeout=9) == Delivered()
    assert made == [9]


async def test_behind_a_proxy_the_proxy_looks_names_up_and_filters(
    secret_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its own address may be private."""
    authority, roots = trustme.CA(), tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("app.example").configure_cert(tls)
    asked: list[bytes] = []

    async with receiving(tls=tls) as receiver:

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            onward, back = await asyncio.open_connection("127.0.0.1", receiver.port)
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await asyncio.gather(pump(reader, back), pump(onward, writer))

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://u:S3CRETpass@proxy.internal:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        lookups, secrets = Lookups(["127.0.0.1"]), Secrets()
        sink = WebhookSink(
            target_of("https://app.example/hooks", secret_file=secret_file),
            SinkContext(SystemClock(), secrets),
            resolver=lookups,
        )
        await sink.reload()  # reads the roots
        assert await sink.attempt(EVENT) == Delivered()
        await sink.close()
        server.close()
    assert lookups.asked == ["proxy.internal"]
    assert asked[0].startswith(b"CONNECT app.example:443 ")
    assert secrets.redact("S3CRETpass") == "********"
    receiver.received[0].verify(ONE)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def test_a_cookie_is_not_kept():
    async def answer(_: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with receiving(answer) as receiver:
        sink = webhook(f"http://localhost:{receiver.port}/")
        for _ in range(2):
            await sink.attempt(EVENT)
        await sink.close()
    assert "Cookie" not in receiver.received[1].headers


async def test_a_cancelled_attempt_ends_at_once():
    arrived = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(30)
        return web.Response()

    async with receiving(answer) as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/")
        attempting = asyncio.create_task(sink.attempt(EVENT))
        await arrived.wait()
        attempting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempting
        await sink.close()
