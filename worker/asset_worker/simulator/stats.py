"""What the simulator counts of the requests that it gets."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

UNKNOWN_PATHS_LIMIT: Final = 100
"""How many requests to unknown paths are recorded."""


class Stats:
    """Statistics of the requests so far."""

    def __init__(self) -> None:
        self.requests = 0
        self.by_route: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.looks: Counter[str] = Counter()
        """Answers about each asset by its ID, single or in a list."""
        self.first_looks: dict[str, float] = {}
        """When each asset was first in an answer, in seconds of the server's clock."""
        self.pages: Counter[int] = Counter()
        """Answers to lists of all assets, by their page."""
        self.times = array("d")
        """When each request came, in seconds on the event loop's clock."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.unknown_paths: list[str] = []
        """Requests (method and path) that the API has no endpoint for."""

    @contextmanager
    def one_in_flight(self) -> Iterator[None]:
        """Count one request, which is in flight inside the block."""
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def count_looks(self, asset_ids: Iterable[str], now: float) -> None:
        """Count an answer about these assets; `now` is in seconds of the server's clock."""
        for asset_id in asset_ids:
            self.looks[asset_id] += 1
            self.first_looks.setdefault(asset_id, now)

    def report(self) -> dict[str, Any]:
        """Return the counts as `/_simulator/stats` shows them, ready for JSON."""
        return {
            "requests": self.requests,
            "by_route": dict(self.by_route),
            "pages": {"first": self.pages[1], "later": self.pages.total() - self.pages[1]},
            "by_status": {str(status): count for status, count in self.by_status.items()},
            "by_fault": dict(self.by_fault),
            "most_in_flight": self.most_in_flight,
            "strays": self.unknown_paths,
        }
