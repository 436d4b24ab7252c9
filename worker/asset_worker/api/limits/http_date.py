"""Parses dates in HTTP headers into seconds since the epoch."""

from __future__ import annotations

from calendar import timegm
from contextlib import suppress
from email.utils import parsedate_tz
from functools import lru_cache


@lru_cache(maxsize=4)  # all answers of one second have the same date
def parse_http_date(text: str) -> float | None:
    """Return the seconds since the epoch, UTC, of a date in any form of RFC 9110, section 5.6.7; None: not a date."""
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        if (parsed := parsedate_tz(text)) is not None:
            return float(timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0))
    return None
