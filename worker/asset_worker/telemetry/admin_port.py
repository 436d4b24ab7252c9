"""The port of the admin endpoints: how many connections it takes, for how long, and what it leaves to the work.

Whoever can reach the port may open connections and send anything. That must cost the worker little: some descriptors,
and one log line a spell.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

from asset_worker.runtime.log import get_logger
from asset_worker.telemetry.spells import Spells

_log = get_logger()

MOST_CONNECTIONS = 32
"""A probe and a scraper need one each, for a moment."""
REQUEST_SECONDS = 5.0
"""How long a connection may last: its request must come whole, and the answer be read, in this time."""
MOST_TRUSTED = 64
"""Connections of clients that have presented a token, besides the others."""
TRUSTED_SECONDS = 30.0
"""How long such a connection may last: it may send megabytes, and wait until they are on the disk."""
LINGER_SECONDS = 1.0
"""How long the rest of a request is read and dropped after its answer. Closing the connection before the client has
sent everything would reset it, and the client might not see the answer."""
RESERVED_DESCRIPTORS = 64
"""Descriptors of the process that are left to its work: for 20 requests to the API at once (`limits.concurrency`), each
with a name lookup, and the files of the inputs, the sinks and the journal. Of these the port takes only a few."""
FEW_CONNECTIONS = 4
"""How many connections there may be while only the reserved descriptors are left."""
CHANCE_SECONDS = 0.1
"""How long a connection is safe from newer ones, in which its request can come and be answered."""
RETRY_SECONDS = 0.5
"""How long to wait after a connection could not be accepted."""
BACKLOG = 128
DETAIL_CHARACTERS = 200
"""How much is logged of a text that a client has sent."""
SERVER_NAME = "asset-worker"


def room(descriptor: int, limit: float, *, most: int = MOST_CONNECTIONS) -> int:
    """Return how many connections there may be, of which the newest has this descriptor: usually `most`.

    The system gives the lowest free number, so at least `descriptor` of the `limit` that the process may have are used.
    """
    return most if descriptor < limit - RESERVED_DESCRIPTORS else FEW_CONNECTIONS


def descriptor_limit() -> float:
    """Return how many descriptors the process may have."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


class Refusals:
    """Logs what is refused, and what fails, at the port: one line for each spell."""

    def __init__(self) -> None:
        self._spells = Spells()

    def log(self, what: str, client: str | None, detail: str) -> None:
        """Log that a request or connection of `client` was refused. `detail` may hold text from the client."""
        if (unlogged := self._begins(what)) is not None:
            shown = " ".join(detail.split())[:DETAIL_CHARACTERS]
            _log.warning("admin.refused", what=what, client=client, detail=shown, unlogged=unlogged)

    def log_failure(self, error: BaseException) -> None:
        """Log that a connection could not be accepted, or a request not be answered. Call it in the `except` clause."""
        if (unlogged := self._begins(type(error).__name__)) is None:
            return
        if isinstance(error, OSError):
            _log.error("admin.failed", error=str(error), unlogged=unlogged)
        else:
            _log.exception("admin.failed", error=str(error), unlogged=unlogged)

    def _begins(self, kind: str) -> int | None:
        return self._spells.report(kind, asyncio.get_running_loop().time())


class AdminPort:
    """Accepts connections and hands them to an HTTP server."""

    def __init__(self, server: web.Server, refusals: Refusals) -> None:
        self.server = server
        self.refusals = refusals
        self.open: dict[Connection, None] = {}
        """The connections that are open and not trusted, the oldest first."""
        self.trusted: set[Connection] = set()
        """Those of clients that have presented a token: they are not closed for new ones."""

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections forever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                self.refusals.log_failure(error)
                # Perhaps these have what the work lacks.
                self._close_oldest(leave=0, why="no connection could be accepted")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            most = room(client.fileno(), descriptor_limit())
            self._close_oldest(leave=most - 1, why="the oldest is closed for a new one")
            try:
                await loop.connect_accepted_socket(lambda: Connection(self), client)
            except OSError:  # it is gone already
                client.close()
            if len(self.open) >= most:
                await asyncio.sleep(CHANCE_SECONDS / most)

    def _close_oldest(self, *, leave: int, why: str) -> None:
        """Close the oldest connections but `leave` of them.

        A client that means well is answered in a moment, so the oldest are those of clients that send or read nothing.
        """
        for each in list(self.open)[: max(0, len(self.open) - leave)]:
            each.end("too many connections", why)


