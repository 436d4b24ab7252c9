"""Foresees the next look at a pending asset, and says why then: a pure function of what is kept about the asset."""

from __future__ import annotations

import msgspec

from asset_worker.domain.assets import Expectations, Missing, Unanswered, Waiting, assess
from asset_worker.domain.submissions import expectations_for
from asset_worker.poller.decide import ages_of, last_known, wait_state
from asset_worker.queue.ports import Lease
from asset_worker.schedule.ports import Schedule, WaitState


class NextLook(msgspec.Struct, frozen=True):
    """When an asset is looked at next, without jitter and backlog."""

    due_in: float
    """Seconds from now; 0 or less: it is due."""
    wait: WaitState | None
    """The wait after the look before, which the schedule went by; None: it has not been looked at yet."""
    delay: float
    """Seconds between the two looks."""
    is_deadline: bool
    """Whether a deadline or a grace ends then, which comes before the schedule's next look."""


def next_look(lease: Lease, *, expectations: Expectations, schedule: Schedule) -> NextLook:
    """Return the next look at an asset, as the last answer about it left it.

    Args:
        lease: the asset, with its ages now.
        expectations: what is awaited of an asset whose submission doesn't say otherwise.
        schedule: decides when to look again.
    """
    progress, since = lease.progress, 0.0
    if progress.polls == 0:
        return NextLook(0.0, None, 0.0, is_deadline=False)
    is_unanswered = progress.waiting_on == ("answer",) or progress.waiting_at is None
    if progress.waiting_at is not None and not is_unanswered:
        since = max(lease.accepted_at + lease.age - progress.waiting_at, 0.0)
    last_seen = progress.last_seen
    known = last_known(lease)
    is_missing = last_seen is not None and last_seen.status == "missing"
    observation = Unanswered("") if is_unanswered else Missing() if is_missing or known is None else known
    ages = ages_of(lease, observation, held=-since)
    verdict = assess(observation, expectations_for(lease.submission.options, expectations), ages)
    left = verdict.decides_in if isinstance(verdict, Waiting) else 0.0
    wait = wait_state(progress, ages, progress.waiting_on or ("answer",))
    planned = schedule(wait)
    delay = min(planned, left)
    return NextLook(delay - since, wait, delay, is_deadline=left < planned)
