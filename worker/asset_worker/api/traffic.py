"""What the gate counts about the attempts that it lets through: arithmetic, without a clock."""

from __future__ import annotations

from typing import Final

from asset_worker.api.responses import Verdict
from asset_worker.api.subjects import Endpoint
from asset_worker.runtime.measures import OTHER, SHORT_SECONDS, Histogram, Names

NO_ANSWER: Final = "none"
"""In place of a status: no answer came, or the attempt was cancelled before."""
MOST_STATUSES: Final = 30
"""So many different statuses are shown. APIs and gateways use a dozen."""


class Traffic:
    """The attempts since the start."""

    def __init__(self) -> None:
        self.sent = 0
        """Attempts sent."""
        self.refused = 0
        """Attempts refused with 429."""
        self.in_flight = 0
        """Attempts that are being made now."""
        self.ended: dict[tuple[str, str], int] = {}
        """Attempts that have ended, by endpoint and status."""
        self.durations = Histogram[tuple[str, str]](SHORT_SECONDS)
        """Seconds from sending to the end of the answer's body, by endpoint and class of the status."""
        self.succeeded_at: float | None = None
        """When the API last answered, in seconds since the epoch, UTC; None: it has not. Refusals are no answers."""
        self._statuses = Names(MOST_STATUSES)
        self._labels: dict[tuple[str, int | None], tuple[tuple[str, str], tuple[str, str]]] = {}
        """The labels of each endpoint and status: with the status, and with its class."""

    def begin(self) -> None:
        """Count an attempt that is sent."""
        self.sent += 1
        self.in_flight += 1

    def end(self, endpoint: Endpoint, status: int | None, verdict: Verdict, *, seconds: float, wall: float) -> None:
        """Count the end of an attempt. `status` is that of its answer; `wall` is now, since the epoch, UTC."""
        self.in_flight -= 1
        exact, by_class = self._labels.get((endpoint.value, status)) or self._labels_of(endpoint.value, status)
        self.ended[exact] = self.ended.get(exact, 0) + 1
        self.durations.observe(by_class, seconds)
        if verdict is Verdict.SUCCEEDED:
            self.succeeded_at = wall

    def _labels_of(self, endpoint: str, status: int | None) -> tuple[tuple[str, str], tuple[str, str]]:
        exact = NO_ANSWER if status is None else self._statuses.of(str(status))
        labels = (endpoint, exact), (endpoint, class_of(status))
        if exact != OTHER:
            self._labels[endpoint, status] = labels
        return labels


def class_of(status: int | None) -> str:
    """Return the class of a status, such as `2xx` (RFC 9110, section 15). It is 5xx if it is in none of them."""
    if status is None:
        return NO_ANSWER
    return f"{status // 100}xx" if 100 <= status < 600 else "5xx"
