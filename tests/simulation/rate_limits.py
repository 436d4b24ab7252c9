"""Rate limits that the server of a simulated world enforces, and how it tells of them."""

from __future__ import annotations

import math
from collections import deque
from email.utils import formatdate
from random import Random
from typing import Final, Literal

import msgspec

Told = Literal["vendor", "vendor, all", "vendor, no wait", "ietf", "seconds", "date", "nothing"]
"""How limits are told. `vendor`: `X-Ratelimit-*` of the window with the smallest share left, and `Retry-After` with a
429; `vendor, all`: of all windows, in lists; `vendor, no wait`: without `Retry-After`; `ietf`: `RateLimit` and
`RateLimit-Policy`; `seconds` and `date`: only `Retry-After`, with a 429; `nothing`: only the 429."""
TOLD: Final[tuple[Told, ...]] = ("vendor", "vendor, all", "vendor, no wait", "ietf", "seconds", "date", "nothing")

LONGEST_PAUSE: Final = 3_600.0
"""A client may try again after so many seconds, even if it was told to wait longer."""


class Window(msgspec.Struct, frozen=True):
    """So many requests in so many seconds."""

    requests: int
    seconds: float
    counting: Literal["fixed", "sliding", "bucket"] = "fixed"
    """`fixed`: windows begin at multiples of their length; `sliding`: any time of this length; `bucket`: one more
    request is allowed in each `seconds / requests`."""


class RateLimits(msgspec.Struct, frozen=True):
    """The limits that hold now."""

    windows: tuple[Window, ...]
    told: Told = "vendor"
    others: float = 0.0
    """Requests a second that other clients of the organisation send, on average."""
    only: Literal["retrieve", "list"] | None = None
    """The endpoint that is limited; None: all are, together."""


class Usage:
    """What is used of one window. Instants are seconds of the server's clock, which goes evenly."""

    def __init__(self, window: Window, now: float) -> None:
        self.window = window
        self._number = math.floor(now / window.seconds)
        self._used = 0.0
        self._as_of = now
        self._times: deque[tuple[float, int]] = deque()

    def remaining(self, now: float) -> int:
        """Return how many requests are allowed now."""
        self._settle(now)
        return max(0, math.floor(self.window.requests - self._used + 1e-9))

    def use(self, now: float, count: int = 1) -> None:
        """Count requests, as far as they are allowed."""
        if count := min(count, self.remaining(now)):
            self._used += count
            self._times.append((now, count))

    def resets_at(self, now: float) -> float:
        """Return when more will be allowed than now; of a window that is unused, its end if it began now."""
        window = self.window
        match window.counting:
            case "fixed":
                return (self._number + 1) * window.seconds
            case "sliding":
                return (self._times[0][0] if self._times else now) + window.seconds
            case "bucket":
                missing = self._used if self._used < 1 else self._used - math.floor(self._used - 1e-9)
                return now + missing * window.seconds / window.requests

    def _settle(self, now: float) -> None:
        window = self.window
        match window.counting:
            case "fixed":
                if (number := math.floor(now / window.seconds)) != self._number:
                    self._number, self._used = number, 0.0
                self._times.clear()
            case "sliding":
                while self._times and self._times[0][0] + window.seconds <= now:
                    self._used -= self._times.popleft()[1]
            case "bucket":
                self._used = max(0.0, self._used - (now - self._as_of) * window.requests / window.seconds)
                self._times.clear()
        self._as_of = now


class Charge(msgspec.Struct, frozen=True):
    """What a request is told of the limits."""

    is_allowed: bool
    remaining: tuple[int, ...]
    """Of each window, before it."""
    headers: dict[str, str]
    wait: float | None = None
    """Seconds for which the client is told to send nothing; None: it is not told to wait."""
    is_exact: bool = False
    """Whether they are told as seconds from the arrival of the answer on, and not as the instant of a reset."""
    by_clock: bool = False
    """Whether they are told by the server's clock, which the client only estimates."""


