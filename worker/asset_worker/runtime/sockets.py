"""The sockets of HTTP connections: the system finds out by itself when a connection is dead, where it can."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

PROBE_AFTER_SECONDS: Final = 10
PROBE_INTERVAL_SECONDS: Final = 5
PROBES: Final = 2
"""TCP keep-alive: a connection that is idle for this long is probed, so that a dead one is gone before its next use."""

AddressInfo = tuple[int, int, int, str, Any]
"""As `getaddrinfo` returns it: family, type, protocol, canonical name, address."""


def socket_maker(total_timeout: float) -> Callable[[AddressInfo], socket.socket]:
    """Return a function that makes the sockets of connections whose requests time out after `total_timeout` seconds."""
    options = socket_options(total_timeout)

    def make(address: AddressInfo) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        for level, name, value in options:
            # A sandbox may refuse an option; the timeout of the request remains.
            with suppress(OSError):
                made.setsockopt(level, name, value)
        return made

    return make


def socket_options(total_timeout: float) -> list[tuple[int, int, int]]:
    """Return level, name and value of the options that this system has.

    Data that is not acknowledged for half of `total_timeout` ends the connection (TCP_USER_TIMEOUT, RFC 5482), so that
    the other half is left for another.
    """
    named = {
        "TCP_KEEPIDLE": PROBE_AFTER_SECONDS,
        "TCP_KEEPALIVE": PROBE_AFTER_SECONDS,  # its name on macOS
        "TCP_KEEPINTVL": PROBE_INTERVAL_SECONDS,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": max(round(total_timeout / 2 * 1000), 1),  # milliseconds
    }
    present = [(getattr(socket, name, None), value) for name, value in named.items()]
    options = [(socket.IPPROTO_TCP, int(option), value) for option, value in present if option is not None]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *options]
