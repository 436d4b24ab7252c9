"""Lookups that lead only to public addresses.

The check is on the very address that is connected to: with a check of its own before the request, a name could lead to
another address by the time of the connection (DNS rebinding). An address that the URL itself names is never looked up.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from asset_worker.sinks.webhook.addresses import is_loopback_address, is_public


class NotPublicError(OSError):
    """A name leads only to addresses that are not public. The message names one, and says what to do."""


class GuardedResolver(AbstractResolver):
    """A resolver that leaves out addresses that are not public. `localhost` may only lead to this machine."""

    def __init__(self, resolver: AbstractResolver) -> None:
        """`resolver` looks names up."""
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host that may be connected to.

        Raises:
            NotPublicError: it has addresses, but none of them may be connected to.
            OSError: it has no addresses, or the resolver fails.
        """
        found = await self._resolver.resolve(host, port, family)
        is_allowed = is_loopback_address if host == "localhost" else is_public
        allowed = [each for each in found if is_allowed(each["host"])]
        if found and not allowed:
            raise NotPublicError(_refusal(host, found[0]["host"]))
        return allowed

    async def close(self) -> None:
        """Close the resolver."""
        await self._resolver.close()


def _refusal(host: str, address: str) -> str:
    if host == "localhost":
        return f"localhost leads to {address}, which is not this machine: check /etc/hosts"
    return (
        f"{host} leads to {address}, which is not a public address: set allow_private = true in the table of this sink "
        "if that is intended"
    )
