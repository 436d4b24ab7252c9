"""Instants as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = 64


def seconds_of(text: object) -> float | None:
    """Return the seconds since the epoch of an RFC 3339 date-time; None: it can't be read as one.

    A time without an offset is taken for UTC.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
