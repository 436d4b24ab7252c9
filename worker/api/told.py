"""What a response's headers tell about request limits: text in, a value out.

Three families are understood, and all that a response holds are reported: the vendor's `X-Ratelimit-*`, the
`RateLimit-*` fields of the IETF's early drafts, and the structured `RateLimit` and `RateLimit-Policy` fields of the
later ones (draft-ietf-httpapi-ratelimit-headers-11; the form of draft 7 too). Headers come from servers, gateways and
proxies of every age: what can't be read is ignored, and no value is believed beyond its bounds.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_tz
from typing import Final

import msgspec

LONGEST_RESET_SECONDS: Final = 86_400.0
LONGEST_RETRY_AFTER_SECONDS: Final = 3_600.0
"""Longer waits are cut to these: then one request asks again, so that a wrong value can't stop the worker for good."""

AGREEING_SECONDS: Final = 2.0
"""A server's `Date` that is less than this behind our clock is that of the same second, and its way to us."""

MOST_REQUESTS: Final = 10**9
LONGEST_FIELD: Final = 2_048
MOST_QUOTAS: Final = 8

EARLIEST_EPOCH_SECONDS: Final = 10**9
EARLIEST_EPOCH_MILLISECONDS: Final = 10**12
"""Resets are told as an instant or as a delay, in whatever field: only the magnitude says which."""

_FAMILIES: Final = ("x-ratelimit", "ratelimit")
_FIELDS: Final = frozenset(
    {"date", "retry-after", "ratelimit", "ratelimit-policy"}
    | {f"{family}-{part}" for family in _FAMILIES for part in ("limit", "remaining", "used", "reset")}
)
_NUMBER: Final = re.compile(r'\s*"?([+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?)"?\s*(?:;.*)?', re.ASCII)
_ITEM: Final = re.compile(r'(?:[^",]|"[^"]*")+')
_PARAMETER: Final = re.compile(r';\s*([a-z*][a-z0-9_.*-]*)\s*=\s*("[^"]*"|[^;\s]+)', re.IGNORECASE)
_DRAFT_7: Final = re.compile(r"\b(limit|remaining|reset)\s*=\s*([0-9]+)", re.IGNORECASE)


class ToldQuota(msgspec.Struct, frozen=True):
    """One quota: `remaining` of `limit` requests may be sent within the next `reset_in` seconds (more than 0)."""

    name: str
    limit: int
    remaining: int
    reset_in: float
    window: float = 0.0
    """The length of the quota's window in seconds; 0 where it is not told."""


class Told(msgspec.Struct, frozen=True):
    """What one response told."""

    quotas: tuple[ToldQuota, ...] = ()
    retry_after: float | None = None
    """The wait of `Retry-After`, in seconds."""

    @property
    def wait(self) -> float | None:
        """How long a refused client is asked to wait, in seconds: `Retry-After`, else until the spent quotas' reset."""
        if self.retry_after is not None:
            return self.retry_after
        return max((quota.reset_in for quota in self.quotas if quota.remaining == 0), default=None)


NOTHING: Final = Told()


def told(headers: Mapping[str, str], *, wall_now: float) -> Told:
    """What `headers` tell; their names may be of any case. `wall_now` is seconds since the epoch, at their arrival."""
    fields: dict[str, str] = {}
    for name, value in headers.items():
        if (field := name.lower()) in _FIELDS:
            earlier = f"{fields[field]}, " if field in fields else ""
            fields[field] = f"{earlier}{value}"[:LONGEST_FIELD]
    date = fields.pop("date", None)
    if not fields:
        return NOTHING
    server_now = _server_now(date, wall_now)
    quotas = [*_structured(fields), *(quota for family in _FAMILIES for quota in _counted(fields, family, server_now))]
    return Told(tuple(quotas[:MOST_QUOTAS]), _retry_after(fields.get("retry-after"), server_now))


