"""The checks of `doctor` that use the network: one request to the API, and a connection to each webhook's receiver."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from asset_worker.api.bodies import ERROR_BYTES_LIMIT, LIST_BYTES_LIMIT, decode_error, decode_page, read_body
from asset_worker.api.errors import MalformedAnswerError
from asset_worker.api.key import ApiKey, key_source
from asset_worker.api.responses import is_success
from asset_worker.api.session import open_session
from asset_worker.cli.diagnosis import (
    Answer,
    Check,
    State,
    advised,
    judge_answer,
    judge_certificate,
    judge_clock,
    judge_limits,
    judge_no_answer,
    judge_proxy_refusal,
)
from asset_worker.domain.run_plan import Exit
from asset_worker.runtime.failed_requests import failure_text
from asset_worker.runtime.proxy import BadProxyError, proxy_of_environment
from asset_worker.runtime.resolver import ThreadResolver
from asset_worker.runtime.threads import DaemonThread
from asset_worker.runtime.tls import TlsRootsError, tls_context
from asset_worker.settings.tree import Settings
from asset_worker.sinks.webhook.resolver import GuardedResolver, NotPublicError
from asset_worker.sinks.webhook.target import WebhookTarget, parsed

LOOKUP_SECONDS: Final = 3.0
"""For the lookup of a name."""
REQUEST_SECONDS: Final = 7.0
"""For the request to the API after it, unless `api.timeout` is less."""
CONNECTION_SECONDS: Final = 8.0
"""For the connection to a receiver, the lookup of its name included."""
REST: Final = ("dns", "tls", "api", "key", "clock", "limits")
"""The checks that follow that of the proxy, each in its turn."""


class TunnelRefusedError(OSError):
    """There is no connection, for a reason that the message says in full."""


async def check_api(settings: Settings, key: ApiKey | None, redact: Callable[[str], str]) -> list[Check]:
    """Return what one request to the API shows: proxy, DNS, TLS, API, key, clock and limits.

    Without a usable key, the request has none, and there is no check of it. `redact` removes secrets from text.
    """
    checks = await _request_checks(settings, key, redact)
    return checks if key is not None else [check for check in checks if check.name != "key"]


async def _request_checks(settings: Settings, key: ApiKey | None, redact: Callable[[str], str]) -> list[Check]:
    url = URL(settings.api.base_url)
    host = url.host or ""
    try:
        proxy = proxy_of_environment(url)
    except BadProxyError as error:
        return [advised("proxy", str(error), code=Exit.USAGE), *_not_made(REST, "the proxy can't be used")]
    shown_proxy = Check("proxy", State.OK, "no proxy is used" if proxy is None else f"{_without_user(proxy)} is used")
    lookup = await check_name(proxy or url, is_proxy=proxy is not None)
    if lookup.state is State.PROBLEM:
        return [shown_proxy, lookup, *_not_made(REST[1:], "the name can't be looked up")]
    seconds = min(settings.api.timeout, REQUEST_SECONDS)
    try:
        async with asyncio.timeout(seconds + 1):
            answer, tls = await _ask(url, key, seconds, redact)
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, TlsRootsError) as error:
        why = str(error) if isinstance(error, TlsRootsError) else _reason(error, host, seconds)
        return [shown_proxy, lookup, judge_certificate(host, why), *_not_made(REST[2:], "TLS fails")]
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
        refusal = judge_proxy_refusal(host, _reason(error, host, seconds), status=status)
        return [refusal, lookup, *_not_made(REST[1:], "the proxy does not connect")]
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError, AssertionError) as error:
        # aiohttp and uvloop raise the last two if a connection breaks at an unexpected moment.
        why = redact(_reason(error, host, seconds))
        failure = judge_no_answer(why, proxy=None if proxy is None else _without_user(proxy))
        return [
            shown_proxy,
            lookup,
            *_not_made(("tls",), "there was no answer"),
            failure,
            *_not_made(REST[3:], "there was no answer"),
        ]
    return [
        shown_proxy,
        lookup,
        tls,
        *judge_answer(answer, source=None if key is None else key_source(settings.api.key_file, is_ours=False)),
        judge_clock(answer),
        judge_limits(answer, share=settings.limits.share, own_rate=settings.limits.requests_per_second),
    ]


async def check_name(url: URL, *, is_proxy: bool = False, resolver: AbstractResolver | None = None) -> Check:
    """Return whether the host of a URL can be looked up. `resolver`: None for that of the system."""
    host = url.host or ""
    if _is_address(host):
        return Check("dns", State.SKIPPED, f"{host} is an address")
    resolver = resolver or ThreadResolver(DaemonThread("lookups"))
    fix = f"check {'HTTPS_PROXY' if is_proxy else 'api.base_url'}, the name server and the network"
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            addresses = [each["host"] for each in await resolver.resolve(host, url.port or 443, socket.AF_UNSPEC)]
    except TimeoutError:
        return Check("dns", State.PROBLEM, f"the name server does not answer for {host} in {LOOKUP_SECONDS:g} s", fix)
    except OSError as error:
        return Check("dns", State.PROBLEM, f"{host} can't be looked up ({error.strerror or error})", fix)
    finally:
        await resolver.close()
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return Check("dns", State.OK, f"{host} is at {addresses[0]}{more}")


async def check_receiver(target: WebhookTarget) -> list[Check]:
    """Return whether the receiver of a webhook can be connected to. Nothing is sent to it."""
    url = parsed(target.url)
    host = url.host or ""
    try:
        async with asyncio.timeout(CONNECTION_SECONDS):
            await _connect(url, is_guarded=not target.allow_private)
    except BadProxyError as error:
        return [advised("sink", str(error), subject=target.name, code=Exit.USAGE)]
    except NotPublicError as error:
        return [advised("sink", str(error), subject=target.name)]
    except (OSError, RuntimeError) as error:
        fix = "check its URL, the receiver, and what is on the way to it"
        return [Check("sink", State.PROBLEM, _reason(error, host, CONNECTION_SECONDS), fix, target.name)]
    return [Check("sink", State.OK, f"{host} can be connected to (nothing was sent)", subject=target.name)]


async def _ask(url: URL, key: ApiKey | None, seconds: float, redact: Callable[[str], str]) -> tuple[Answer, Check]:
    """Send the request. Return the answer, and what is known of TLS.

    Raises:
        TlsRootsError, aiohttp.ClientError, OSError, ValueError, RuntimeError, AssertionError: there was no answer.
    """
    query = {"page": "1", "page_limit": "1"}
    headers = {} if key is None else {"x-api-key": key.value}
    async with open_session(str(url), total_timeout=seconds) as session:
        if url.scheme == "https":
            await session.reload_tls()  # it says so if there are no certificates of authorities
        sent_at = time.monotonic()
        async with session.get((url / "assets").with_query(query), headers=headers) as response:
            took, received_at = time.monotonic() - sent_at, time.time()
            tls = _tls_of(response, url)
            is_list, code, message = False, None, ""
            with suppress(MalformedAnswerError):
                if is_success(response.status):
                    is_list = bool(decode_page(await read_body(response, LIST_BYTES_LIMIT)))
                else:
                    error = decode_error(await read_body(response, ERROR_BYTES_LIMIT))
                    code, message = error.code, redact(error.message or error.code or "")
    return Answer(response.status, code, message, is_list, dict(response.headers), received_at, took), tls


def _tls_of(response: aiohttp.ClientResponse, url: URL) -> Check:
    if url.scheme != "https":
        return Check("tls", State.SKIPPED, "plain http, to this machine")
    transport = response.connection.transport if response.connection is not None else None
    secured = None if transport is None else transport.get_extra_info("ssl_object")
    version = "" if secured is None else f" ({secured.version()})"
    return Check("tls", State.OK, f"the certificate of {url.host} is trusted{version}")


async def _connect(url: URL, *, is_guarded: bool) -> None:
    """Connect to the host of a URL, through the proxy of the environment if there is one, and close the connection.

    Raises:
        BadProxyError: the environment names a proxy that can't be used.
        OSError: there is no connection.
    """
    proxy, host = proxy_of_environment(url), url.host or ""
    tls = await _tls_context() if url.scheme == "https" else None
    direct_tls = tls if proxy is None or proxy.scheme == "https" else None
    reader, writer = await _opened(proxy or url, direct_tls, is_guarded=is_guarded and proxy is None)
    try:
        if proxy is not None:
            await _open_tunnel(reader, writer, f"{host}:{url.port}", proxy)
            if tls is not None:
                await writer.start_tls(tls, server_hostname=host)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _opened(
    url: URL, tls: ssl.SSLContext | None, *, is_guarded: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address of a URL's host that takes the connection."""
    host, port = url.host or "", url.port or 443
    addresses = [host]
    if not _is_address(host):
        plain = ThreadResolver(DaemonThread("lookups"))
        resolver = GuardedResolver(plain) if is_guarded else plain
        try:
            addresses = [each["host"] for each in await resolver.resolve(host, port, socket.AF_UNSPEC)]
        finally:
            await resolver.close()
    name = host if tls is not None else None
    for address in addresses[:-1]:
        with suppress(OSError):
            return await asyncio.open_connection(address, port, ssl=tls, server_hostname=name)
    return await asyncio.open_connection(addresses[-1], port, ssl=tls, server_hostname=name)


