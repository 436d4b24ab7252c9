"""DNS lookups that don't keep the process from ending.

A name server that doesn't answer blocks a lookup for up to a minute. At its end, a process waits for asyncio's executor
and for uvloop's thread pool, but not for a daemon thread.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from asset_worker.runtime.threads import WorkerThread

NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class ThreadResolver(AbstractResolver):
    """The system's resolver (`getaddrinfo`), one lookup at a time: that is enough for one host."""

    def __init__(self, thread: WorkerThread) -> None:
        self._thread = thread

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: the host has none, or the resolver fails.
        """
        found = await self._thread.run(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host, host=_numeric(address), port=port, family=kind, proto=protocol, flags=int(NUMERIC)
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Accept no more lookups. A lookup in progress is not waited for."""
        self._thread.close()


def _numeric(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """Return the host of an address as text; for a link-local IPv6 address with its zone (RFC 4007, section 11)."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else host
