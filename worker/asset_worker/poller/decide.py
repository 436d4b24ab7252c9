"""What follows from one look: pure functions of what was known and what was seen."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from asset_worker.domain.assets import (
    RENDITION_ENDED,
    Ages,
    Asset,
    Done,
    Expectations,
    Missing,
    Observation,
    Unanswered,
    Waiting,
    assess,
    asset_from,
)
from asset_worker.domain.events import Event, Redact, Times, completed
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import expectations_for
from asset_worker.queue.ports import Lease
from asset_worker.schedule.ports import Phase, Schedule, WaitState

ENDED = frozenset({"ready", "failed"})


class Settle(msgspec.Struct, frozen=True):
    """The wait is over, with this event."""

    verdict: Done
    event: Event
    progress: Progress


class Defer(msgspec.Struct, frozen=True):
    """The wait goes on: the next look is due in `delay` seconds."""

    delay: float
    progress: Progress


class Sample(msgspec.Struct, frozen=True):
    """What one look teaches a schedule that learns: the arguments of `LearnedSchedule.observe`."""

    look: WaitState
    since: float
    ended: tuple[str, ...]


def last_seen_of(observation: Observation, before: LastSeen | None) -> LastSeen | None:
    """What is now known of the asset, in brief; a look without an answer changes nothing."""
    match observation:
        case Asset():
            return LastSeen(
                observation.status, observation.hls, observation.thumbnail, observation.file_type, observation.method
            )
        case Missing():
            if before is None:
                return LastSeen("missing")
            was = before.was if before.status == "missing" else before.status
            return msgspec.structs.replace(before, status="missing", was=was)
        case Unanswered():
            return before


def is_known(last_seen: LastSeen | None) -> bool:
    """Whether the API ever told of the asset: the waits until it does are no waits for its processing."""
    return last_seen is not None and (last_seen.status != "missing" or last_seen.was is not None)


def last_known(lease: Lease) -> Asset | None:
    """The asset as the API last told it, in brief: what is kept of an earlier look. None: it never told anything."""
    last_seen = lease.progress.last_seen
    status = None if last_seen is None else last_seen.was if last_seen.status == "missing" else last_seen.status
    if last_seen is None or status is None:
        return None
    told = {"file_type": last_seen.file_type, "method": last_seen.method}
    renditions = {"hls": last_seen.hls, "thumbnail": last_seen.thumbnail}
    return asset_from(
        {"_id": lease.submission.asset_id, "status": status}
        | {name: value for name, value in told.items() if value is not None}
        | {name: {"status": value} for name, value in renditions.items() if value is not None}
    )


def ages_of(lease: Lease, observation: Observation, *, held: float) -> Ages:
    """The ages at the end of a look; `held` is how long the lease has been held, in seconds."""
    if lease.ready_age is not None:
        ready: float | None = lease.ready_age + held
    else:
        ready = 0.0 if isinstance(observation, Asset) and observation.status == "ready" else None
    return Ages(accepted=lease.age + held, ready=ready, missing=_missing_age(lease, observation, held))


def _missing_age(lease: Lease, observation: Observation, held: float) -> float | None:
    if not isinstance(observation, Missing):
        return None
    if lease.missing_age is not None:
        return lease.missing_age + held
    return None if lease.progress.last_seen is None or lease.progress.last_seen.status == "missing" else 0.0


def decide(
    lease: Lease,
    observation: Observation,
    *,
    held: float,
    expectations: Expectations,
    schedule: Schedule,
    now: float,
    source: str,
    redact: Redact,
) -> Settle | Defer:
    """What follows from one look.

    `held` is how long the lease has been held, in seconds; `now` is the wall clock's, in seconds since the epoch.
    """
    before = lease.progress
    ages = ages_of(lease, observation, held=held)
    newly_seen = isinstance(observation, Asset) and not is_known(before.last_seen)
    newly_ready = ages.ready is not None and before.ready_at is None
    newly_missing = ages.missing is not None and before.missing_at is None
    verdict = assess(observation, expectations_for(lease.submission.options, expectations), ages)
    progress = msgspec.structs.replace(
        before,
        polls=before.polls + 1,
        phase_polls=1 if newly_seen or newly_ready else before.phase_polls + 1,
        last_seen=last_seen_of(observation, before.last_seen),
        ready_at=now if newly_ready else before.ready_at,
        missing_at=None if isinstance(observation, Asset) else now if newly_missing else before.missing_at,
    )
    if isinstance(verdict, Done):
        event = completed(
            lease.submission,
            verdict,
            asset=observation if isinstance(observation, Asset) else last_known(lease),
            completion=lease.completion,
            times=Times(lease.accepted_at, now, progress.ready_at, before.waiting_at),
            polls=progress.polls,
            source=source,
            redact=redact,
        )
        return Settle(verdict, event, progress)
    progress = msgspec.structs.replace(
        progress,
        waiting_on=verdict.on,
        waiting_at=before.waiting_at if isinstance(observation, Unanswered) else now,
    )
    delay = min(schedule(_look(progress, ages, verdict)), verdict.decides_in)
    return Defer(max(delay, observation.retry_after) if isinstance(observation, Unanswered) else delay, progress)


def _look(progress: Progress, ages: Ages, verdict: Waiting) -> WaitState:
    last_seen = progress.last_seen
    return WaitState(
        attempt_number=progress.phase_polls,
        phase="asset" if ages.ready is None else "renditions",
        age=ages.accepted if ages.ready is None else ages.ready,
        waiting_on=verdict.on,
        file_type=None if last_seen is None else last_seen.file_type,
        method=None if last_seen is None else last_seen.method,
    )


def samples(lease: Lease, observation: Observation, *, held: float) -> Iterator[Sample]:
    """What a look teaches about how long things take: that they still waited, or ended since the look before."""
    if not isinstance(observation, Asset):
        return
    before, ages = lease.progress, ages_of(lease, observation, held=held)
    if before.ready_at is None:
        phase: Phase = "asset"
        began, age = lease.accepted_at, ages.accepted
        was: tuple[str, ...] = ("asset",)
        ended = was if observation.status in ENDED else ()
    else:
        phase = "renditions"
        began, age = before.ready_at, ages.ready or 0.0
        was = tuple(name for name in before.waiting_on if name in {"hls", "thumbnail"})
        ended = tuple(name for name in was if getattr(observation, name) in RENDITION_ENDED)
    since = 0.0 if before.waiting_at is None else min(max(before.waiting_at - began, 0.0), age)
    look = WaitState(
        attempt_number=before.phase_polls + 1,
        phase=phase,
        age=age,
        waiting_on=tuple(name for name in was if name not in ended),
        file_type=observation.file_type,
        method=observation.method,
    )
    yield Sample(look, since, ended)


def can_act_on_list(lease: Lease, observation: Observation, step: Settle | Defer) -> bool:
    """Whether what a list showed may be acted on as it is; else a retrieve has to confirm it.

    A list is a hint: nothing is settled by it, an asset that it doesn't show may be there, and a state older than one
    seen before comes from a cache.
    """
    if isinstance(step, Settle):
        return False
    before = lease.progress.last_seen
    if isinstance(observation, Missing):
        return before is not None and before.status == "missing"
    return not is_older(step.progress.last_seen, before)


def is_older(seen: LastSeen | None, before: LastSeen | None) -> bool:
    """Whether one last_seen tells of an earlier state than another: what has ended doesn't begin again."""
    if seen is None or before is None:
        return False
    if before.status in ENDED and seen.status not in ENDED:
        return True
    pairs = ((seen.hls, before.hls), (seen.thumbnail, before.thumbnail))
    return any(then in RENDITION_ENDED and now not in RENDITION_ENDED for now, then in pairs)
