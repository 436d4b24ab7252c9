"""What the control endpoints accept: requests of this machine's own programs, with bodies of a sensible size."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from asset_worker.simulator.clock import read
from asset_worker.simulator.lifecycles import KINDS, Kind

MOST_ASSETS_AT_ONCE: Final = 100_000
MOST_ASSETS: Final = 1_000_000
"""Assets that there may be, if they are made by the control endpoints or by `--assets`: about a gigabyte of memory."""
BODY_BYTES: Final = 64 << 10
OLDEST: Final = 1e9
"""Seconds, some thirty years."""

T = TypeVar("T")


class NewAssets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order of assets."""

    count: Annotated[int, msgspec.Meta(ge=0, le=MOST_ASSETS_AT_ONCE)] = 1
    kind: str | None = None
    """None: each of a random kind."""
    age: Annotated[float, msgspec.Meta(ge=0, le=OLDEST)] = 0.0
    """Seconds since the creation of the first one."""
    spread: Annotated[float, msgspec.Meta(ge=0, le=OLDEST)] = 0.0
    """Seconds from the creation of the first one to that of the last; the others are in between, at even distances."""
    created_at: str | None = None
    """What all of them say of their creation: RFC 3339. None: the truth."""
    visible_after: Annotated[float, msgspec.Meta(ge=0, le=OLDEST)] | None = None
    """Simulated seconds from the creation of each until it is visible. None: most are at once."""

    def ages(self) -> Iterator[float]:
        """Yield the age of each asset, in seconds, the oldest first.

        Raises:
            ValueError: the last would be created in the future.
        """
        if self.spread > self.age:
            raise ValueError("spread: at most the age")
        return (self.age - self.spread * number / max(1, self.count - 1) for number in range(self.count))

    def chosen_created_at(self) -> float | None:
        """Return `created_at` in seconds since the epoch.

        Raises:
            ValueError: it is not an instant.
        """
        try:
            return None if self.created_at is None else read(self.created_at)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"created_at: {error}") from error

    def chosen_kind(self) -> Kind | None:
        """Return the kind.

        Raises:
            ValueError: there is no such kind.
        """
        if self.kind is None:
            return None
        if self.kind not in KINDS:
            raise ValueError(f"kind: one of {', '.join(KINDS)}")
        return KINDS[self.kind]


def refusal(host: str, origin: str | None) -> str | None:
    """Return why a request is refused that may come from a web page; None: it is not.

    A page of another origin may send requests to this machine through the browser of whoever looks at it: then `Origin`
    names that page. In DNS rebinding its own name leads to this machine: then `Host` is that name.
    """
    if not _is_local(host):
        return f"the host must be localhost or an IP address, and not {host!r}"
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return f"pages of {origin!r} may not control the simulator"
    return None


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        return bool(ip_address(name))
    except ValueError:
        return False


async def body_of(request: web.Request, kind: type[T] | Any, *, default: bytes = b"") -> T:
    """Return the JSON body of a request; `default` stands for an empty one.

    Raises:
        ValueError: it is not JSON of this kind.
        HTTPRequestEntityTooLarge: it has more than `BODY_BYTES`.
    """
    body = await request.clone(client_max_size=BODY_BYTES).read()
    found: T = msgspec.json.decode(body or default, type=kind)
    return found
