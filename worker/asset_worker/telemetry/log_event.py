"""What is declared of a kind of log line."""

from __future__ import annotations

import msgspec


class LogEvent(msgspec.Struct, frozen=True):
    """One kind of log line."""

    name: str
    level: str
    """`debug`, `info`, `warning` or `error`; several, separated by commas, if it varies."""
    text: str
    """When it is logged, and what its fields mean."""
    fields: tuple[str, ...] = ()
    """Fields besides `event`, `level` and `timestamp`. Not every line has all of them."""
