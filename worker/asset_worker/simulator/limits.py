"""The simulator's rate limit: a fixed window, reported in one of the ways that servers use."""

from __future__ import annotations

import math
import re
from email.utils import formatdate
from enum import StrEnum
from typing import Final

import msgspec

MESSAGE: Final = (
    "You have exceeded the rate limit ({limit} requests in {window:g} s). Please try again later after {at}."
)

LONGEST_WINDOW: Final = 1e9
"""Seconds, some thirty years: the end of a longer one could not be written as a date."""


class Style(StrEnum):
    """How the limit is reported."""

    VENDOR = "vendor"
    """`X-Ratelimit-*` with every answer, and `Retry-After` with a 429."""
    RETRY_AFTER = "retry-after"
    """Only `Retry-After`, in seconds, with a 429 (RFC 9110 §10.2.3)."""
    RETRY_AFTER_DATE = "retry-after-date"
    """The same, as a date."""
    IETF = "ietf"
    """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) with every answer."""
    NONE = "none"
    """Nothing but the 429."""


class Limit(msgspec.Struct, frozen=True):
    """A number of requests in each window of time."""

    requests: int
    window: float = 60.0
    """Seconds."""
    style: Style = Style.VENDOR

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Return the limit that a text such as `60/60` or `60/60:ietf` describes.

        Raises:
            ValueError: the text is not a limit.
        """
        match = re.fullmatch(r"(\d+)/(\d+(?:\.\d+)?)(?::([a-z-]+))?", text)
        if match is None or not int(match[1]) or not float(match[2]):
            raise ValueError(f"{text!r} is not a limit: write REQUESTS/SECONDS[:STYLE], as in 60/60:vendor")
        if float(match[2]) > LONGEST_WINDOW:
            raise ValueError(f"{text!r} is not a limit: its window has at most {LONGEST_WINDOW:.0f} seconds")
        if match[3] is not None and match[3] not in set(Style):
            raise ValueError(f"{match[3]!r} is not a style: use one of {', '.join(Style)}")
        return cls(int(match[1]), float(match[2]), Style(match[3] or Style.VENDOR))


class Answer(msgspec.Struct, frozen=True):
    """Whether a request is within the limit, and what the response says about that."""

    allowed: bool
    headers: dict[str, str]
    message: str = ""
    """The body's message, for a request that is refused."""


class Window:
    """Counts the requests in the current window. Times are seconds since the epoch, UTC."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._number = -1
        self._used = 0

    def charge(self, now: float) -> Answer:
        """Count one request, unless it is refused. Return whether it is allowed, with the headers to send."""
        limit = self.limit
        number = int(now // limit.window)
        if number != self._number:
            self._number, self._used = number, 0
        allowed = self._used < limit.requests
        self._used += allowed
        resets_at = (number + 1) * limit.window
        message = "" if allowed else MESSAGE.format(limit=limit.requests, window=limit.window, at=formatdate(resets_at))
        return Answer(allowed, self._headers(now, resets_at, allowed=allowed), message)

    def _headers(self, now: float, resets_at: float, *, allowed: bool) -> dict[str, str]:
        limit, left = self.limit, max(0, self.limit.requests - self._used)
        wait = math.ceil(resets_at - now)
        match limit.style:
            case Style.VENDOR:
                headers = {
                    "X-Ratelimit-Limit": str(limit.requests),
                    "X-Ratelimit-Remaining": str(left),
                    "X-Ratelimit-Used": str(self._used),
                    "X-Ratelimit-Reset": str(math.ceil(resets_at)),
                }
                return headers if allowed else {**headers, "Retry-After": str(wait)}
            case Style.IETF:
                return {
                    "RateLimit-Policy": f'"default";q={limit.requests};w={math.ceil(limit.window)}',
                    "RateLimit": f'"default";r={left};t={wait}',
                }
            case Style.RETRY_AFTER if not allowed:
                return {"Retry-After": str(wait)}
            case Style.RETRY_AFTER_DATE if not allowed:
                return {"Retry-After": formatdate(math.ceil(resets_at), usegmt=True)}
            case _:
                return {}
