"""Servers of this process for tests of connections: TLS with an authority of its own, and a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import trustme


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Join a connection to another one, to `port`."""
    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pour(reader, to_writer), pour(to_reader, writer))


Listen = Callable[..., Awaitable[int]]


@asynccontextmanager
async def listening() -> AsyncIterator[Listen]:
    """Serves connections while the context lasts: `port = await start(serve, ssl=…)`."""
    async with AsyncExitStack() as stack:
        connections: set[asyncio.Task[None]] = set()

        async def start(serve, **options) -> int:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                connections.add(task)
                # EOFError: it was closed before a complete head had arrived.
                with suppress(OSError, EOFError, asyncio.CancelledError):
                    await serve(reader, writer)
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

            server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        yield start
        # The worker is gone, so connections end and close what they opened; a cancellation could come in between.
        if connections:
            await asyncio.wait(connections, timeout=10)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


class Authority:
    """A certificate authority that is not in any trust store."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def context(self, *names: str, expires: datetime | None = None) -> ssl.SSLContext:
        """The context of a server with a certificate for these names. `expires` None: in years."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, not_after=expires).configure_cert(context)
        return context


class Proxy:
    """Accepts CONNECT, and connects every client to one port."""

    def __init__(self, to: int, *, status: str = "200 Connection established") -> None:
        self.to = to
        self.status = status
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode())
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        await writer.drain()
        if self.status.startswith("200"):
            await join(reader, writer, self.to)
