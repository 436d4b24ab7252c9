"""The simulator's clock: the one that it stamps answers and assets with, and that its lifecycles and limits run by."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class ServerClock:
    """Seconds since the epoch, UTC.

    It starts with the wall clock of this machine, `skew` seconds ahead, and runs evenly from then on: setting the wall
    clock does not change it. `time_scale` does not concern it either: that makes assets quicker, and not the server's
    clock, which the worker compares with its own.
    """

    def __init__(self, skew: float = 0.0) -> None:
        self._ahead = time.time() - time.monotonic() + skew

    def now(self) -> float:
        """Return the present instant."""
        return time.monotonic() + self._ahead


def written(instant: float) -> str:
    """Return seconds since the epoch as the API writes them: RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read(text: str) -> float:
    """Return an RFC 3339 instant in seconds since the epoch.

    Raises:
        ValueError: the text is not one.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC: end it with Z")
    return instant.timestamp()
