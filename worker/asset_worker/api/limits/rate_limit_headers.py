"""Parses what an answer's headers report about rate limits into a value.

Three families are understood, and an answer may have several: the vendor's `X-Ratelimit-*`, the `RateLimit-*` fields of
the IETF's early drafts, and the structured `RateLimit` and `RateLimit-Policy` fields of the later ones
(draft-ietf-httpapi-ratelimit-headers-11, and the form of draft 7). Headers come from servers, gateways and proxies of
any age: what can't be read is ignored, and every value is limited to its bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from asset_worker.runtime.http_fields import delay_of, instant_of, number_in, parse_http_date, retry_after

LONGEST_RESET_SECONDS: Final = 86_400.0
LONGEST_RETRY_AFTER_SECONDS: Final = 3_600.0
"""Longer times are cut to these. One request is then sent, so that a wrong value can't stop the worker permanently."""

LATE_SECONDS: Final = 10.0
"""A reset that passed less than this ago is taken as one that was still ahead when the answer was sent."""

LONGEST_WAY_SECONDS: Final = 120.0
"""No answer arrives so long after its `Date`."""

SHORTEST_RESET_SECONDS: Final = 1e-3

UNLIMITED: Final = -1
"""The value that some gateways report as remaining, or as the limit, if there is no limit. Others count below zero once
a quota is overdrawn. If the two can't be distinguished, it means that there is no quota: a refusal corrects that
mistake, and nothing would correct the opposite one."""

MAX_REQUESTS: Final = 10**9
LONGEST_FIELD: Final = 2_048
MAX_QUOTAS: Final = 8

_FAMILIES: Final = ("x-ratelimit", "ratelimit")
_STRUCTURED: Final = frozenset({"ratelimit", "ratelimit-policy"})
_FIELDS: Final = frozenset(
    {"date", "retry-after"}
    | _STRUCTURED
    | {f"{family}-{part}" for family in _FAMILIES for part in ("limit", "remaining", "used", "reset")}
)
_ITEM: Final = re.compile(r'(?:[^",]|"[^"]*")+')
_PARAMETER: Final = re.compile(r';\s*([a-z*][a-z0-9_.*-]*)\s*=\s*("[^"]*"|[^;\s]+)', re.IGNORECASE)
_DRAFT_7: Final = re.compile(r"\b(limit|remaining|reset)\s*=\s*([0-9]+)", re.IGNORECASE)


class ReportedQuota(msgspec.Struct, frozen=True):
    """One quota: `remaining` of `limit` requests may be sent within the next `reset_in` seconds, more than 0."""

    name: str
    limit: int
    remaining: int
    reset_in: float
    window: float = 0.0
    """The length of the quota's window in seconds; 0: not reported."""
    is_rounded_down: bool = False
    """Whether the reset was reported as passed although much of the quota is spent. Such a server rounds resets down to
    whole seconds, and `reset_in` is the latest that the report can mean."""


class RateLimitReport(msgspec.Struct, frozen=True):
    """What one answer reports."""

    quotas: tuple[ReportedQuota, ...] = ()
    retry_after: float | None = None
    """The wait of `Retry-After`, in seconds; None: not reported."""

    @property
    def requested_wait(self) -> float | None:
        """Seconds that a refused client must wait: `Retry-After`, else until spent quotas reset; None: not reported."""
        if self.retry_after is not None:
            return self.retry_after
        resets = [quota.reset_in for quota in self.quotas if quota.remaining == 0]
        return min(max(resets), LONGEST_RETRY_AFTER_SECONDS) if resets else None


NOTHING_REPORTED: Final = RateLimitReport()


def parse_rate_limits(headers: Mapping[str, str], *, server_now: float) -> RateLimitReport:
    """Return what `headers` report; the case of their names doesn't matter.

    `server_now` is the time by the server's clock when they arrive, in seconds since the epoch, UTC.
    """
    fields: dict[str, str] = {}
    for name, value in headers.items():
        if (field := name.lower()) in _FIELDS:
            earlier = f"{fields[field]}, " if field in fields else ""
            fields[field] = f"{earlier}{value}"[:LONGEST_FIELD]
    date = fields.pop("date", None)
    if not fields:
        return NOTHING_REPORTED
    made_at = None if date is None else parse_http_date(date)
    if made_at is not None and abs(made_at - server_now) > LONGEST_WAY_SECONDS:
        made_at = None  # by another clock than that of the instants
    counted = (quota for family in _FAMILIES for quota in _counted(fields, family, made_at, server_now))
    quotas = (*_structured(fields, server_now), *counted)
    return RateLimitReport(
        quotas[:MAX_QUOTAS], retry_after(fields.get("retry-after", ""), server_now, longest=LONGEST_RETRY_AFTER_SECONDS)
    )


