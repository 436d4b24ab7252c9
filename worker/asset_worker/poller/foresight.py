"""Foresees the next look at a pending asset, and the end of its wait: pure functions of what is kept about it."""

from __future__ import annotations

import msgspec

from asset_worker.domain.assets import Ages, AssetId, Expectations, Missing, Unanswered, Waiting, assess
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Options, Submission, expectations_for
from asset_worker.poller.decide import ages_of, last_known, wait_state
from asset_worker.queue.ports import Lease
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.forecast import Forecast, TimeLeft
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


def as_lease(
    asset_id: AssetId, *, options: Options | None, accepted_at: float, progress: Progress, now: float
) -> Lease:
    """Return a pending asset as a lease on it would show it at `now`. Instants are in steady time."""
    return Lease(
        Submission(asset_id, "", 0, options),
        accepted_at,
        max(now - accepted_at, 0.0),
        None if progress.ready_at is None else max(now - progress.ready_at, 0.0),
        None if progress.missing_at is None else max(now - progress.missing_at, 0.0),
        1,
        progress,
    )


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


def make_time_left(expectations: Expectations, schedule: Schedule) -> TimeLeft:
    """Return what forecasts the waits for pending assets with `time_left`."""

    def found(asset_id: AssetId, state: PendingState, now: float) -> Forecast | None:
        lease = as_lease(
            asset_id, options=state.options, accepted_at=state.accepted_at, progress=state.progress, now=now
        )
        return time_left(lease, expectations=expectations, schedule=schedule)

    return found


def time_left(lease: Lease, *, expectations: Expectations, schedule: Schedule) -> Forecast | None:
    """Return how long the wait for an asset still lasts, until its completion event.

    None: that is not known. The asset has not been seen, or has gone, or the last answer about it is missing; or the
    schedule does not learn, or has seen too little of such assets.

    Args:
        lease: the asset, with its ages now.
        expectations: what is awaited of an asset whose submission doesn't say otherwise.
        schedule: knows how long such assets take, if it learns.
    """
    progress, last_seen = lease.progress, lease.progress.last_seen
    if not isinstance(schedule, AdaptiveSchedule) or progress.waiting_at is None or last_seen is None:
        return None
    if lease.ready_age is not None and progress.head_start and progress.phase_polls == progress.polls:
        return None  # it was not new, and the first look showed it ready: nobody knows for how long
    since = max(lease.accepted_at + lease.age - progress.waiting_at, 0.0)
    ages = Ages(lease.age - since, None if lease.ready_age is None else lease.ready_age - since)
    expected = expectations_for(lease.submission.options, expectations)
    found = schedule.forecast(
        wait_state(progress, ages, progress.waiting_on), shown=tuple(last_seen.renditions), expectations=expected
    )
    if found is None:
        return None
    longest = expected.deadline - lease.age
    if lease.ready_age is not None:
        longest = min(longest, expected.rendition_deadline - lease.ready_age)
    half, most = (max(min(seconds - since, longest), 0.0) for seconds in (found.p50, found.p90))
    return Forecast(half, most)
