"""What parts count about their work, for telemetry to read: plain values that cost little to keep."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

KeyT = TypeVar("KeyT", bound=Hashable)

LONG_SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 14_400)
"""Bounds for what lasts seconds to hours."""
SHORT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Bounds for what lasts milliseconds to seconds."""

OTHER: Final = "other"
"""The value of a label for all that are one too many."""


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

    def __init__(self, bounds: Sequence[float], *, keys: Iterable[KeyT] = ()) -> None:
        """Begin without values.

        Args:
            bounds: the upper bounds of the buckets, in increasing order; a value on a bound is below it.
            keys: those that are shown before they have a value. `increase()` in Prometheus does not see the first value
                of a time series that begins with it.
        """
        self.bounds = tuple(bounds)
        self._counts = {key: self._none() for key in keys}
        self._sums = dict.fromkeys(self._counts, 0.0)

    def observe(self, key: KeyT, value: float) -> None:
        """Count one value."""
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = self._none()
            self._sums[key] = 0.0
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[key] += value

    def _none(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def read(self) -> Mapping[KeyT, Distribution]:
        """Return the distribution of each key that has a value or is shown without one, as it is now."""
        sums, bounds = self._sums, self.bounds
        return {key: Distribution(tuple(counts), sums[key], bounds) for key, counts in self._counts.items()}


class Operations:
    """Operations of one kind: how long they take, and when one succeeded last."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are those of the histogram."""
        self.durations = Histogram[tuple[()]](bounds, keys=[()])
        """Seconds that each of them took."""
        self.succeeded_at: float | None = None
        """When the last one succeeded, in seconds since the epoch, UTC, by the clock of that moment; None: none did."""

    @property
    def count(self) -> int:
        """How many have ended."""
        return sum(each.count for each in self.durations.read().values())


class Names:
    """Names from outside as values of a label: the first ones as they are, and all further ones as `other`."""

    def __init__(self, most: int) -> None:
        """`most` names are shown: each costs memory here, and time series in what scrapes them."""
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """Return the name, or `other` if it is one too many."""
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name
