"""What a delivery counts about its attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Final

from asset_worker.runtime.measures import SHORT_SECONDS, Operations


class Result(Enum):
    """What became of events and attempts. The values are public, as those of a label."""

    DELIVERED = "delivered"
    """An event that the sink accepted."""
    FAILED = "failed"
    """An attempt that failed: of one event, or of several that an ordered sink is sent together."""
    DEAD_LETTER = "dead_letter"
    """An event that the sink accepted in no attempt."""
    SUPERSEDED = "superseded"
    """A transition that failed, and was dropped for the completion of its asset."""


OF_ORDERED: Final = (Result.DELIVERED, Result.FAILED)
"""The results that an ordered sink can have; an independent one has all."""


class Attempts:
    """The attempts of one delivery since the start."""

    def __init__(self, results: tuple[Result, ...] = tuple(Result)) -> None:
        """`results` are shown from the start, as 0."""
        self._counts = Counter({each.value: 0 for each in results})
        self.made = Operations(SHORT_SECONDS)
        """How long the attempts took, failed ones included."""

    @property
    def results(self) -> Mapping[str, int]:
        """How often there was each result."""
        return self._counts

    def add(self, result: Result, count: int = 1) -> None:
        """Count a result."""
        self._counts[result.value] += count
