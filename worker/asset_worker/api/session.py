"""The aiohttp session of a client: connections, their timeouts, DNS and proxy."""

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
"""Connections are kept, so lookups are rare; an address that no longer serves must not be tried for long."""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the longest default delay between two looks, so that a connection is used again."""
HEADER_BYTES_LIMIT: Final = 64 << 10
"""Bytes of one line of an answer's head: gateways add long ones, and nothing here reads them."""
HEADERS_LIMIT: Final = 1000
"""Headers of one answer."""


class BadProxyError(Exception):
    """The environment names a proxy that can't be used. The text says what the operator can do."""


@asynccontextmanager
async def open_session(base_url: str, *, total_timeout: float) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for one client. `total_timeout` is for a whole request, the body of its answer included, in seconds.

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
        # Not `trust_env`: with it each request asks the environment and ~/.netrc again, in threads, at several times
        # the cost of the request itself; and what a netrc's default entry holds would go to the API.
        proxy=proxy,
    ) as session:
        try:
            yield session
        finally:
            await resolver.close()


def proxy_of_environment(url: URL) -> URL | None:
    """The proxy for a URL, its password included: that of `HTTPS_PROXY`, unless `NO_PROXY` excepts the host.

    None for plain http, which is only used to a stand-in on this machine: a proxy would see the key.

    Raises:
        BadProxyError: `HTTPS_PROXY` is no URL, or names another kind of proxy.
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
