"""The trickle: the slow rate at which requests go on when a quota is nearly used up."""

from __future__ import annotations

import math
from typing import Final

TRICKLE_SHARE: Final = 0.5
"""At a constant rate the trickle would take this share of what is left until the reset. But each request lowers what is
left, and the rate with it, so that three fifths are left at the end: 1 / sqrt(e)."""

SHORTEST_GAP_SECONDS: Final = 60.0
"""One request in this time is enough to make progress with every asset, and in a short window the reset comes soon."""

LONGEST_GAP_SECONDS: Final = 7_200.0
"""One request goes out after this time even if nothing is left, so that a wrong value can't stop the worker
permanently. It is longer than a window of one hour, and short enough to see an asset within the default
`poll.deadline`."""


def trickle_gap(*, remaining: int, unspent: int, known_for: float) -> float:
    """Return the seconds between two requests if the pace allows none sooner; the more remains, the shorter.

    Args:
        remaining: what is left of the quota, requests in flight subtracted.
        unspent: what is left of our own share.
        known_for: the seconds from when the window was first known to its reset.
    """
    # Not spread over the time left: as this is computed again after each request, half of the rest each time would soon
    # use up everything.
    left = min(TRICKLE_SHARE * remaining, unspent)
    gap = known_for / left if left > 0 else math.inf
    return min(max(gap, SHORTEST_GAP_SECONDS), LONGEST_GAP_SECONDS)
