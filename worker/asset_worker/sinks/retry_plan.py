"""When an event that an independent sink did not accept is sent again: pure.

The default plan (`events.sinks`, `retry`) is that of the Standard Webhooks specification, "Deliverability and
reliability" (github.com/standard-webhooks/standard-webhooks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asset_worker.runtime.randomness import Uniform

JITTER: Final = 0.2
"""Each delay is longer than the plan's by up to this share of it, at random, so that the events that failed together
are not all sent again together."""


ROUNDING_SECONDS: Final = 0.001
"""What sums of instants may differ by."""


def is_planned(plan: Sequence[float], attempts: int, *, since_first: float) -> bool:
    """Return whether an attempt, `since_first` seconds after the first, is no earlier than the plan has it.

    `attempts` are those before it that count, at least one. When a receiver that was down works again, everything is
    due at once. If it is soon down again, as one that can't take several events together, its events would use up in
    minutes the attempts that the plan spreads over days.
    """
    return since_first >= sum(plan[:attempts]) - ROUNDING_SECONDS


def next_delay(plan: Sequence[float], attempts: int, *, retry_after: float | None, uniform: Uniform) -> float | None:
    """Return the seconds from a failed attempt to the next; None: it was the last, and the event is a dead letter.

    Args:
        plan: the delay after each attempt, in seconds.
        attempts: how many attempts that count have failed, this one included.
        retry_after: the seconds that the receiver asked to wait; they are obeyed up to the plan's longest delay.
        uniform: draws the jitter.
    """
    if attempts > len(plan):
        return None
    delay = plan[attempts - 1] * (1 + JITTER * uniform())
    return delay if retry_after is None else max(delay, min(retry_after, max(plan)))
