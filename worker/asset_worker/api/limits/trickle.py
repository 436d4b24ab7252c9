"""The slow rate of requests that goes on when a quota is nearly used up: seconds between two of them."""

from __future__ import annotations

import math
from typing import Final

TRICKLE_SHARE: Final = 0.5
"""Until the reset the trickle would take half of what is left, if that stayed the same. It falls with each request, and
the trickle with it, so that three fifths are there in the end: 1 / sqrt(e)."""

SHORTEST_GAP_SECONDS: Final = 60.0
"""One request in this time is enough that no asset starves, and in a short window the reset comes soon."""

LONGEST_GAP_SECONDS: Final = 7_200.0
"""However little is left, even nothing, one request goes out after this time: a wrong value can't stop the worker for
good. Longer than an hour's window, and an asset is still seen within the default `poll.deadline`."""


def trickle_gap(*, remaining: int, unspent: int, known_for: float) -> float:
    """Seconds between two requests where the pace allows none sooner; the more remains, the shorter.

    `remaining` of the quota is left, requests in flight subtracted; `unspent` is what we have not had yet of our own
    share; `known_for` is the time from when the window was known to its reset, in seconds.
    """
    # Not spread over the time that is left: what remains is looked at anew after each request, and half of it each time
    # would soon be all of it.
    left = min(TRICKLE_SHARE * remaining, unspent)
    gap = known_for / left if left > 0 else math.inf
    return min(max(gap, SHORTEST_GAP_SECONDS), LONGEST_GAP_SECONDS)
