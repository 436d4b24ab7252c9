"""Dates in HTTP headers: text in, seconds since the epoch out."""

from __future__ import annotations

from calendar import timegm
from contextlib import suppress
from email.utils import parsedate_tz
from functools import lru_cache


@lru_cache(maxsize=4)  # all answers of one second have the same
def parse_http_date(text: str) -> float | None:
    """Seconds since the epoch, UTC, for a date in any form of RFC 9110, section 5.6.7; None: it is no date."""
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        if (parsed := parsedate_tz(text)) is not None:
            return float(timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0))
    return None