def _counted(
    fields: Mapping[str, str], family: str, made_at: float | None, server_now: float
) -> Iterator[ReportedQuota]:
    """Yield the quotas of the fields `-Limit`, `-Remaining`, `-Used` and `-Reset`.

    Lists in these fields hold several quotas, in the same order.
    """
    if f"{family}-reset" not in fields:
        return  # none is complete without it
    limits, remainings, useds, resets = (
        [number_in(item) for item in _ITEM.findall(fields.get(f"{family}-{part}", ""))]
        for part in ("limit", "remaining", "used", "reset")
    )
    for index, reset in enumerate(resets):
        limit, remaining, used = (_at(values, index) for values in (limits, remainings, useds))
        if limit is not None and used is not None and (remaining is None or remaining < 0 < used - limit):
            remaining = max(limit - used, 0.0)
        instant = None if reset is None else instant_of(reset)
        if instant is None:
            yield from _quota(f"{family}.{index}", limit, remaining, reset)
        else:
            when_made = math.inf if made_at is None else instant - made_at
            yield from _quota(f"{family}.{index}", limit, remaining, instant - server_now, when_made=when_made)


def _structured(fields: Mapping[str, str], server_now: float) -> Iterator[ReportedQuota]:
    """Yield the quotas of lists such as `RateLimit: "name";r=50;t=30` and `RateLimit-Policy: "name";q=100;w=60`."""
    if fields.keys().isdisjoint(_STRUCTURED):
        return
    text = fields.get("ratelimit", "")
    policies = dict(_items(fields.get("ratelimit-policy", "")))
    other_units = {name for name, policy in policies.items() if policy.get("qu", "requests") != "requests"}
    items = dict(_items(text))
    for name, item in items.items():
        policy = policies.get(name, {})
        window = number_in(policy.get("w", "")) or None
        limit, remaining, reset = (
            number_in(policy.get("q", "")),
            number_in(item.get("r", "")),
            number_in(item.get("t", "")),
        )
        reset = None if reset is None else delay_of(reset, server_now)
        if name not in other_units:
            yield from _quota(name, limit, remaining, window if reset is None else reset, window)
    for name in policies.keys() - items.keys() - other_units:
        # A policy without an item gives only a rate: its quota in its window, from now on.
        quota, window = number_in(policies[name].get("q", "")), number_in(policies[name].get("w", "")) or None
        yield from _quota(name, quota, quota, window, window)
    draft_7 = {name.lower(): float(value) for name, value in _DRAFT_7.findall(text)}
    reset = delay_of(draft_7["reset"], server_now) if "reset" in draft_7 else None
    yield from _quota("", draft_7.get("limit"), draft_7.get("remaining"), reset)


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for item in _ITEM.findall(text):
        name, _, _ = item.partition(";")
        yield name.strip(' "'), {key.lower(): value.strip('"') for key, value in _PARAMETER.findall(item)}


def _quota(
    name: str,
    limit: float | None,
    remaining: float | None,
    reset_in: float | None,
    window: float | None = None,
    *,
    when_made: float | None = None,
) -> Iterator[ReportedQuota]:
    """Yield the quota, if these values make one.

    `when_made` is what `reset_in` was when the answer was sent; None: the same.
    """
    if remaining is None or reset_in is None or (limit is not None and limit < 1):
        return
    if remaining < 0 and (limit is None or remaining == UNLIMITED):
        return
    reported_in = reset_in if when_made is None else when_made
    if reported_in <= -1 or reset_in <= -LATE_SECONDS:
        return
    left = int(min(max(remaining, 0), MAX_REQUESTS))
    most = left if limit is None else int(min(limit, MAX_REQUESTS))
    # A reset of 0 may be right for a bucket that fills continuously and is nearly full; not for a half-spent window.
    is_rounded_down = reported_in <= 0 and (left == 0 or left < most / 2)
    yield ReportedQuota(
        name,
        max(most, 1),
        left,
        min(max(reset_in + is_rounded_down, SHORTEST_RESET_SECONDS), LONGEST_RESET_SECONDS),
        min(max(window or 0.0, 0.0), LONGEST_RESET_SECONDS),
        is_rounded_down,
    )


def _at(values: list[float | None], index: int) -> float | None:
    return values[index] if index < len(values) else None
