"""Decides when kept connections are given up: after a change of the path to the API, all of them may be dead.

A VPN that connects, a NAT that forgets or a load balancer that fails over drops the packets of connections that exist,
and says nothing. Each kept connection would then cost one request its whole timeout, one after the other. So the first
that times out stands for all.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import Final

SHORTEST_INTERVAL_SECONDS: Final = 10.0
"""Between two replacements at least."""
NO_HELP_SECONDS: Final = 30.0
"""For so long after a replacement a new connection that times out shows that it did not help; and for so long after
that, there is no other."""


class DeadPool:
    """What timeouts say about the connections that are kept."""

    def __init__(self) -> None:
        self._replaced_at = -math.inf
        self._no_help_at = -math.inf

    def new_connection_answered(self) -> None:
        """Record that an answer came on a new connection: the path to the API works."""
        self._no_help_at = -math.inf

    def timed_out(self, now: float, *, sent_at: float, is_reused: bool) -> bool:
        """Record that a request timed out with nothing received. Return whether to replace all connections now.

        Args:
            now: the present instant.
            sent_at: when the request began.
            is_reused: whether its connection had been used before.
        """
        if not is_reused:
            # It may be as dead as the others if it was made before they were replaced.
            if 0 <= sent_at - self._replaced_at < NO_HELP_SECONDS:
                self._no_help_at = now
            return False
        if now - self._replaced_at < SHORTEST_INTERVAL_SECONDS or now - self._no_help_at < NO_HELP_SECONDS:
            return False
        self._replaced_at, self._no_help_at = now, -math.inf
        return True
