"""The schedules that learn nothing, as tenacity wait strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tenacity.wait import wait_base, wait_exponential, wait_fixed

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from asset_worker.runtime.randomness import Uniform
    from asset_worker.schedule.ports import Schedule, WaitState

JITTER = 0.2
"""How much of a delay is left to chance: enough to pull apart, within a few looks, assets accepted together."""


class wait_jittered(wait_base):  # noqa: N801 - named as tenacity names its strategies
    """Another strategy's delay, shortened at random by up to `share` of it.

    Shortened, not lengthened, so that the other's ceiling holds; and of what the other says, so that jitter never
    feeds growth. tenacity's own `wait_exponential_jitter` clips its jitter away at `max`, where assets would then fall
    into step.
    """

    def __init__(self, wait: wait_base, uniform: Uniform, share: float = JITTER) -> None:
        self._wait = wait
        self._uniform = uniform
        self._share = share

    def __call__(self, retry_state: RetryCallState) -> float:
        return self._wait(retry_state) * (1 - self._share * self._uniform())


def fixed(*, interval: float, uniform: Uniform) -> wait_base:
    """The same delay, in seconds, after every look."""
    return wait_jittered(wait_fixed(interval), uniform)


def exponential(*, initial: float, multiplier: float, maximum: float, uniform: Uniform) -> wait_base:
    """`initial` seconds after the first look, each next delay `multiplier` times as long, `maximum` at most."""
    return wait_jittered(wait_exponential(multiplier=initial, exp_base=multiplier, max=maximum), uniform)


def from_tenacity(wait: wait_base) -> Schedule:
    """A schedule from a tenacity wait strategy, which may read `attempt_number` and nothing else."""

    def schedule(look: WaitState) -> float:
        return wait(cast("RetryCallState", look))

    return schedule


def spread(count: int, *, span: float, uniform: Uniform) -> list[float]:
    """Delays in seconds, ascending, that lay `count` first looks evenly but not in step over `span`.

    A restart takes up all that is pending at once; without this it would all be due at once, and again after each
    delay.
    """
    return [span * (index + uniform()) / count for index in range(count)]
