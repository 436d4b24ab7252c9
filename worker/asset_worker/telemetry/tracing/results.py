"""What became of spans that were sent: values."""

from __future__ import annotations

import msgspec


class Sent(msgspec.Struct, frozen=True):
    """The collector has them."""

    rejected: int = 0
    """How many of them it did not take (a partial success)."""
    why: str = ""
    """What it says about these."""


class Refused(msgspec.Struct, frozen=True):
    """The collector takes none of them, and would not take them later either."""

    why: str


class Unavailable(msgspec.Struct, frozen=True):
    """The collector has not taken them, but may take them later."""

    why: str


Result = Sent | Refused | Unavailable