async def _open_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, proxy: URL) -> None:
    """Have a proxy connect to a target, `HOST:PORT` (RFC 9110, section 9.3.6)."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.user is not None:
        credentials = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise TunnelRefusedError("the proxy closed the connection, or does not speak HTTP") from None
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise TunnelRefusedError(f"the proxy refuses the connection (HTTP {b''.join(status)[:3].decode('latin-1')})")


async def _tls_context() -> ssl.SSLContext:
    thread = DaemonThread("certificates")
    try:
        return await thread.run(tls_context)
    except TlsRootsError as error:
        raise TunnelRefusedError(str(error)) from None
    finally:
        thread.close()


def _reason(error: BaseException, host: str, seconds: float) -> str:
    """Return why there was no answer from a host, or no connection to it, for people. It shows no other part of a URL.

    `seconds` is how long it was waited for.
    """
    match error:
        case TimeoutError():
            return f"no answer of {host} within {seconds:g} s"
        case TunnelRefusedError():
            return str(error)
        case socket.gaierror():
            return f"the name {host} can't be looked up ({error.strerror})"
        case ssl.SSLCertVerificationError() if not isinstance(error, aiohttp.ClientError):
            return f"the certificate of {host} can't be trusted ({error.verify_message})"
        case _:
            return failure_text(error, host=host) or f"the request failed ({type(error).__name__})"


def _not_made(names: Sequence[str], why: str) -> list[Check]:
    return [Check(name, State.SKIPPED, f"not checked: {why}") for name in names]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _without_user(url: URL) -> str:
    return str(url.with_user(None).origin())
