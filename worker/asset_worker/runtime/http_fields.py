"""Parses the values of HTTP header fields: numbers, dates, waits. Pure functions.

They come from servers, gateways and proxies of any age: what can't be read is None.
"""

from __future__ import annotations

import re
from calendar import timegm
from contextlib import suppress
from email.utils import parsedate_tz
from functools import lru_cache
from typing import Final

EARLIEST_EPOCH_SECONDS: Final = 10**9
EARLIEST_EPOCH_MILLISECONDS: Final = 10**12
"""A reset or a wait may be an instant or a delay, whatever its field: only its magnitude shows which."""

_NUMBER: Final = re.compile(r'\s*"?([+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?)"?\s*(?:;.*)?', re.ASCII)
_WAIT: Final = re.compile(r"\s*((?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\s*,)?[^,]+)", re.ASCII | re.IGNORECASE)
"""One value in a list of `Retry-After` values. Values are separated by commas, and a date has a comma of its own."""


def retry_after(text: str, server_now: float, *, longest: float) -> float | None:
    """Return the wait that `Retry-After` asks for, in seconds, at most `longest`; None: it can't be read.

    It is given as a delay or a date (RFC 9110, section 10.2.3), by some servers as seconds since the epoch.
    Of several, as when a gateway adds its own, the longest counts.
    """
    waits = [wait for item in _WAIT.findall(text) if (wait := _wait(item, server_now)) is not None]
    return min(max(*waits, 0.0), longest) if waits else None


def _wait(text: str, server_now: float) -> float | None:
    if (number := number_in(text)) is not None:
        return delay_of(number, server_now)
    instant = parse_http_date(text)
    return None if instant is None else instant - server_now


@lru_cache(maxsize=4)  # all answers of one second have the same date
def parse_http_date(text: str) -> float | None:
    """Return the seconds since the epoch, UTC, of a date in any form of RFC 9110, section 5.6.7; None: not a date."""
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        if (parsed := parsedate_tz(text)) is not None:
            return float(timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0))
    return None


def number_in(text: str) -> float | None:
    """Return the number at the beginning of a field's item, its parameters ignored; None: it holds none."""
    match = _NUMBER.fullmatch(text)
    return None if match is None else float(match[1])


def instant_of(number: float) -> float | None:
    """Return the instant that a number gives, in seconds since the epoch; None: it is too small for one."""
    if number < EARLIEST_EPOCH_SECONDS:
        return None
    return number / 1000 if number >= EARLIEST_EPOCH_MILLISECONDS else number


def delay_of(number: float, server_now: float) -> float:
    """Return the seconds until the instant that a number gives; the number itself if it is a delay."""
    instant = instant_of(number)
    return number if instant is None else instant - server_now
