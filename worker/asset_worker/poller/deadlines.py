"""What bounds a look, and when an asset is given up without one: pure functions.

Whatever a server asks for, an asset without an answer is settled at its age limit (`Expectations.unanswered_deadline`).
A look that is in progress then ends. An asset that is waiting for a look is given up if requests can't be sent; if they
can, it gets its look, for even then an answer gives a better outcome than the clock.
"""

from __future__ import annotations

import math
from typing import Final

from asset_worker.domain.assets import Expectations, Unanswered
from asset_worker.domain.submissions import Options, expectations_for
from asset_worker.queue.ports import Lease

LEAST_SECONDS: Final = 1.0
"""A look that begins before the age limit gets at least this time, unless requests are held up. They are, when none
could be sent for this time."""
OVERDUE_SECONDS: Final = 2.0
"""A look that begins after the age limit gets this time: enough for an answer, and not for retries in a rate limit."""
TOO_LATE: Final = "the deadline came before the answer"


def age_limit(options: Options | None, expectations: Expectations) -> float:
    """Return the seconds from acceptance after which an asset without an answer is settled.

    `options` are those of its submission; `expectations` applies if they have no deadline.
    """
    return expectations_for(options, expectations).unanswered_deadline


def seconds_left(
    lease: Lease,
    expectations: Expectations,
    *,
    last_look: float,
    running_for: float,
    stalled_for: float,
    now: float,
) -> float:
    """Return the seconds that a look may take from `now` (steady time): until the asset's age limit.

    If the limit has passed, the look may take `OVERDUE_SECONDS`, or `last_look` seconds soon after the start: the limit
    may have passed while the worker was down. `running_for` is how long it has been running, and `stalled_for` how long
    no request could be sent, in seconds: a look that can't be made gets no more time than is left.
    """
    limit = age_limit(lease.submission.options, expectations)
    left = limit - lease.age - (now - lease.taken_at)
    if left <= 0:
        left = min(OVERDUE_SECONDS, last_look) if running_for >= min(last_look, limit) else last_look
    least = 0.0 if stalled_for >= LEAST_SECONDS else LEAST_SECONDS
    return max(left, least)


def given_up_at(limit: float, *, running_for: float, last_look: float) -> float:
    """Return the age, in seconds, at which an asset that waits for a look is settled while no request can be sent.

    Infinite: not yet. An asset that an earlier run left past its limit gets a chance in this one.

    Args:
        limit: the asset's age limit.
        running_for: the seconds since this worker started.
        last_look: the seconds that a look past the age limit may take.
    """
    return limit if running_for >= min(last_look, limit) else math.inf


def too_late(latest_failure: str | None) -> Unanswered:
    """Return what a look shows that its deadline ended. `latest_failure` may explain why there was no answer."""
    return Unanswered(TOO_LATE if latest_failure is None else f"{TOO_LATE}; lately: {latest_failure}")
