"""Looking up the API's address without keeping the process from ending.

A name server that doesn't answer holds a lookup for up to a minute. Both asyncio's executor and uvloop's thread pool
are waited for at the end of a process; a thread's thread is not.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from asset_worker.runtime.threads import WorkerThread

NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class ThreadResolver(AbstractResolver):
    """The system's own resolver (`getaddrinfo`), one lookup after the other: there is but one host."""

    def __init__(self, thread: WorkerThread) -> None:
        self._thread = thread

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            OSError: it has none, or the resolver fails.
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
        """A lookup that is under way is left to itself."""
        self._thread.close()


def _numeric(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """The host's part of an address; one of IPv6 that is of a single link has the link's number behind it."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else host
