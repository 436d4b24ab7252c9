"""What parts count about their work, for telemetry to read: plain values that cost little to keep."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

KeyT = TypeVar("KeyT", bound=Hashable)

LONG_SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 14_400)
"""Bounds for what lasts seconds to hours."""
SHORT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Bounds for what lasts milliseconds to seconds."""


class Distribution(msgspec.Struct, frozen=True):
    """The values observed so far, as they are now."""

    counts: tuple[int, ...]
    """How many lay in each bucket: up to the first bound, up to the second …, above the last."""
    sum: float
    bounds: tuple[float, ...]
    """The upper bounds of all buckets but the last, which has none."""

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)


class Histogram(Generic[KeyT]):
    """The distributions of a quantity, one for each key: a tuple of label values, for example."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper bounds of the buckets, in increasing order; a value on a bound is below it."""
        self.bounds = tuple(bounds)
        self._counts: dict[KeyT, list[int]] = {}
        self._sums: dict[KeyT, float] = {}

    def observe(self, key: KeyT, value: float) -> None:
        """Count one value."""
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * (len(self.bounds) + 1)
            self._sums[key] = 0.0
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[key] += value

    def read(self) -> Mapping[KeyT, Distribution]:
        """Return the distribution of each key that has a value, as it is now."""
        sums, bounds = self._sums, self.bounds
        return {key: Distribution(tuple(counts), sums[key], bounds) for key, counts in self._counts.items()}
