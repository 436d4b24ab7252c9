"""The sink that sends each event as an HTTP request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver

from asset_worker import __version__
from asset_worker.domain.events import Stored, heading_of
from asset_worker.runtime.calls import Call
from asset_worker.runtime.failed_requests import failure_text
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.proxy import proxy_of_environment
from asset_worker.runtime.redaction import SHORTEST_KEY, Secrets
from asset_worker.runtime.resolver import ThreadResolver
from asset_worker.runtime.secret_files import exposure
from asset_worker.runtime.sockets import socket_maker
from asset_worker.runtime.threads import DaemonThread
from asset_worker.runtime.tls import TlsRootsError, tls_context
from asset_worker.runtime.watched_file import WatchedFile
from asset_worker.sinks.ports import (
    Attempt,
    Delivered,
    Failed,
    SinkContext,
    TargetNotReadyError,
    TargetProblem,
    UnusableTargetError,
)
from asset_worker.sinks.webhook import target as rules
from asset_worker.sinks.webhook.answers import Answer, attempt_of
from asset_worker.sinks.webhook.requests import Request, request_of
from asset_worker.sinks.webhook.resolver import GuardedResolver, NotPublicError
from asset_worker.sinks.webhook.secret_file import read, watch
from asset_worker.sinks.webhook.signing import (
    HOW_TO_MAKE_ONE,
    PREFIX,
    SHORTEST_SECRET,
    Secret,
    parse_secrets,
    signed_headers,
)
from asset_worker.sinks.webhook.target import WebhookTarget

_log = get_logger()

BODY_BYTES: Final = 64 << 10
"""Bytes of an answer's body that are read at most. Nobody needs them but the person who reads why it failed."""
EXCERPT_BYTES: Final = 4 << 10
"""Bytes of it that the reason is made from."""
HEADER_BYTES: Final = 64 << 10
"""Bytes of one line of an answer's head at most. It is generous: frameworks add long headers, which are ignored."""
HEADERS: Final = 1000
"""Headers of one answer at most."""
KEEP_ALIVE_SECONDS: Final = 4
"""Shorter than servers keep an idle connection (often 5 s): else a request could meet the end of its connection."""


