"""The aiohttp session of the client: connections, timeouts, DNS and proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from yarl import URL

from asset_worker import __version__
from asset_worker.api.resolver import ThreadResolver
from asset_worker.runtime.hosts import is_loopback
from asset_worker.runtime.threads import DaemonThread

_log = structlog.get_logger()

DNS_CACHE_SECONDS: Final = 30
"""Connections are kept, so lookups are rare anyway; an address that is out of date must not be used for long."""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the longest default delay between two looks, so that connections are reused."""
HEADER_BYTES_LIMIT: Final = 64 << 10
"""Bytes of one line of an answer's head at most. It is generous: gateways add long headers, which are ignored."""
HEADERS_LIMIT: Final = 1000
"""Headers of one answer at most."""


class BadProxyError(Exception):
    """The environment names a proxy that can't be used. The message says what to do."""


@asynccontextmanager
async def open_session(base_url: str, *, total_timeout: float) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session for one client. `total_timeout` limits a whole request, including the answer's body, in seconds.

    Raises:
        BadProxyError: the environment names a proxy that can't be used.
    """
    proxy = proxy_of_environment(URL(base_url))
    if proxy is not None:
        _log.info("api.proxy", proxy=str(proxy.with_user(None)))
    resolver = ThreadResolver(DaemonThread("lookups"))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, resolver=resolver, ttl_dns_cache=DNS_CACHE_SECONDS, keepalive_timeout=KEEP_ALIVE_SECONDS
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
    ) as session:
        try:
            yield session
        finally:
            await resolver.close()


def proxy_of_environment(url: URL) -> URL | None:
    """Return the proxy for a URL, with its password: that of `HTTPS_PROXY`, unless `NO_PROXY` excludes the host.

    None: there is no proxy. Plain http, which is only used on this machine, has none: a proxy would see the key.

    Raises:
        BadProxyError: `HTTPS_PROXY` is not a URL, or names another kind of proxy.
    """
    host = url.host or ""
    named = getproxies().get("https")
    if not named or url.scheme != "https" or is_loopback(host) or proxy_bypass(host):
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError as error:
        raise BadProxyError("HTTPS_PROXY is not a URL: it should be like http://proxy.example:3128") from error
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        raise BadProxyError(
            f"HTTPS_PROXY names a proxy of the kind {proxy.scheme!r}, which can't be used: "
            f"give an http:// one, or have NO_PROXY except {host} from it"
        )
    return proxy
