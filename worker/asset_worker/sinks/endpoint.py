"""What the answers to several events say about the receiver of an independent sink as a whole: pure.

A receiver that fails for one event fails for that event alone, and its retry plan decides. One that fails many times in
a row, for several events, is *down*: then one event at a time is sent as a probe, so that neither the receiver nor the
attempts of the events are used up. One that answers 410 is *paused*: it gets nothing until somebody resumes it.
All instants are in steady time.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asset_worker.domain.deliveries import Condition
from asset_worker.sinks.ports import Attempt, Delivered, Failed, Gone

FAILURES_TO_DOWN: Final = 10
"""Failures in a row, of at least two events, after which a receiver is down."""
FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 60.0
"""The delay from one probe to the next doubles from the one to the other. `Retry-After` is obeyed up to the longest."""


class Endpoint(msgspec.Struct, frozen=True):
    """The receiver, as the latest attempts show it."""

    failures: int = 0
    """Failures in a row."""
    first_failed: int | None = None
    """The position of the event whose failure was the first in the row."""
    is_of_several: bool = False
    """Whether the failures in the row are those of several events."""
    since: float = 0.0
    """When the row of failures began, or the pause. Of no meaning while there is neither."""
    error: str = ""
    """The latest failure."""
    probe_at: float | None = None
    """When the next probe is due; None: the receiver is not down."""
    probe_delay: float = FIRST_PROBE_SECONDS
    """Seconds from the last probe to the next."""
    is_paused: bool = False
    was_down: bool = False
    """Whether it was down when it was paused."""

    @property
    def is_down(self) -> bool:
        """Whether the receiver is sent nothing but probes."""
        return self.probe_at is not None

    @property
    def condition(self) -> Condition | None:
        """What is wrong with the receiver as a whole; None: nothing."""
        if self.is_paused:
            return Condition("paused", self.since, self.error)
        return Condition("down", self.since, self.error) if self.is_down else None

    def slots(self, *, in_flight: int, concurrency: int, now: float) -> int:
        """Return how many more events may be sent now, while `in_flight` are on their way."""
        if self.is_paused:
            return 0
        if self.probe_at is None:
            return max(0, concurrency - in_flight)
        return 1 if not in_flight and now >= self.probe_at else 0

    def resumed(self, now: float) -> Endpoint:
        """Return the receiver after somebody said that it works again: if it was down, a probe is due `now`."""
        if not self.is_down and not self.was_down:
            return UP if self.is_paused else self
        return msgspec.structs.replace(
            self, is_paused=False, was_down=False, probe_at=now, probe_delay=FIRST_PROBE_SECONDS
        )

    def after(self, result: Attempt, *, position: int, now: float, is_transition: bool = False) -> Endpoint:
        """Return the receiver as it is after one more attempt, at the event at `position`, has ended `now`.

        A transition that fails says nothing about a receiver that is up: it may refuse all of them, and take every
        completion.
        """
        if self.is_paused:
            return self  # the events that were on their way when it answered 410 say nothing new
        if is_transition and isinstance(result, Failed) and not self.is_down:
            return self
        match result:
            case Delivered():
                return UP
            case Gone(reason):
                return Endpoint(is_paused=True, was_down=self.is_down, since=now, error=reason)
        since = self.since if self.failures else now
        first = self.first_failed if self.failures else position
        failed = Endpoint(
            failures=self.failures + 1,
            first_failed=first,
            is_of_several=self.is_of_several or position != first,
            since=since,
            error=result.reason,
        )
        asked_for = now + min(result.retry_after or 0.0, LONGEST_PROBE_SECONDS)
        if self.probe_at is not None:
            # Several may have been on their way when it was found to be down: those are no probes.
            is_probe = now >= self.probe_at
            delay = min(2 * self.probe_delay, LONGEST_PROBE_SECONDS) if is_probe else self.probe_delay
            at = now + delay if is_probe else self.probe_at
            return msgspec.structs.replace(failed, probe_at=max(at, asked_for), probe_delay=delay)
        if failed.failures >= FAILURES_TO_DOWN and failed.is_of_several:
            return msgspec.structs.replace(failed, probe_at=max(now + FIRST_PROBE_SECONDS, asked_for))
        return failed


def still_down(condition: Condition, *, now: float) -> Endpoint:
    """Return a receiver that was down when the last run ended, with the first probe due `now`."""
    return Endpoint(
        failures=FAILURES_TO_DOWN,
        is_of_several=True,
        since=condition.since,
        error=condition.error,
        probe_at=now,
    )


UP: Final = Endpoint()
"""A receiver of which nothing bad is known."""
