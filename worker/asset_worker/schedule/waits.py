"""Schedules that don't learn, as tenacity wait strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tenacity.wait import wait_base, wait_exponential, wait_fixed

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from asset_worker.runtime.randomness import Uniform
    from asset_worker.schedule.ports import Schedule, WaitState

JITTER = 0.2
"""The random share of a delay: large enough that the looks at assets accepted together drift apart soon."""


class wait_jittered(wait_base):  # noqa: N801 - named as tenacity names its strategies
    """The delay of another strategy, shortened at random by up to `share` of it.

    The delay is never lengthened, so the other strategy's ceiling holds; and jitter doesn't affect its growth.
    tenacity's own `wait_exponential_jitter` cuts its jitter off at `max`, so assets at the ceiling would keep in step.
    """

    def __init__(self, wait: wait_base, uniform: Uniform, share: float = JITTER) -> None:
        self._wait = wait
        self._uniform = uniform
        self._share = share

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the delay in seconds."""
        return self._wait(retry_state) * (1 - self._share * self._uniform())


def fixed(*, interval: float, uniform: Uniform) -> wait_base:
    """Return a strategy with the same delay after every look: `interval` seconds, with jitter."""
    return wait_jittered(wait_fixed(interval), uniform)


def exponential(*, initial: float, multiplier: float, maximum: float, uniform: Uniform) -> wait_base:
    """Return a strategy with growing delays, with jitter.

    The first delay is `initial` seconds; each further one is `multiplier` times as long, up to `maximum` seconds.
    """
    return wait_jittered(wait_exponential(multiplier=initial, exp_base=multiplier, max=maximum), uniform)


def from_tenacity(wait: wait_base) -> Schedule:
    """Return a schedule that uses a tenacity wait strategy. The strategy may read only `attempt_number`."""

    def schedule(look: WaitState) -> float:
        return wait(cast("RetryCallState", look))

    return schedule


def spread(count: int, *, span: float, uniform: Uniform) -> list[float]:
    """Return delays that spread `count` first looks over `span` seconds, ascending: one at random in each equal part.

    A restart restores all pending assets at once. Without the spread they would all be due at once, and again after
    each delay.
    """
    return [span * (index + uniform()) / count for index in range(count)]