class WebhookSink:
    """A receiver of signed requests. Events are sent at once, several at a time, and each at least once."""

    kind: Literal["independent"] = "independent"

    def __init__(
        self, target: WebhookTarget, context: SinkContext, *, resolver: AbstractResolver | None = None
    ) -> None:
        """Read the secrets and the headers. Nothing is sent yet. `resolver` looks names up; None: the system's.

        Raises:
            TargetNotReadyError: a file that the target names is missing or empty, or can't be read now.
            UnusableTargetError: such a file can't be used.
            BadProxyError: the environment names a proxy that can't be used.
        """
        self._target = target
        self._clock = context.clock
        self._secrets = context.secrets
        self._credentials = rules.credentials_of(target.url)
        self._url = rules.parsed(target.url).with_user(None)
        self._shown_url = self._url.with_query(None).with_fragment(None)
        self._watch = context.watch
        self._proxy = proxy_of_environment(self._url)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | Literal[True] = True
        self._own_secrets = Secrets()
        """What no reason may show. In events it may be an ordinary word, so it is not redacted there."""
        self._redact_url()
        self._signing = None if target.secret_file is None else self._watched_secrets(target.secret_file)
        self._headers = {
            name: value if isinstance(value, str) else self._watched_header(value)
            for name, value in target.headers.items()
        }
        self._has_traceparent = any(name.lower() == "traceparent" for name in target.headers)
        for value in target.headers.values():
            if isinstance(value, str):
                self._own_secrets.add(value)

    @property
    def name(self) -> str:
        """The name in the settings, or one made from the URL without user-info and query."""
        return self._target.name

    @property
    def concurrency(self) -> int:
        """How many events may be sent at once."""
        return self._target.concurrency

    @property
    def retry(self) -> Sequence[float]:
        """The retry plan: seconds from each failed attempt to the next."""
        return self._target.retry

    def wants(self, event: Stored) -> bool:
        """Return whether the settings let the event through: the last word of its type."""
        if self._target.outcomes is None:
            return True
        try:
            return heading_of(event).word in self._target.outcomes
        except msgspec.DecodeError:
            return True  # the attempt will say what is wrong with it

    def writes_to(self, descriptor: int) -> bool:  # noqa: ARG002 - of the protocol
        """Return False: no file is written."""
        return False

    async def attempt(self, event: Stored) -> Attempt:
        """Send one event, once. It ends within the timeout, and raises nothing."""
        try:
            request = request_of(event, self._target.mode)
        except msgspec.DecodeError:
            return Failed("the event in the journal is damaged, so that its attributes can't be read")
        with self._watch(self.name, self._shown_url, event) as call:
            result = await self._post(event, request, call)
            if not isinstance(result, Delivered):
                call.failed(result.reason)
            return result

    async def _post(self, event: Stored, request: Request, call: Call) -> Attempt:
        sent_at = self._clock.now()
        headers = {name: self._value(value) for name, value in self._headers.items()}
        if (traceparent := call.traceparent or request.traceparent) and not self._has_traceparent:
            headers["traceparent"] = traceparent
        if self._credentials is not None:
            headers["Authorization"] = f"Basic {self._credentials}"
        headers |= request.headers | signed_headers(event.id, int(sent_at), request.body, self._present_secrets())
        content = BytesIO(request.body)  # written in pieces: of large bytes in one piece, aiohttp warns
        body = bytearray()
        response: aiohttp.ClientResponse | None = None
        failure = ""
        try:
            async with (
                asyncio.timeout(self._target.timeout),
                self._opened().post(
                    self._url, data=content, headers=headers, allow_redirects=False, ssl=self._tls
                ) as response,
            ):
                call.answered(response.status)
                await _read_into(body, response)
        except Exception as error:  # noqa: BLE001 - whatever it is, this event was not accepted, and others are
            failure = self._reason_of(error)
        if response is None:
            return Failed(failure)
        if failure and 200 <= response.status < 300:
            return Failed(f"HTTP {response.status}, but its body did not come to an end: {failure}")
        return attempt_of(
            _answer(response, bytes(body)), now=self._clock.now(), sent=request.body, redact=self._redacted
        )

    def _reason_of(self, error: Exception) -> str:
        """Return why an attempt got no answer."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._target.timeout:g} s"
        if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, NotPublicError):
            return str(error.os_error)
        known = failure_text(error, host=self._url.host or "")
        return known or f"the request failed ({type(error).__name__})"

    async def reload(self) -> None:
        """Read secrets, header files and TLS roots again. What can't be read is logged, and stays as it is."""
        for each in (self._signing, *self._headers.values()):
            if isinstance(each, WatchedFile):
                each.reload()
        thread = DaemonThread("certificates")
        try:
            self._tls = await thread.run(tls_context)
        except (TlsRootsError, OSError) as error:
            _log.warning("sink.reload_failed", sink=self.name, error=str(error))
        finally:
            thread.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session, which is made at the first use: it belongs to the running event loop."""
        if self._session is None:
            self._resolver = self._resolver or ThreadResolver(DaemonThread("lookups"))
            # Behind a proxy, only the proxy's name is looked up here: which addresses are allowed is up to the proxy.
            is_guarded = self._proxy is None and not self._target.allow_private
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._target.concurrency,
                    resolver=GuardedResolver(self._resolver) if is_guarded else self._resolver,
                    ttl_dns_cache=0,  # each connection has a lookup of its own, but lookups in progress are shared
                    keepalive_timeout=KEEP_ALIVE_SECONDS,
                    socket_factory=socket_maker(self._target.timeout),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `attempt` has the one that counts
                headers={"User-Agent": f"asset-worker/{__version__}", "Accept-Encoding": "identity"},
                auto_decompress=False,  # a few bytes could become gigabytes
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                max_headers=HEADERS,
                proxy=self._proxy,
            )
        return self._session

    def _present_secrets(self) -> Sequence[Secret]:
        return () if self._signing is None else self._signing.current(self._clock.monotonic())

    def _value(self, value: str | WatchedFile[str]) -> str:
        return value if isinstance(value, str) else value.current(self._clock.monotonic())

    def _watched_secrets(self, path: Path) -> WatchedFile[tuple[Secret, ...]]:
        return watch(path, parse_secrets, sink=self.name, on_read=partial(self._redact_secrets, path))

    def _watched_header(self, path: Path) -> WatchedFile[str]:
        return watch(path, rules.checked_header_value, sink=self.name, on_read=self._redact_value)

    def _redact_secrets(self, path: Path, secrets: tuple[Secret, ...]) -> None:
        for each in secrets:
            self._secrets.add(each.text)
            self._secrets.add(each.text.removeprefix(PREFIX))
        if (short := _shortness(secrets)) is not None:
            _log.warning("sink.secret_short", sink=self.name, path=str(path), detail=short)

    def _redact_value(self, value: str) -> None:
        """Redact the value of a header from now on, and its last word, as in `Bearer …`."""
        self._own_secrets.add(value)
        for each in {value, value.rsplit(maxsplit=1)[-1]}:
            if len(each) >= SHORTEST_KEY:
                self._secrets.add(each)

    def _redact_url(self) -> None:
        url = rules.parsed(self._target.url)
        own = (url.user, url.password, self._credentials, url.raw_query_string, url.query_string, *url.query.values())
        for text in own:
            self._own_secrets.add(text or "")
        for password in (url.password or "", (self._proxy and self._proxy.password) or ""):
            if len(password) >= SHORTEST_KEY:
                self._secrets.add(password)

    def _redacted(self, text: str) -> str:
        return self._secrets.redact_text(self._own_secrets.redact_text(text))


async def _read_into(body: bytearray, response: aiohttp.ClientResponse) -> None:
    """Read the answer to its end, or until its body is too long: then the connection is closed. Keep an excerpt."""
    count = 0
    async for chunk in response.content.iter_any():
        count += len(chunk)
        body += chunk[: max(EXCERPT_BYTES - len(body), 0)]
        if count > BODY_BYTES:
            response.close()
            return


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Answer:
    headers = response.headers
    is_plain = headers.get("Content-Encoding", "identity").lower() == "identity"
    return Answer(response.status, headers.get("Retry-After", ""), headers.get("Date", ""), body if is_plain else b"")


def _shortness(secrets: Sequence[Secret]) -> str | None:
    """Return what is wrong with the length of the secrets, for people; None: nothing."""
    if not any(each.is_short for each in secrets):
        return None
    return f"a secret has fewer than {SHORTEST_SECRET} bytes, so it may be guessed: {HOW_TO_MAKE_ONE}"


def _read_secrets(target: WebhookTarget) -> Sequence[Secret]:
    return () if target.secret_file is None else read(target.secret_file, parse_secrets)


def _header_files(target: WebhookTarget) -> list[Path]:
    return [value for value in target.headers.values() if isinstance(value, Path)]


def checked_target(target: str) -> str:
    """Return the URL of a webhook that has no table.

    Raises:
        ValueError: it can't be used; the message says why and what to do.
    """
    return rules.checked_url(target)


def find_problem(target: WebhookTarget) -> TargetProblem | None:
    """Return what keeps events from being sent now; None: nothing that can be seen. No request is made."""
    try:
        _read_secrets(target)
        for path in _header_files(target):
            read(path, rules.checked_header_value)
    except UnusableTargetError as error:
        return TargetProblem(f"{target.name}: {error}", is_final=not isinstance(error, TargetNotReadyError))
    return None


def find_warnings(target: WebhookTarget) -> Iterator[str]:
    """Yield what works, but somebody should correct: files that others may read, secrets that are short."""
    for path in (*filter(None, [target.secret_file]), *_header_files(target)):
        with suppress(OSError):  # `find_problem` says what is wrong
            if (found := exposure(path)) is not None:
                yield f"the file {path} of {target.name} is exposed: {found}"
    with suppress(UnusableTargetError):
        if (short := _shortness(_read_secrets(target))) is not None:
            yield f"{target.secret_file}: {short}"


def open_sink(target: WebhookTarget, context: SinkContext) -> WebhookSink:
    """Return the sink.

    Raises:
        TargetNotReadyError, UnusableTargetError, BadProxyError: see `WebhookSink`.
    """
    return WebhookSink(target, context)
