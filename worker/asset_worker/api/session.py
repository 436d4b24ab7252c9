"""The session of the client: connections, timeouts, TLS, DNS and proxy."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from asset_worker import __version__
from asset_worker.api.dead_pool import DeadPool
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.proxy import proxy_of_environment
from asset_worker.runtime.resolver import ThreadResolver
from asset_worker.runtime.sockets import socket_maker
from asset_worker.runtime.threads import DaemonThread
from asset_worker.runtime.tls import tls_context

_log = get_logger()

DNS_CACHE_SECONDS: Final = 30
"""Connections are kept, so lookups are rare anyway; an address that is out of date must not be used for long."""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the longest default delay between two looks, so that connections are reused."""
HEADER_BYTES_LIMIT: Final = 64 << 10
"""Bytes of one line of an answer's head at most. It is generous: gateways add long headers, which are ignored."""
HEADERS_LIMIT: Final = 1000
"""Headers of one answer at most."""
_PATH_ERRORS: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""How the system reports that nothing was acknowledged in time."""


class _Pool:
    """One aiohttp session, with the connections that it keeps."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.requests = 0
        """Requests in flight on it."""


class _Trip:
    """One request, as the traces see it."""

    __slots__ = ("is_reused",)

    def __init__(self) -> None:
        self.is_reused = False


class Session:
    """Sends requests to the API. Connections are kept, and all replaced when they are dead or TLS roots have changed.

    New requests then use new connections; those in flight finish on the old ones, which are closed after the last.
    """

    def __init__(self, open_pool: Callable[[ssl.SSLContext | None], aiohttp.ClientSession]) -> None:
        """`open_pool` opens an aiohttp session with a TLS context; None: aiohttp's own."""
        self._open_pool = open_pool
        self._tls: ssl.SSLContext | None = None
        self._pool = _Pool(open_pool(None))
        self._retired: set[_Pool] = set()
        self._dead_pool = DeadPool()

    @asynccontextmanager
    async def get(self, url: URL, *, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a GET, and provide the answer once its head has come. Redirects are not followed.

        Raises:
            TimeoutError, OSError, aiohttp.ClientError: there was no answer.
        """
        pool, trip, sent_at = self._pool, _Trip(), _now()
        pool.requests += 1
        is_answered = False
        try:
            async with pool.session.get(
                url, headers=headers, allow_redirects=False, trace_request_ctx=trip
            ) as response:
                is_answered = True
                if not trip.is_reused:
                    self._dead_pool.new_connection_answered()
                yield response
        except OSError as error:
            is_silent = not is_answered and (isinstance(error, TimeoutError) or error.errno in _PATH_ERRORS)
            # A request on connections that were replaced meanwhile says nothing about the present ones.
            if (
                is_silent
                and pool is self._pool
                and self._dead_pool.timed_out(_now(), sent_at=sent_at, is_reused=trip.is_reused)
            ):
                self._replace("a kept connection is dead")
            raise
        finally:
            pool.requests -= 1
            await self._close_unused()

    async def reload_tls(self) -> None:
        """Read the certificates of authorities again, and use them for all requests from now on.

        Raises:
            TlsRootsError: there are none that can be read.
        """
        thread = DaemonThread("certificates")
        try:
            self._tls = await thread.run(tls_context)
        finally:
            thread.close()
        self._replace("the TLS roots were reloaded")
        await self._close_unused()

    async def close(self) -> None:
        """Close all connections."""
        for pool in (self._pool, *self._retired):
            await pool.session.close()

    def _replace(self, why: str) -> None:
        _log.info("api.connections_replaced", why=why)
        self._retired.add(self._pool)
        self._pool = _Pool(self._open_pool(self._tls))

    async def _close_unused(self) -> None:
        for pool in [each for each in self._retired if not each.requests]:
            self._retired.discard(pool)
            await pool.session.close()


@asynccontextmanager
async def open_session(base_url: str, *, total_timeout: float) -> AsyncIterator[Session]:
    """Open a session for one client. `total_timeout` limits a whole request, including the answer's body, in seconds.

    Raises:
        BadProxyError: the environment names a proxy that can't be used.
    """
    proxy = proxy_of_environment(URL(base_url))
    if proxy is not None:
        _log.info("api.proxy", proxy=str(proxy.with_user(None)))
    resolver = ThreadResolver(DaemonThread("lookups"))
    session = Session(partial(_open_pool, proxy, resolver, total_timeout))
    try:
        yield session
    finally:
        await session.close()
        await resolver.close()


def _open_pool(
    proxy: URL | None, resolver: ThreadResolver, total_timeout: float, tls: ssl.SSLContext | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            resolver=resolver,
            ttl_dns_cache=DNS_CACHE_SECONDS,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            socket_factory=socket_maker(total_timeout),
            ssl=True if tls is None else tls,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=total_timeout),
        headers={"Accept": "application/json", "User-Agent": f"asset-worker/{__version__}"},
        max_line_size=HEADER_BYTES_LIMIT,
        max_field_size=HEADER_BYTES_LIMIT,
        max_headers=HEADERS_LIMIT,
        # Not `trust_env`: with it, each request reads the environment and ~/.netrc again, in threads, at several times
        # the cost of the request itself; and the credentials of netrc's default entry would be sent to the API.
        proxy=proxy,
        trace_configs=[_traces()],
    )


def _traces() -> aiohttp.TraceConfig:
    """Return traces that record whether the connection of a request was used before."""

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.is_reused = True

    async def made(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        # aiohttp sends a request again if the server had closed the kept connection.
        context.trace_request_ctx.is_reused = False

    traces = aiohttp.TraceConfig()
    traces.on_connection_reuseconn.append(reused)
    traces.on_connection_create_start.append(made)
    return traces


def _now() -> float:
    return asyncio.get_running_loop().time()
