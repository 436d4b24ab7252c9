"""How long a look may take if deadlines are strict, and what a look shows that took longer: pure functions."""

from __future__ import annotations

from typing import Final

from asset_worker.domain.assets import Expectations, Unanswered
from asset_worker.domain.submissions import expectations_for
from asset_worker.queue.ports import Lease

LAST_LOOK_SECONDS: Final = 1.0
"""The least time for a look: even at a strict deadline, an answer gives a better outcome than the clock."""
TOO_LATE: Final = "the deadline came before the answer"


def seconds_left(lease: Lease, expectations: Expectations, *, now: float) -> float:
    """Return the seconds from `now` (steady time) to the asset's deadline, at least `LAST_LOOK_SECONDS`.

    `expectations` applies to a submission without a deadline of its own.
    """
    deadline = expectations_for(lease.submission.options, expectations).deadline
    return max(deadline - lease.age - (now - lease.taken_at), LAST_LOOK_SECONDS)


def too_late(latest_failure: str | None) -> Unanswered:
    """Return what a look shows that its deadline ended. `latest_failure` may explain why there was no answer."""
    return Unanswered(TOO_LATE if latest_failure is None else f"{TOO_LATE}; lately: {latest_failure}")
