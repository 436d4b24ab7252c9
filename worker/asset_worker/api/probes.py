"""Which waiting attempt is the next probe while the breaker is open: pure functions of values.

A probe at an asset that always fails says nothing about the API. So a probe prefers

1. an asset that was answered lately,
2. an asset that was not tried since the breaker opened: first those that never failed,
3. the others in turn: the one tried longest ago.

Never is the same asset tried twice running while another one waits. Probes go out at growing intervals. Besides, one
that may well succeed (it was never tried since the breaker opened, and its latest attempt did not fail) goes out every
`FRESH_SECONDS`, so that a new asset does not wait for the next of the long intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from asset_worker.api.subjects import Memory

FRESH_SECONDS: Final = 5.0


class Candidate(msgspec.Struct, frozen=True):
    """A waiting attempt."""

    key: str
    """Its subject."""
    memory: Memory
    tried_at: float | None
    """When its subject was last tried since the breaker opened, in monotonic seconds; None: never."""

    @property
    def is_fresh(self) -> bool:
        """Whether it may well succeed."""
        return self.tried_at is None and not self.memory.has_failed


class Choice(msgspec.Struct, frozen=True):
    """The next probe."""

    place: int
    """Its place among the candidates."""
    at: float
    """When it may go out, in monotonic seconds."""


def next_probe(candidates: Sequence[Candidate], *, last: str | None, probe_at: float, fresh_at: float) -> Choice:
    """Return which of the candidates, in the order of their arrival, goes out next, and when.

    Args:
        candidates: at least one.
        last: the subject of the probe before; None: there was none.
        probe_at: when the next probe is due.
        fresh_at: when a fresh one may go out besides.
    """
    best = min(range(len(candidates)), key=lambda place: _rank(candidates[place], last))
    fresh = [place for place, each in enumerate(candidates) if each.is_fresh]
    if fresh and fresh_at < probe_at:
        return Choice(min(fresh, key=lambda place: _rank(candidates[place], last)), fresh_at)
    return Choice(best, probe_at)


def too_many(candidates: Sequence[Candidate], *, last: str | None, kept: int) -> list[int]:
    """Return the places of those that need not wait: all that are not fresh, except the `kept` best of them."""
    stale = [place for place, each in enumerate(candidates) if not each.is_fresh]
    return sorted(stale, key=lambda place: _rank(candidates[place], last))[kept:]


def _rank(candidate: Candidate, last: str | None) -> tuple[bool, int, float]:
    """Return what candidates are ordered by, the best first."""
    if candidate.memory.is_answered_lately:
        kind = 0
    elif candidate.tried_at is None:
        kind = 2 if candidate.memory.has_failed else 1
    else:
        kind = 3
    return candidate.key == last, kind, -math.inf if candidate.tried_at is None else candidate.tried_at
