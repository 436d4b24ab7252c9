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


class Route:
    """Forwards connections to a server, and may swallow what it should forward, while all connections stay open."""

    def __init__(self) -> None:
        self.connections = 0
        """How many were opened."""
        self._to: int | Path = 0
        self._is_cut = False
        self._path = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, to: int | Path) -> int:
        """Forward connections to a port or a Unix socket. Return the port at which they are accepted."""
        self._to = to
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def change(self) -> None:
        """Forward nothing more of the connections that exist, in either direction and for ever."""
        self._path += 1

    def cut(self) -> None:
        """Forward nothing more, in either direction, until `heal`."""
        self._is_cut = True

    def heal(self) -> None:
        """Forward what connections from now on send; the earlier ones stay silent."""
        self.change()
        self._is_cut = False

    async def close(self) -> None:
        """Close all."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if isinstance(self._to, int):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        else:
            to_reader, to_writer = await asyncio.open_unix_connection(self._to)
        self._writers += [writer, to_writer]
        for source, target in ((reader, to_writer), (to_reader, writer)):
            self._tasks.add(asyncio.ensure_future(self._forward(source, target, self._path)))

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, path: int) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if path == self._path and not self._is_cut:
                    target.write(data)
                    await target.drain()
            if path == self._path and not self._is_cut:
                target.close()


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
