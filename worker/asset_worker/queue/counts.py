"""What is counted about pending assets as they come and go, so that nobody has to visit a million of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

FIRST_LOOK = ("first look",)
"""What an asset waits for until it has been looked at."""


class WaitCounts:
    """The number of pending assets by what they wait for. One that waits for several counts for each."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def read(self) -> Mapping[str, int]:
        """Return the numbers as they are now, without those that are 0."""
        return {what: count for what, count in self._counts.items() if count}

    def add(self, waiting_on: tuple[str, ...], count: int = 1) -> None:
        """Count so many more assets that wait for this; fewer, if `count` is negative. Empty: for their first look."""
        counts = self._counts
        for what in waiting_on or FIRST_LOOK:
            counts[what] = counts.get(what, 0) + count

    def change(self, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        """Count one asset for what it waits for now, and no longer for what it waited for before."""
        if before != after:
            self.add(before, -1)
            self.add(after)


class Acceptance(msgspec.Struct, gc=False):
    """Assets that were accepted together. A million pending assets share few of them."""

    at: float
    """When, in steady time."""
    pending: int
    """How many of them are pending."""


class Acceptances:
    """The acceptances, in their order: the oldest one with a pending asset is known at once."""

    def __init__(self) -> None:
        self._in_order: deque[Acceptance] = deque()

    @property
    def oldest_at(self) -> float | None:
        """When the first of the pending assets was accepted, in steady time; None: nothing is pending."""
        return self._in_order[0].at if self._in_order else None

    def add(self, at: float, pending: int) -> Acceptance:
        """Add an acceptance of so many assets, at least one; it is the latest."""
        acceptance = Acceptance(at, pending)
        self._in_order.append(acceptance)
        return acceptance

    def restore(self, acceptances: Iterable[Acceptance]) -> None:
        """Take over acceptances in any order, each with at least one pending asset."""
        added = sorted(acceptances, key=lambda each: each.at)
        if added and self._in_order and added[0].at < self._in_order[-1].at:
            added = sorted([*self._in_order, *added], key=lambda each: each.at)
            self._in_order.clear()
        self._in_order.extend(added)

    def remove_one(self, acceptance: Acceptance) -> None:
        """Record that one of the assets is no longer pending."""
        acceptance.pending -= 1
        while self._in_order and not self._in_order[0].pending:
            self._in_order.popleft()
