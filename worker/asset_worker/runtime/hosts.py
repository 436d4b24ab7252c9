"""Which hosts are this machine, and which names no web page can have: pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

PRIVATE_SUFFIXES: Final = ("home.arpa", "internal", "local", "localhost", "svc", "test")
"""Domains in which nobody can register a public name: RFC 8375, ICANN's reservation of 2024 for private networks,
RFC 6762, RFC 6761 section 6.3; `svc` is Kubernetes' own; RFC 6761 section 6.2."""
_HOST = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<name>[a-z0-9_.-]+))(?::\d*)?")


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, is this machine (RFC 6890; RFC 6761, section 6.3)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def can_not_be_rebound(host: str, own_names: Collection[str] = ()) -> bool:
    """Return whether a `Host` header (RFC 9110, section 7.2) can't be that of a web page from elsewhere.

    In DNS rebinding, the owner of a public domain lets its name lead to this machine, and a page of that domain then
    reads what is served here; the browser sends that name as `Host`. So a public name is accepted only if it is one of
    `own_names`. An IP address, a name without a dot and one below `PRIVATE_SUFFIXES` can't be a public domain.
    """
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    if match["v6"] is not None:
        return _is_address(match["v6"])
    name = match["name"].removesuffix(".")
    return name != "" and (
        _is_address(name)
        or "." not in name
        or name.endswith(tuple(f".{suffix}" for suffix in PRIVATE_SUFFIXES))
        or name in {own.lower().removesuffix(".") for own in own_names}
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