class Connection(web.RequestHandler):
    """One connection: it lasts for one request, and at most `REQUEST_SECONDS`, or `TRUSTED_SECONDS` with a token.

    It is not kept for another request: a client that comes every few seconds does not need that, and an idle connection
    would be one more thing to limit.
    """

    __slots__ = ("_expiry", "_port")

    def __init__(self, port: AdminPort) -> None:
        super().__init__(port.server, loop=asyncio.get_running_loop(), lingering_time=0, auto_decompress=False)
        self._port = port
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time of the connection."""
        super().connection_made(transport)
        self._port.open[self] = None
        self._expire_in(REQUEST_SECONDS)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._forget()
        super().connection_lost(exc)

    def linger(self) -> None:
        """Read what comes after the answer, for a while: the endpoint may answer before a large body has come."""
        self._lingering_time = LINGER_SECONDS

    def trust(self) -> bool:
        """Give a client that has presented a token more time, and don't close its connection for new ones.

        Return whether there are few enough of them.
        """
        connected = None if self.transport is None else self.transport.get_extra_info("socket")
        if connected is None:  # it has gone
            return False
        if len(self._port.trusted) >= room(connected.fileno(), descriptor_limit(), most=MOST_TRUSTED):
            return False
        self._forget()
        self._port.trusted.add(self)
        self._expire_in(TRUSTED_SECONDS)
        return True

    def end(self, what: str, detail: str) -> None:
        """Close the connection now, and log why."""
        self._forget()
        if self.transport is not None:
            self._port.refusals.log(what, self._client, detail)
            self.transport.abort()

    def _expire_in(self, seconds: float) -> None:
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        self.end("too slow", f"no whole request, or the answer not read, within {seconds:g} s")

    def _forget(self) -> None:
        self._port.open.pop(self, None)
        self._port.trusted.discard(self)
        if self._expiry is not None:
            self._expiry.cancel()

    @property
    def _client(self) -> str | None:
        return str(self.peername[0]) if self.peername else None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a malformed request, or to one that failed. It shows nothing of the error.

        Raises:
            ConnectionError: a part of another answer has been sent.
        """
        if status < 500:
            self._port.refusals.log("malformed request", self._client, message or str(exc))
        elif exc is not None:
            self._port.refusals.log_failure(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer has been sent")
        return web.Response(status=status, text=f"{status}\n")

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, the last one of the connection. It names the program, but not its version."""
        resp.headers["Server"] = SERVER_NAME
        resp.force_close()
        return await super().finish_response(request, resp, start_time)


@asynccontextmanager
async def listening(server: web.Server, refusals: Refusals, *, host: str, port: int) -> AsyncIterator[list[str]]:
    """Accept connections at every address of `host` while the context lasts. Yield these addresses, with their ports.

    Raises:
        OSError: an address can't be bound.
        UnicodeError: `host` can't be the name of a host.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as stack:
        listeners = _listen([(family, address) for family, _, _, _, address in found], stack)
        admin_port = AdminPort(server, refusals)
        accepting = [loop.create_task(admin_port.accept(each), name="admin") for each in listeners]
        try:
            yield [f"{name[0]}:{name[1]}" for name in (each.getsockname() for each in listeners)]
        finally:
            for task in accepting:
                task.cancel()
            await asyncio.gather(*accepting, return_exceptions=True)


def _listen(addresses: list[tuple[int, Any]], stack: ExitStack) -> list[socket.socket]:
    """Listen at each address once, and let the stack close the sockets.

    A name such as `localhost` may have an address of a family that the machine doesn't use: the others are enough.

    Raises:
        OSError: an address can't be bound.
    """
    listeners: list[socket.socket] = []
    unused: OSError | None = None
    for family, address in dict.fromkeys(addresses):
        try:
            listener = stack.enter_context(socket.create_server(address, family=family, backlog=BACKLOG))
        except OSError as error:
            unused = OSError(
                error.errno, os.strerror(error.errno or 0)
            )  # the text of `create_server` repeats the address
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise unused from error
            continue
        listener.setblocking(False)
        listeners.append(listener)
    if unused is not None and not listeners:
        raise unused
    return listeners
