"""The interface for those who watch the poller work: each look, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable

from asset_worker.domain.assets import Observation
from asset_worker.poller.decide import Defer, Settle
from asset_worker.queue.ports import Lease

Observe = Callable[[Lease, Observation, Settle | Defer], None]
"""Takes the asset as it was before a look, what the look showed, and what follows. It is called before that is done. It
must return quickly and raise nothing."""


def ignore(lease: Lease, observation: Observation, step: Settle | Defer) -> None:
    """Do nothing, as an `Observe` of a run that nobody watches."""
    del lease, observation, step


def both(first: Observe, second: Observe) -> Observe:
    """Return an `Observe` that calls both."""

    def observe(lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        first(lease, observation, step)
        second(lease, observation, step)

    return observe
