"""Decides what follows from one look: pure functions of what was known before and what the look showed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from asset_worker.domain.assets import (
    Ages,
    Asset,
    Done,
    Expectations,
    Missing,
    Observation,
    Unanswered,
    assess,
    asset_from,
)
from asset_worker.domain.events import Event, Redact, Times, completed, reached
from asset_worker.domain.instants import seconds_of
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.submissions import expectations_for
from asset_worker.domain.transitions import Transition, steps_shown
from asset_worker.poller.evidence import TERMINAL_STATUSES, identity_of, last_seen_in
from asset_worker.queue.ports import Lease
from asset_worker.schedule.knowledge import CLOCK_TOLERANCE
from asset_worker.schedule.ports import Phase, Renditions, Schedule, SlowAfter, WaitState, never_known


class Settle(msgspec.Struct, frozen=True):
    """The wait is over, and this is its event."""

    verdict: Done
    event: Event
    progress: Progress
    steps: tuple[Event, ...] = ()
    """The events of steps that this look was the first to see: they come before `event`."""


class Defer(msgspec.Struct, frozen=True):
    """The wait goes on: the next look is due in `delay` seconds."""

    delay: float
    progress: Progress
    look: WaitState
    """The wait after the look, as the schedule sees it."""
    steps: tuple[Event, ...] = ()
    """The events of steps that this look was the first to see."""
    slow_after: float | None = None
    """The age, in seconds, past which such a wait is overdue, if this look was the first to show that it is."""


class Sample(msgspec.Struct, frozen=True):
    """What one look teaches a learning schedule: the arguments of `Learner.observe`."""

    look: WaitState
    since: float
    """The age at the look before, in seconds."""
    ended: tuple[str, ...]
    """What ended since then: `asset`, or the names of renditions."""
    renditions: Renditions | None = None
    """None: the asset itself has not ended since then."""


def last_seen_of(observation: Observation, before: LastSeen | None) -> LastSeen | None:
    """Return a summary of what is now known about the asset. A look without an answer leaves `before` unchanged."""
    match observation:
        case Asset():
            seen = last_seen_in(observation)
            return before if seen == before else seen.shared()
        case Missing():
            if before is None:
                return LastSeen("missing").shared()
            was = before.was if before.status == "missing" else before.status
            return msgspec.structs.replace(before, status="missing", was=was).shared()
        case Unanswered():
            return before


def is_known(last_seen: LastSeen | None) -> bool:
    """Return whether the API has ever shown the asset. Until then, the wait says nothing about processing times."""
    return last_seen is not None and (last_seen.status != "missing" or last_seen.was is not None)


def last_known(lease: Lease) -> Asset | None:
    """Return the asset as the last look that saw it showed it, as far as that is kept; None: no look has seen it."""
    last_seen = lease.progress.last_seen
    status = None if last_seen is None else last_seen.was if last_seen.status == "missing" else last_seen.status
    if last_seen is None or status is None:
        return None
    fields = {"file_type": last_seen.file_type, "method": last_seen.method}
    return asset_from(
        {"_id": lease.submission.asset_id, "status": status}
        | {name: value for name, value in fields.items() if value is not None}
        | {name: {"status": value} for name, value in last_seen.renditions.items()}
    )


def ages_of(lease: Lease, observation: Observation, *, held: float, is_retrieve: bool = False) -> Ages:
    """Return the ages at the end of a look, made `held` seconds after the lease was taken.

    `is_retrieve`: the first retrieve that shows `ready` starts the time of the renditions, even if a list showed it
    before.
    """
    ready = None if lease.ready_age is None else lease.ready_age + held
    if isinstance(observation, Asset):
        if observation.status == "ready":
            is_known = ready is not None and (lease.progress.ready_is_certain or not is_retrieve)
            ready = ready if is_known else 0.0
        elif observation.status not in TERMINAL_STATUSES:
            ready = None  # a list showed it too early
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
    is_retrieve: bool,
    expectations: Expectations,
    schedule: Schedule,
    now: float,
    wall_offset: float,
    source: str,
    redact: Redact,
    transitions: bool = False,
    slow_after: SlowAfter = never_known,
) -> Settle | Defer:
    """Return what follows from one look.

    Args:
        lease: the asset, and what earlier looks found.
        observation: what this look showed.
        held: seconds since the lease was taken.
        is_retrieve: whether a retrieve showed it, and not a list.
        expectations: what is awaited of an asset whose submission doesn't say otherwise.
        schedule: decides when to look again.
        now: steady time, in seconds.
        wall_offset: what the wall clock shows now minus steady time, in seconds; an event has the wall clock's times.
        source: the event's CloudEvents source.
        redact: removes the API key from the events, and from the reason of a verdict.
        transitions: whether each step is reported with an event.
        slow_after: returns the age past which a wait is overdue.
    """
    before = lease.progress
    ages = ages_of(lease, observation, held=held, is_retrieve=is_retrieve)
    newly_seen = isinstance(observation, Asset) and not is_known(before.last_seen)
    newly_ready = ages.ready is not None and before.ready_at is None
    newly_certain = (
        isinstance(observation, Asset) and observation.status == "ready" and is_retrieve and not before.ready_is_certain
    )
    newly_missing = ages.missing is not None and before.missing_at is None
    expected = expectations_for(lease.submission.options, expectations)
    verdict = assess(observation, expected, ages)
    progress = msgspec.structs.replace(
        before,
        polls=before.polls + 1,
        phase_polls=1 if newly_seen or newly_ready else before.phase_polls + 1,
        last_seen=last_seen_of(observation, before.last_seen),
        ready_at=None if ages.ready is None else now if newly_ready or newly_certain else before.ready_at,
        ready_is_certain=ages.ready is not None and (newly_certain or before.ready_is_certain),
        missing_at=None if isinstance(observation, Asset) else now if newly_missing else before.missing_at,
        identity=identity_of(observation) if isinstance(observation, Asset) else before.identity,
        head_start=_old_head_start(lease, observation, wall_offset)
        if isinstance(observation, Asset) and newly_seen
        else before.head_start,
    )

    def event(make: Callable[..., Event], what: Done | Transition) -> Event:
        return make(
            lease.submission,
            what,
            asset=observation if isinstance(observation, Asset) else last_known(lease),
            completion=lease.completion,
            times=Times(lease.accepted_at, now, before.ready_at or progress.ready_at, before.waiting_at).shifted(
                wall_offset
            ),
            polls=progress.polls,
            source=source,
            redact=redact,
        )

    shown = steps_shown(observation, expected) if transitions and isinstance(observation, Asset) else ()
    steps = tuple(step for step in shown if step not in before.announced)
    if isinstance(verdict, Done):
        # The reason is shown to people as well, who must not see the key in it either.
        verdict = msgspec.structs.replace(verdict, reason=redact(verdict.reason))
        return Settle(verdict, event(completed, verdict), progress, tuple(event(reached, step) for step in steps))
    look = wait_state(progress, ages, verdict.on)
    limit = None
    if isinstance(observation, Asset) and Transition.OVERDUE not in before.announced:
        limit = slow_after(look)
    if limit is not None and look.age > limit + late_start_of(lease, look):
        steps = (*steps, Transition.OVERDUE)
    else:
        limit = None
    progress = msgspec.structs.replace(
        progress,
        waiting_on=verdict.on,
        waiting_at=before.waiting_at if isinstance(observation, Unanswered) else now,
        announced=(*before.announced, *(step.value for step in steps)),
    )
    requested = observation.retry_after if isinstance(observation, Unanswered) else 0.0
    # What a server asks for may postpone a look, but not a deadline: somebody waits for the outcome.
    delay = min(max(schedule(look), requested), verdict.decides_in)
    return Defer(delay, progress, look, tuple(event(reached, step) for step in steps if transitions), limit)


def late_start_of(lease: Lease, look: WaitState) -> float:
    """Return how many seconds after the acceptance the processing of an asset may have begun, to be counted in its age.

    An asset with a grace of its own may have been uploaded as late as at the end of it. Others count as new.
    """
    options = lease.submission.options
    return 0.0 if options is None or look.phase != "asset" else options.not_found_grace or 0.0


def _head_start(lease: Lease, observation: Asset, wall_offset: float) -> float:
    """Return the seconds from the asset's creation to its acceptance; 0: that is not known."""
    created_at = seconds_of(observation.document.get("created_at"))
    return 0.0 if created_at is None else lease.accepted_at + wall_offset - created_at


