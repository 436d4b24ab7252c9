"""The protocol by which a service reports to systemd: datagrams of assignments such as `READY=1` (sd_notify(3)).

The environment says where to: NOTIFY_SOCKET, and for the watchdog WATCHDOG_USEC and WATCHDOG_PID
(sd_watchdog_enabled(3)). Without NOTIFY_SOCKET nobody listens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

_ABSTRACT: Final = "@"
"""Begins the name of a socket in the abstract namespace, where a zero byte stands in its place (unix(7))."""
_MICROSECONDS: Final = 1_000_000


class Notifier:
    """Sends reports to the service manager of this process."""

    def __init__(self, address: str, *, watchdog: float | None = None) -> None:
        """Open nothing yet. `address` is that of NOTIFY_SOCKET, `watchdog` what `watchdog_of` returns."""
        self._address = f"\0{address[1:]}" if address.startswith(_ABSTRACT) else address
        self.watchdog = watchdog
        """The service manager restarts a process that has not sent `WATCHDOG=1` for this many seconds; None: never."""

    def send(self, *assignments: str) -> None:
        """Send assignments in one datagram. It never waits for the manager, which may itself be stuck.

        Each is one line. A new socket each time: descriptors may be short, and the manager may have been started anew.

        Raises:
            OSError: it can't be sent now.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to_manager:
            to_manager.setblocking(False)
            to_manager.sendto("\n".join(assignments).encode(), self._address)


def take_notifier(environ: MutableMapping[str, str], *, pid: int | None = None) -> Notifier | None:
    """Return what reports to the service manager; None: none listens. `pid` is this process.

    What says so is removed from the environment: it is meant for this process, and not for those that it starts.
    """
    address, usec, meant_for = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
    if not address.startswith(("/", _ABSTRACT)):
        return None
    return Notifier(address, watchdog=watchdog_of(usec, meant_for, os.getpid() if pid is None else pid))


def watchdog_of(usec: str, meant_for: str, pid: int) -> float | None:
    """Return the seconds of WATCHDOG_USEC; None: it is not set, no number, or WATCHDOG_PID names another process."""
    if not usec.isdecimal() or int(usec) == 0 or meant_for not in {"", str(pid)}:
        return None
    return int(usec) / _MICROSECONDS


def microseconds(seconds: float) -> int:
    """Return seconds in microseconds, as the protocol counts time."""
    return round(seconds * _MICROSECONDS)
