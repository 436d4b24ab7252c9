"""The rate that a server accepts, learned from refusals if it reports no quota.

The rate falls once for each congestion event, which lasts from the first refusal to the next request that is accepted.
At the end of the event, the rate is set below the average rate accepted since the event before. That average is right
for a window of any length, because a whole number of windows has passed. The increase is CUBIC's (RFC 9438, section
4.1): slow near the rate that was refused, then faster and faster, so that a lifted limit is soon noticed.
"""

from __future__ import annotations

import math
from typing import Final

DECREASE: Final = 0.1
"""After an event the rate is lower than the measured one by this share."""

HEADROOM: Final = 1.04
"""The average is multiplied by this: it includes pauses and slow starts, so more would have been accepted."""

SHORTEST_CLIMB_SECONDS: Final = 3.0
LONGEST_CLIMB_SECONDS: Final = 1_800.0
"""The time to climb back to the measured rate is the time between the two events, within these bounds."""

MIN_ACCEPTED: Final = 10
"""Accepted requests from which the average is used. With fewer, one refusal says little: it may be transient."""

FIRST_GUESS: Final = 0.7
"""With fewer, this share of the rate that was refused is tried (CUBIC's factor, RFC 9438, section 4.6)."""

LOWEST_RATE: Final = 1 / 60
IDLE_SECONDS: Final = 2.0


class AdaptiveRate:
    """Learns from refusals that no reported quota explains.

    Instants are monotonic seconds, rates requests per second.
    """

    def __init__(self) -> None:
        self.rate = math.inf
        """The rate to keep; infinite until a limit has been met."""
        self._measured = math.inf
        self._learned_at = -math.inf
        self._climb_seconds = SHORTEST_CLIMB_SECONDS
        self._climbed = 0.0  # seconds of the climb so far
        self._since = -math.inf
        self._accepted = 0  # requests, since `_since`
        self._refused_rate = math.inf

    def scale(self, factor: float) -> None:
        """Keep so many times the rate: this worker's portion of what the server accepts has changed."""
        self.rate *= factor
        self._measured *= factor
        self._refused_rate *= factor

    @property
    def learned(self) -> tuple[float, float] | None:
        """What was measured last, in requests per second, and when; None: no limit has been met."""
        return None if self._measured == math.inf else (self._measured, self._learned_at)

    def adopt(self, measured: float, *, at: float) -> None:
        """Take over what another worker has measured, at an instant later than what is known."""
        self._measured, self._learned_at = max(measured, LOWEST_RATE), at
        self._climbed = 0.0
        self.rate = self._measured * (1 - DECREASE)

    def sent(self, now: float, *, idle_since: float) -> None:
        """Record that a request goes out. Since `idle_since` none was sent, though one was allowed."""
        if now - idle_since > IDLE_SECONDS + 2 / self.rate:
            # Time without requests to send says nothing about what the server would have accepted.
            self._since = now
            self._accepted = 0

    def accepted(self) -> None:
        """Record that a request was not refused."""
        self._accepted += 1
        if self.rate < math.inf:
            # Counted in requests, not in time: a rate that is not used is not raised.
            self._climbed += 1 / self.rate
            self.rate = self._measured * (1 + DECREASE * (self._climbed / self._climb_seconds - 1) ** 3)

    def refused(self, own_rate: float) -> None:
        """Record that a congestion event begins. `own_rate` is our own limit, so no higher rate was tried."""
        self._refused_rate = min(self.rate, own_rate)

    def recovered(self, now: float, *, learn: bool) -> None:
        """Record that the event is over: a request is accepted again. `learn`: no reported quota explains the event."""
        lasted = max(now - self._since, 1e-3)
        if learn:
            is_guess = self._accepted < MIN_ACCEPTED and self._refused_rate < math.inf
            average = self._accepted / lasted * HEADROOM
            guess = self._refused_rate * FIRST_GUESS
            self._measured = max(guess if is_guess else min(average, self._refused_rate), LOWEST_RATE)
            self._climb_seconds = min(max(lasted, SHORTEST_CLIMB_SECONDS), LONGEST_CLIMB_SECONDS)
            self._climbed = 0.0
            self._learned_at = now
            self.rate = self._measured * (1 - DECREASE)
            if is_guess:
                return  # the count goes on, so that it soon suffices for an average
        self._since = now
        self._accepted = 0
