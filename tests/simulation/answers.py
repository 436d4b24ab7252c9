"""What stands in for aiohttp's sessions: answers as their clients read them, and the errors that aiohttp raises."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict
from yarl import URL

_KEY: Final = ConnectionKey("api.example", 443, True, True, None, None, None, None)
_REQUEST: Final[Any] = SimpleNamespace(real_url=URL("https://api.example/"), url=URL("https://api.example/"))
_ENDLESS_SECONDS: Final = 0.1
"""Between two pieces of a body that never ends."""


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _client_os_error(number: int) -> aiohttp.ClientOSError:
    return aiohttp.ClientOSError(number, os.strerror(number))


CONNECTION_ERRORS: Final[Mapping[str, Callable[[], Exception]]] = {
    "refused": lambda: aiohttp.ClientConnectorError(_KEY, _os_error(errno.ECONNREFUSED)),
    "unreachable": lambda: aiohttp.ClientConnectorError(_KEY, _os_error(errno.EHOSTUNREACH)),
    "not acknowledged": lambda: _client_os_error(errno.ETIMEDOUT),
    "slow to connect": lambda: aiohttp.ConnectionTimeoutError("Connection timeout to host https://api.example/"),
    "no such name": lambda: aiohttp.ClientConnectorDNSError(_KEY, socket.gaierror(socket.EAI_NONAME, "unknown")),
    "certificate": lambda: aiohttp.ClientConnectorCertificateError(_KEY, ssl.SSLCertVerificationError(1, "expired")),
    "TLS": lambda: aiohttp.ClientConnectorSSLError(_KEY, ssl.SSLError(1, "wrong version number")),
    "no proxy": lambda: aiohttp.ClientProxyConnectionError(_KEY, _os_error(errno.ECONNREFUSED)),
    "proxy refuses": lambda: aiohttp.ClientHttpProxyError(_REQUEST, (), status=503, message="Service Unavailable"),
    "disconnected": aiohttp.ServerDisconnectedError,
    "reset": lambda: _client_os_error(errno.ECONNRESET),
    "broken pipe": lambda: _client_os_error(errno.EPIPE),
    "network down": lambda: _os_error(errno.ENETDOWN),
    "not HTTP": lambda: aiohttp.ClientResponseError(_REQUEST, (), status=400, message="Bad status line"),
    "closed transport": lambda: RuntimeError("unable to perform operation on <TCPTransport closed=True>"),
    "no connection": AssertionError,
}
"""How a request may end before anything of it has arrived, and what aiohttp raises then."""


def connection_error(how: str) -> Exception:
    """Return the error of a request of which nothing arrives; `how` is one of `CONNECTION_ERRORS`."""
    return CONNECTION_ERRORS[how]()


class Answer(msgspec.Struct):
    """An answer, as a server sends it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    body_takes: float = 0.0
    """Seconds from its head to its body; infinite: the body never ends."""
    is_cut: bool = False
    """Whether the connection breaks in the middle of the body."""


async def pass_time(seconds: float, *, until: float) -> None:
    """Let so much time pass. `until` is in the loop's time.

    Raises:
        TimeoutError: at `until`, if that comes first, as by `aiohttp.ClientTimeout(total=…)`.
    """
    left = until - asyncio.get_running_loop().time()
    if seconds < left:
        await asyncio.sleep(seconds)
        return
    await asyncio.sleep(left)
    raise TimeoutError


class Response:
    """An answer whose head has come: the part of `aiohttp.ClientResponse` that the worker uses."""

    __slots__ = ("_answer", "_ended", "_left", "_until", "content_length", "headers", "status")

    def __init__(self, answer: Answer, *, until: float, ended: Callable[[str | None], None]) -> None:
        """`until`: the end of its time, in the loop's time. `ended` is called once, with what went wrong, or None."""
        self._answer = answer
        self._ended = ended
        self._left: bytes | None = answer.body
        self._until = until
        self.status = answer.status
        self.headers = CIMultiDict(answer.headers)
        self.content_length = None if math.isinf(answer.body_takes) else len(answer.body)

    @property
    def content(self) -> Response:
        """What reads the body piece by piece."""
        return self

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.iter_any()])

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces.

        Raises:
            TimeoutError, aiohttp.ClientPayloadError: it does not come to its end.
        """
        answer, body, self._left = self._answer, self._left, None
        if body is None:
            return
        try:
            while math.isinf(answer.body_takes):
                await pass_time(_ENDLESS_SECONDS, until=self._until)
                yield b" "
            if answer.is_cut:
                yield body[: len(body) // 2]
                raise aiohttp.ClientPayloadError("Response payload is not completed")
            if answer.body_takes:
                await pass_time(answer.body_takes, until=self._until)
        except (TimeoutError, aiohttp.ClientPayloadError) as error:
            self._ended(type(error).__name__)
            raise
        self._ended(None)
        if body:
            yield body

    def close(self) -> None:
        """Drop the rest of the body."""
        self._left = None
