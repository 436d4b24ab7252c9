"""The last hour in samples, for plots: a ring of plain values, and what follows from two samples in a row. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

SAMPLE_SECONDS: Final = 30.0
"""How often a sample is taken."""
SAMPLES: Final = 121
"""An hour of intervals."""
HOUR: Final = SAMPLE_SECONDS * (SAMPLES - 1)
"""The time that the samples cover, in seconds."""


class Sample(msgspec.Struct, frozen=True):
    """The worker at one instant: what it has counted since its start."""

    at: float
    """Seconds, by a clock that never goes back."""
    pending: int = 0
    completions: int = 0
    requests: int = 0
    lags: tuple[int, ...] = ()
    """Detection lags: how many were in each bucket of a histogram. Empty: none was observed."""


class Interval(msgspec.Struct, frozen=True):
    """What happened between two samples in a row."""

    start: float
    end: float
    """Instants, as those of the samples."""
    pending: int
    """At the end."""
    completions: float
    requests: float
    """Per minute."""
    lag_p50: float | None
    lag_p95: float | None
    """Percentiles of the detection lag, in seconds; None: nothing was detected."""


class History:
    """The samples of the last hour."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)

    def add(self, sample: Sample) -> None:
        """Add a sample, which is newer than all others. The oldest makes room for it."""
        self._samples.append(sample)

    def until(self, now: Sample) -> tuple[Sample, ...]:
        """Return the samples of the last hour, the oldest first and `now` last.

        One that was taken just before is left out, unless it is the first: rates over a second or two would jump.
        """
        kept = [each for each in self._samples if now.at - HOUR <= each.at]
        if len(kept) > 1 and now.at - kept[-1].at < SAMPLE_SECONDS:
            del kept[-1]
        return (*kept, now)


def intervals(samples: Sequence[Sample], *, bounds: Sequence[float]) -> list[Interval]:
    """Return what happened between the samples. `bounds` are the upper bounds of the buckets of `lags`, in seconds."""
    return [_between(before, after, bounds) for before, after in pairwise(samples) if after.at > before.at]


def _between(before: Sample, after: Sample, bounds: Sequence[float]) -> Interval:
    minutes = (after.at - before.at) / 60
    earlier = before.lags or (0,) * len(after.lags)
    lags = [new - old for old, new in zip(earlier, after.lags, strict=True)]
    return Interval(
        before.at,
        after.at,
        after.pending,
        (after.completions - before.completions) / minutes,
        (after.requests - before.requests) / minutes,
        quantile(0.5, lags, bounds),
        quantile(0.95, lags, bounds),
    )


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """Return the value below which this share of the values lies, interpolated within its bucket; None: no values.

    That of a value above the last bound is the last bound: a histogram does not say more.
    """
    total = sum(counts)
    if total == 0:
        return None
    wanted, below = share * total, 0
    edges = [0.0, *bounds, bounds[-1]]
    for (low, high), count in zip(pairwise(edges), counts, strict=True):
        if count and below + count >= wanted:
            return low + (high - low) * (wanted - below) / count
        below += count
    return edges[-1]