UNLIMITED: Final = Charge(True, (), {})


class Limiter:
    """Enforces `RateLimits`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.limits: RateLimits | None = None
        self._usages: list[Usage] = []
        self._others_at = 0.0

    def set(self, limits: RateLimits | None, now: float) -> None:
        """Let other limits hold from now on; None: none. What is used stays used in windows of the same length."""
        kept = {(each.window.seconds, each.window.counting): each for each in self._usages}
        self._usages = []
        for window in limits.windows if limits else ():
            usage = kept.pop((window.seconds, window.counting), None) or Usage(window, now)
            usage.window = window
            self._usages.append(usage)
        if self.limits is None:
            self._others_at = now
        self.limits = limits

    def use_up(self, now: float, *, leave: int = 0) -> None:
        """Let other clients use all that is left now, but for so many requests."""
        for usage in self._usages:
            usage.use(now, max(0, usage.remaining(now) - leave))

    def charge(self, endpoint: str, now: float, *, shown: float) -> Charge:
        """Count a request that arrives now. `shown` is what the clock shows that resets are told by."""
        limits = self.limits
        if limits is None or (limits.only is not None and endpoint != limits.only):
            return UNLIMITED
        self._let_others_send(limits, now)
        before = tuple(usage.remaining(now) for usage in self._usages)
        is_allowed = all(before)
        if is_allowed:
            for usage in self._usages:
                usage.use(now)
        left = [usage.remaining(now) for usage in self._usages]
        resets_in = [usage.resets_at(now) - now for usage in self._usages]
        return self._told(limits, before, left, resets_in, is_allowed=is_allowed, shown=shown)

    def _let_others_send(self, limits: RateLimits, now: float) -> None:
        expected, self._others_at = limits.others * (now - self._others_at), now
        if not expected:
            return
        whole = math.floor(expected)
        count = whole + (self._random.random() < expected - whole)
        for usage in self._usages:
            usage.use(now, count)

    def _told(
        self,
        limits: RateLimits,
        before: tuple[int, ...],
        left: list[int],
        resets_in: list[float],
        *,
        is_allowed: bool,
        shown: float,
    ) -> Charge:
        windows, places = limits.windows, list(range(len(left)))
        wait = max(1, math.ceil(max((resets_in[place] for place in places if not left[place]), default=0.0)))
        retry_after: dict[str, str] = {}
        if not is_allowed and limits.told in {"vendor", "vendor, all", "seconds"}:
            retry_after = {"Retry-After": str(wait)}
        elif not is_allowed and limits.told == "date":
            retry_after = {"Retry-After": formatdate(math.ceil(shown + wait), usegmt=True)}
        if limits.told in {"seconds", "date", "nothing"}:
            is_exact = limits.told == "seconds"
            return Charge(
                is_allowed, before, retry_after, wait if retry_after else None, is_exact=is_exact, by_clock=not is_exact
            )
        if limits.told in {"vendor", "vendor, no wait"}:
            places = [min(places, key=lambda place: left[place] / windows[place].requests)]
        if limits.told == "ietf":
            policies = (f'"{place}";q={windows[place].requests};w={windows[place].seconds:.0f}' for place in places)
            items = (f'"{place}";r={left[place]};t={math.ceil(resets_in[place])}' for place in places)
            headers = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(items)}
        else:
            fields = {
                "Limit": [windows[place].requests for place in places],
                "Remaining": [left[place] for place in places],
                "Used": [windows[place].requests - left[place] for place in places],
                "Reset": [math.ceil(shown + resets_in[place]) for place in places],
            }
            headers = {f"X-Ratelimit-{name}": ", ".join(map(str, values)) for name, values in fields.items()}
        if retry_after:
            return Charge(is_allowed, before, headers | retry_after, wait, is_exact=True)
        told = max((resets_in[place] for place in places if not left[place]), default=None)
        return Charge(is_allowed, before, headers, told, by_clock=limits.told != "ietf")
