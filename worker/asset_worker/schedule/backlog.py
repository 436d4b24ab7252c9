"""A factor that stretches all delays while more looks are due than can be made.

Two signals move it. Looks that are made late raise it; time in which the poller has nothing to do lowers it. The effect
of a change shows only after one delay, so within the time of one usual delay the factor at most doubles: otherwise it
would keep growing while looks that are already due are worked off. While all looks are late, the usual delay therefore
grows by one second each second. Once every pending asset has been looked at, it is as long as that round took.
"""

from __future__ import annotations

import math
from typing import Final

LATE_SHARE: Final = 0.2
"""A look that is late by more than this share of the usual delay raises the factor; one that is late by less than half
of that lowers it."""
MAX_STEP: Final = 0.02
"""The largest relative change of the factor by one look."""
IDLE_HALF_LIFE: Final = 30.0
"""Seconds without a due look that halve the factor. Looks alone would lower it slowly: with stretched delays they are
rare."""
MAX_FACTOR: Final = 1000.0
LONGEST_CEILING: Final = 3600.0
"""The longest delay is never stretched beyond this many seconds: a brief backlog must not delay looks for longer. One
round over a million pending assets takes less, with lists and at the default rate."""


def after_look(backlog_factor: float, *, lateness: float, since: float, usual_delay: float) -> float:
    """Return the factor after a look.

    Args:
        backlog_factor: the factor before, from 1 to `MAX_FACTOR`.
        lateness: seconds from when the look was due to when it was made.
        since: seconds since the look that was reported before this one.
        usual_delay: seconds between looks at one asset, on average, at the present factor.
    """
    step = 1 + min(MAX_STEP, max(since, 0.0) / usual_delay)
    if lateness > LATE_SHARE * usual_delay:
        return min(backlog_factor * step, MAX_FACTOR)
    if lateness < LATE_SHARE / 2 * usual_delay:
        return max(backlog_factor / step, 1.0)
    return backlog_factor


def after_idle(backlog_factor: float, *, idle: float) -> float:
    """Return the factor after `idle` seconds in which no look was due although a request could have been made."""
    return max(backlog_factor * math.pow(0.5, max(idle, 0.0) / IDLE_HALF_LIFE), 1.0)


def stretch_ceiling(ceiling: float, backlog_factor: float) -> float:
    """Return the longest delay at this factor, in seconds; `ceiling` is the longest without a backlog."""
    return min(ceiling * backlog_factor, max(ceiling, LONGEST_CEILING))
