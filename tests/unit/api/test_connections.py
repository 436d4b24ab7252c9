"""Which connections requests use: kept ones, until they are dead or the TLS roots change."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs
from yarl import URL

from asset_worker.api.session import Session, open_session
from asset_worker.runtime.sockets import AddressInfo, socket_maker
from asset_worker.runtime.tls import TlsRootsError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMEOUT = 1.0


class Server:
    """Answers each request, on connections that it may let go silent; counts both."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.open = 0
        self.silent_up_to = 0
        """The connections up to this number are silent: they stay open, and nothing comes."""
        self.held: asyncio.Event | None = None
        """Answers wait for it."""
        self.waiting = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    self.waiting += 1
                    if self.held is not None:
                        await self.held.wait()
                    if number > self.silent_up_to:
                        writer.write(ANSWER)
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None, total: float = TIMEOUT) -> AsyncIterator[tuple[Server, Session]]:
    server = Server()
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        async with open_session(f"http://127.0.0.1:{server.port}", total_timeout=total) as session:
            yield server, session
        await until(lambda: not server.open)
    finally:
        listening.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; for 30 s at most, which end a test that hangs."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def get(session: Session, server: Server, *, scheme: str = "http", host: str = "127.0.0.1") -> bool:
    """Whether an answer came in time."""
    try:
        async with session.get(URL(f"{scheme}://{host}:{server.port}"), headers={}) as response:
            await response.read()
    except TimeoutError:
        return False
    return True


async def several(session: Session, server: Server, count: int) -> None:
    """Make requests at the same time, so that this many connections are kept."""
    server.held, server.waiting = asyncio.Event(), 0
    getting = [asyncio.ensure_future(get(session, server)) for _ in range(count)]
    await until(lambda: server.waiting == count)
    server.held.set()
    assert all(await asyncio.gather(*getting))


async def test_the_first_kept_connection_that_is_dead_stands_for_all():
    async with serving() as (server, session):
        await several(session, server, 5)
        server.silent_up_to = 5
        with capture_logs() as logs:
            assert not await get(session, server)
            assert await get(session, server)
        assert server.connections == 6
        await until(lambda: server.open == 1)  # the dead ones are closed
        assert [line["event"] for line in logs] == ["api.connections_replaced"]
        assert await get(session, server)
        assert server.connections == 6


async def test_requests_in_flight_finish_on_the_connections_that_were_replaced():
    async with serving(total=4) as (server, session):
        await several(session, server, 2)
        server.silent_up_to = 1
        silent = asyncio.ensure_future(get(session, server))
        await asyncio.sleep(2)
        server.held, server.waiting = asyncio.Event(), 0
        slow = asyncio.ensure_future(get(session, server))
        assert not await silent
        server.held.set()
        assert await slow
        assert server.connections == 2
        await until(lambda: not server.open)


async def test_requests_that_time_out_on_new_connections_replace_nothing():
    async with serving(total=0.2) as (server, session):
        server.silent_up_to = 10
        with capture_logs() as logs:
            assert not await get(session, server)
            assert not await get(session, server)
        assert logs == []


async def test_sockets_have_the_options_of_the_timeout(monkeypatch: pytest.MonkeyPatch):
    """So the system finds out that a connection is dead, where it can."""
    made: list[float] = []

    def recording(total: float) -> Callable[[AddressInfo], socket.socket]:
        def make(address: AddressInfo) -> socket.socket:
            made.append(total)
            return socket_maker(total)(address)

        return make

    monkeypatch.setattr("asset_worker.api.session.socket_maker", recording)
    async with serving(total=9) as (server, session):
        assert await get(session, server)
    assert made == [9]


async def test_an_answer_that_has_begun_says_that_the_connection_is_alive():
    async with serving(total=0.5) as (server, session):
        assert await get(session, server)
        with capture_logs() as logs, suppress(TimeoutError):
            async with session.get(URL(f"http://127.0.0.1:{server.port}"), headers={}):
                raise TimeoutError
        assert logs == []


async def test_reloaded_tls_roots_are_used_by_new_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority, roots = trustme.CA(), tmp_path / "roots.pem"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    async with serving(tls, total=10) as (server, session):
        with pytest.raises(ssl.SSLError):
            await get(session, server, scheme="https", host="localhost")
        with pytest.raises(TlsRootsError, match=r"roots\.pem"):
            await session.reload_tls()
        authority.cert_pem.write_to_path(roots)
        await session.reload_tls()
        assert await get(session, server, scheme="https", host="localhost")
        assert await get(session, server, scheme="https", host="localhost")
        assert server.open == 1
