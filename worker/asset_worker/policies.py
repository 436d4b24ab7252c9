"""Every policy that is derived from the settings: pure functions, each rule in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.api.client import LIST_LIMIT
from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.run_plan import RunPlan
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL
from asset_worker.poller.policy import Batching
from asset_worker.queue.outbox_readers import is_reader
from asset_worker.runtime.randomness import Uniform
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState
from asset_worker.schedule.ports import Schedule
from asset_worker.schedule.waits import exponential, fixed, from_tenacity, spread
from asset_worker.settings import tree
from asset_worker.settings.account import ALL, Account
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import SHUTDOWN_RETRY_SECONDS

AWAITED: Final[Mapping[str, Mapping[str, WaitFor]]] = {
    "asset": dict.fromkeys(RENDITIONS, WaitFor.IGNORE),
    **{name: {**dict.fromkeys(RENDITIONS, WaitFor.IGNORE), name: WaitFor.REQUIRED} for name in RENDITIONS},
    "all": dict.fromkeys(RENDITIONS, WaitFor.IF_REQUESTED),
}
"""The settings `wait_for` that each value of `wait --for` stands for."""
LOOKS_PER_REQUEST = 2
"""Looks in progress for each request that may be in flight: a look that waits for its retry sends nothing."""
FIRST_LOOKS_SECONDS = 0.01
"""Seconds between the first looks after a restart. All of them are made within the longest delay."""
LEAST_AHEAD_SECONDS = 0.1
AHEAD_SHARE = 0.05
"""Assets that are due within this share of the longest delay join a list request that is sent anyway. A look that early
does no harm, and two thousand assets, each due once in the longest delay, are enough to fill the lists."""
GATHER_SHARE = 1 / 3
"""After a list request that was not full, new assets wait for one another for this share of the time ahead."""
GATHER_SHARE_OF_INITIAL = 1 / 4
LAST_LOOK_SECONDS = 60.0
MAX_GATHER_SECONDS = 0.5
"""The longest such wait: the first look at a new asset must not be noticeably late, whatever the settings."""


def expectations(settings: Settings, plan: RunPlan) -> Expectations:
    """Return what is awaited of an asset whose submission doesn't say otherwise.

    Somebody waits for the end of a run that keeps no state. In such a run a deadline ends a wait even without an answer
    (`unanswered_factor` 1).
    """
    expected = Expectations(
        wait_for=dict(settings.wait_for),
        deadline=settings.poll.deadline,
        rendition_deadline=settings.poll.rendition_deadline,
        not_found_grace=settings.poll.not_found_grace,
    )
    return expected if plan.keeps_state else msgspec.structs.replace(expected, unanswered_factor=1.0)


def last_look(plan: RunPlan) -> float:
    """Return how many seconds a look may take at an asset that is past its age limit.

    In a run that keeps no state, every asset is new, and somebody waits for the end.
    """
    return LAST_LOOK_SECONDS if plan.keeps_state else 0.0


def longest_delay(poll: tree.Poll) -> float:
    """Return the longest delay, in seconds, that the schedule gives when there is no backlog."""
    return poll.initial if poll.strategy == "fixed" else poll.max


def batching(poll: tree.Poll) -> Batching | None:
    """Return how looks share list requests; None: each look is a retrieve."""
    if poll.batch == "off":
        return None
    ahead = max(LEAST_AHEAD_SECONDS, AHEAD_SHARE * longest_delay(poll))
    gather = min(ahead * GATHER_SHARE, poll.initial * GATHER_SHARE_OF_INITIAL, MAX_GATHER_SECONDS)
    return Batching(LIST_LIMIT, ahead=ahead, gather=gather, confirm_all=poll.batch == "confirm")


def looks_at_once(limits: tree.Limits) -> int:
    """Return how many looks may be in progress at once."""
    return limits.concurrency * LOOKS_PER_REQUEST


def first_looks(count: int, poll: tree.Poll, uniform: Uniform) -> list[float]:
    """Return the delays, in seconds, of the first looks at `count` assets that were pending before this start."""
    span = min(longest_delay(poll), count * FIRST_LOOKS_SECONDS) if count > 1 else 0.0
    return spread(count, span=span, uniform=uniform)


def schedule(poll: tree.Poll, learned: LearnedState | None, uniform: Uniform) -> Schedule:
    """Return the schedule that `poll.strategy` names. `learned`: what an adaptive schedule learned in earlier runs."""
    match poll.strategy:
        case "fixed":
            return from_tenacity(fixed(interval=poll.initial, uniform=uniform))
        case "exponential":
            return from_tenacity(
                exponential(initial=poll.initial, multiplier=poll.multiplier, maximum=poll.max, uniform=uniform)
            )
        case "adaptive":
            return adaptive(poll, learned, uniform)


def adaptive(
    poll: tree.Poll, learned: LearnedState | None, uniform: Uniform, *, requests_per_look: float = 1.0
) -> AdaptiveSchedule:
    """Return the adaptive schedule. `requests_per_look` is what a look costs before this process has made any."""
    return AdaptiveSchedule(
        learned,
        initial=poll.initial,
        multiplier=poll.multiplier,
        maximum=poll.max,
        looks=poll.looks,
        requests_per_look=requests_per_look,
        uniform=uniform,
    )


def typical_schedule(poll: tree.Poll, learned: LearnedState | None) -> Schedule:
    """Return the schedule as a worker that runs has it, but without jitter: for reports."""
    if poll.strategy == "adaptive":
        return typical_adaptive(poll, learned)
    return schedule(poll, None, lambda: 0.0)  # the jitter of these strategies only shortens delays


def typical_adaptive(poll: tree.Poll, learned: LearnedState | None) -> AdaptiveSchedule:
    """Return the adaptive schedule without jitter, with looks that cost what they cost the worker lately."""
    cost = 1.0 if learned is None else learned.requests_per_look
    return adaptive(poll, learned, lambda: 0.5, requests_per_look=cost)


def shutdown_grace(settings: Settings, plan: RunPlan) -> float:
    """Return how many seconds work in progress may take after a stop.

    A run that keeps no state writes to a terminal or a pipe, and a reader that has gone does not come back: its time is
    short.
    """
    return settings.shutdown.grace if plan.keeps_state else SHUTDOWN_RETRY_SECONDS


def drain_patience(settings: Settings, plan: RunPlan) -> float:
    """Return for how many seconds a run that is done waits for the next attempt at an event that a webhook refused.

    A service leaves it to its next start.
    """
    return shutdown_grace(settings, plan) if plan.ends_by_itself else 0.0


def last_start(settings: Settings, plan: RunPlan) -> float:
    """Return for how many seconds after the stop events are still sent to a webhook.

    A service leaves its requests the other half of the grace period to end: one that is cut off is sent again by the
    next start, although it may have arrived.
    """
    return math.inf if plan.ends_by_itself else shutdown_grace(settings, plan) / 2


def reader_patience(settings: Settings, plan: RunPlan) -> float:
    """Return how many seconds a run that is done waits for a reader that takes no events.

    A reader of a pipe may be slow, and is waited for as by any other program. But the end of a run that keeps no state
    must not depend on it.
    """
    return math.inf if plan.keeps_state else settings.shutdown.grace


def inputs(settings: Settings) -> tuple[Path | str, ...]:
    """Return the inputs that intakes read: the queue file's path, `-` for stdin, and `account`."""
    queue = settings.queue
    files = () if queue.file is None else (queue.file,)
    return (*files, *(["-"] if queue.stdin else []), *(["account"] if settings.account.follow else []))


def shares_queue(settings: Settings, plan: RunPlan) -> bool:
    """Return whether the worker shares its queue with a fleet: one that ends by itself has a queue of its own."""
    return settings.queue.engine == "postgres" and not plan.ends_by_itself


def settings_of_a_fleet(settings: Settings, sinks: Sequence[str]) -> dict[str, object]:
    """Return the settings that all workers of a fleet must share, by their names. `sinks` are the names of the sinks.

    What one accepts another may settle, and what one settles another may have to deliver.
    """
    return {
        "api.base_url": settings.api.base_url,
        "events.sinks": sorted(name for name in sinks if not is_reader(name)),
        "queue.dedupe_window": settings.queue.dedupe_window,
    }


def account_since(account: Account) -> float | None:
    """Return the instant, in seconds since the epoch, from which assets are watched; None: the start of following."""
    return BEFORE_ALL if account.since == ALL else account.since_instant


def account_filters(account: Account) -> Filters:
    """Return which assets of the account are watched."""
    return Filters(account.types, account.filename, account.metadata)


def event_source(api: tree.Api) -> str:
    """Return the `source` of every event (CloudEvents 1.0)."""
    return f"{api.base_url}/assets"