def _old_head_start(lease: Lease, observation: Asset, wall_offset: float) -> float:
    """Return the head start of an asset that was not new; 0: it was."""
    found = _head_start(lease, observation, wall_offset)
    return 0.0 if abs(found) <= CLOCK_TOLERANCE else round(found, 1)


def wait_state(progress: Progress, ages: Ages, waiting_on: tuple[str, ...]) -> WaitState:
    """Return the wait after a look, as the schedule sees it."""
    last_seen = progress.last_seen
    return WaitState(
        attempt_number=progress.phase_polls,
        phase="asset" if ages.ready is None else "renditions",
        age=ages.accepted if ages.ready is None else ages.ready,
        waiting_on=waiting_on,
        file_type=None if last_seen is None else last_seen.file_type,
        method=None if last_seen is None else last_seen.method,
        head_start=progress.head_start,
    )


def samples(lease: Lease, observation: Observation, *, held: float, wall_offset: float) -> Iterator[Sample]:
    """Yield what a look shows about how long steps take: they go on, or they ended since the look before.

    The first look that shows the asset says nothing about that: what it finds ended may have ended at any time, and
    what goes on may be older than the wait. It only begins the time in which the asset was watched. The same is true
    of a look after one that found the asset missing.

    Args:
        lease: the asset, and what earlier looks found.
        observation: what this look showed.
        held: seconds since the lease was taken.
        wall_offset: what the wall clock shows now minus steady time, in seconds.
    """
    before = lease.progress
    if not isinstance(observation, Asset) or before.waiting_at is None:
        return
    if before.last_seen is None or before.last_seen.status == "missing":
        return
    ages = ages_of(lease, observation, held=held)
    renditions: Renditions | None = None
    if before.ready_at is None:
        phase: Phase = "asset"
        began, age = lease.accepted_at, ages.accepted
        was: tuple[str, ...] = ("asset",)
        ended = was if observation.status in TERMINAL_STATUSES else ()
        if ended:
            renditions = Renditions(tuple(before.last_seen.renditions), _unfinished(observation))
    else:
        phase = "renditions"
        began, age = before.ready_at, ages.ready or 0.0
        was = tuple(name for name in before.waiting_on if name in RENDITIONS)
        ended = tuple(name for name in was if RENDITIONS[name].has_ended(observation.renditions.get(name)))
    look = WaitState(
        attempt_number=before.phase_polls + 1,
        phase=phase,
        age=age,
        waiting_on=tuple(name for name in was if name not in ended),
        file_type=observation.file_type,
        method=observation.method,
        head_start=_head_start(lease, observation, wall_offset),
    )
    yield Sample(look, min(max(before.waiting_at - began, 0.0), age), ended, renditions)


def _unfinished(asset: Asset) -> tuple[str, ...]:
    """Return the renditions of an asset that go on. Those of a failed one are not waited for."""
    if asset.status != "ready":
        return ()
    return tuple(name for name, status in asset.renditions.items() if not RENDITIONS[name].has_ended(status))
