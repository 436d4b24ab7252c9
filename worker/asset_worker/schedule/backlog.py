"""How scarce requests are: a factor that stretches all delays, so that no more looks fall due than can be made.

Two things tell: looks that are made later than they were due, and a poller that has nothing to do though it could make
a request. What a change of the factor brings is seen one delay later, so it changes by no more in that time; else it
would go on growing while the looks that were asked for before are worked off. While all looks are late the usual delay
thus grows by a second each second, and has grown to one round over all that is pending when that round has been made.
"""

from __future__ import annotations

import math
from typing import Final

LATE: Final = 0.2
"""Looks that are late by more than this part of the usual delay are scarce; those late by less than half are not."""
STEP: Final = 0.02
"""The most by which one look changes the factor."""
IDLE_HALVES: Final = 30.0
"""Seconds without anything to do that halve the factor: takes are rare just when delays are stretched too much."""
MOST: Final = 1000.0
LONGEST_CEILING: Final = 3600.0
"""Seconds: however scarce requests are, and were it for a moment only, the ceiling is stretched no further. With lists
and the default rate, one round over a million pending assets takes less."""


def noted(backlog_factor: float, *, lateness: float, since: float, usual_delay: float) -> float:
    """The factor after a look that was `lateness` late, `since` after the look noted before; all in seconds."""
    step = 1 + min(STEP, max(since, 0.0) / usual_delay)
    if lateness > LATE * usual_delay:
        return min(backlog_factor * step, MOST)
    if lateness < LATE / 2 * usual_delay:
        return max(backlog_factor / step, 1.0)
    return backlog_factor


def eased(backlog_factor: float, *, idle: float) -> float:
    """`backlog_factor` after `idle` seconds in which nothing was due though a request could have been made."""
    return max(backlog_factor * math.pow(0.5, max(idle, 0.0) / IDLE_HALVES), 1.0)


def stretched(ceiling: float, backlog_factor: float) -> float:
    """The longest delay, in seconds, where requests are scarce; `ceiling` where they are not."""
    return min(ceiling * backlog_factor, max(ceiling, LONGEST_CEILING))
