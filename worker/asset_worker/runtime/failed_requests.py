"""Says in plain words why a request got no answer. It looks at errors of the HTTP client; it does no I/O."""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

import aiohttp

_RESETS: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


def failure_text(error: BaseException, *, host: str) -> str | None:
    """Return why a request to `host` got no answer, for people; None: it is no error that a connection has.

    It shows nothing of the URL but the host.
    """
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} can't be resolved ({_text_of(error.os_error)})"
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {host} can't be trusted ({_certificate_problem(error.certificate_error)})"
        case aiohttp.ClientConnectorSSLError():
            return f"TLS with {host} fails ({_text_of(error.os_error)})"
        case aiohttp.ServerFingerprintMismatch():
            return f"TLS with {host} fails ({_text_of(error)})"
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy can't be connected to ({_text_of(error.os_error)})"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses the connection (HTTP {error.status})"
        case aiohttp.ClientConnectorError():
            return f"{host} can't be connected to ({_text_of(error.os_error)})"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer was cut off"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP, or its head is too long"
        case OSError() if error.errno in _RESETS or isinstance(error, ConnectionResetError):
            return "the connection was reset"
        case OSError():
            return f"the connection to {host} failed ({_text_of(error)})"
        case _:
            return None


def _text_of(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        # Only errors that the ssl module itself makes have a reason. The number of none of them is the system's.
        reason = getattr(error, "reason", None) or error.strerror
        return str(reason).replace("_", " ").lower() if reason else type(error).__name__
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _certificate_problem(error: BaseException) -> str:
    return str(getattr(error, "verify_message", "") or type(error).__name__)