def _server_now(date: str | None, wall_now: float) -> float:
    """The server's clock. `Date` has whole seconds: where our own clock agrees with it, it knows the fraction."""
    told_date = None if date is None else _http_date(date)
    if told_date is None:
        return wall_now
    return min(wall_now, told_date + 1) if told_date <= wall_now <= told_date + AGREEING_SECONDS else told_date


def _retry_after(text: str | None, server_now: float) -> float | None:
    """RFC 9110, section 10.2.3: a delay in seconds or a date."""
    if text is None:
        return None
    wait = _number(text)
    if wait is None and (instant := _http_date(text)) is not None:
        wait = instant - server_now
    return None if wait is None else min(max(wait, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _counted(fields: Mapping[str, str], family: str, server_now: float) -> Iterator[ToldQuota]:
    """`-Limit`, `-Remaining`, `-Used` and `-Reset`; lists in them are of several quotas, in the same order."""
    limits, remainings, useds, resets = (
        [_number(item) for item in _ITEM.findall(fields.get(f"{family}-{part}", ""))]
        for part in ("limit", "remaining", "used", "reset")
    )
    for index, reset in enumerate(resets):
        limit, remaining, used = (_at(values, index) for values in (limits, remainings, useds))
        if remaining is None and limit is not None and used is not None:
            remaining = limit - used
        if reset is not None:
            yield from _quota(f"{family}.{index}", limit, remaining, _reset_in(reset, server_now))


def _structured(fields: Mapping[str, str]) -> Iterator[ToldQuota]:
    """`RateLimit: "name";r=50;t=30` and `RateLimit-Policy: "name";q=100;w=60`, lists of such items."""
    text = fields.get("ratelimit", "")
    policies = dict(_items(fields.get("ratelimit-policy", "")))
    other_units = {name for name, policy in policies.items() if policy.get("qu", "requests") != "requests"}
    items = dict(_items(text))
    for name, item in items.items():
        policy = policies.get(name, {})
        window = _number(policy.get("w", "")) or 0.0
        limit, remaining, reset = _number(policy.get("q", "")), _number(item.get("r", "")), _number(item.get("t", ""))
        if name not in other_units:
            yield from _quota(name, limit, remaining, window if reset is None else reset, window)
    for name in policies.keys() - items.keys() - other_units:
        # A policy alone tells no more than a rate: its quota over its window, from now on.
        quota, window = _number(policies[name].get("q", "")), _number(policies[name].get("w", "")) or 0.0
        yield from _quota(name, quota, quota, window, window)
    draft_7 = {name.lower(): float(value) for name, value in _DRAFT_7.findall(text)}
    yield from _quota("", draft_7.get("limit"), draft_7.get("remaining"), draft_7.get("reset", 0.0))


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for item in _ITEM.findall(text):
        name, _, _ = item.partition(";")
        yield name.strip(' "'), {key.lower(): value.strip('"') for key, value in _PARAMETER.findall(item)}


def _quota(
    name: str, limit: float | None, remaining: float | None, reset_in: float, window: float = 0.0
) -> Iterator[ToldQuota]:
    """The quota, where these make one: a reset that has passed, or a limit of nothing, tells nothing."""
    if remaining is None or reset_in <= 0 or (limit is not None and limit < 1):
        return
    left = int(min(max(remaining, 0), MOST_REQUESTS))
    most = left if limit is None else int(min(limit, MOST_REQUESTS))
    yield ToldQuota(
        name, max(most, 1), left, min(reset_in, LONGEST_RESET_SECONDS), min(max(window, 0.0), LONGEST_RESET_SECONDS)
    )


def _reset_in(reset: float, server_now: float) -> float:
    if reset >= EARLIEST_EPOCH_MILLISECONDS:
        reset /= 1000
    return reset - server_now if reset >= EARLIEST_EPOCH_SECONDS else reset


def _number(text: str) -> float | None:
    match = _NUMBER.fullmatch(text)
    return None if match is None else float(match[1])


def _at(values: list[float | None], index: int) -> float | None:
    return values[index] if index < len(values) else None


def _http_date(text: str) -> float | None:
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        if (parsed := parsedate_tz(text)) is not None:
            return float(timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0))
    return None
