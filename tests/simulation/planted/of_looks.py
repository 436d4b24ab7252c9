"""Faults of looks at assets, and of requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import msgspec

from asset_worker.api.breaker import Breaker
from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.domain.assets import Done, Missing, Outcome, assess
from asset_worker.poller import decide
from asset_worker.poller.list_health import ListHealth, Treatment
from tests.simulation.planted.registry import planted


@planted("list-believed-unproven", "from a list", "is said to be")
def list_believed_unproven() -> Iterator[None]:
    """Assets are settled from lists whose shapes nothing has proven."""
    with patch.object(ListHealth, "shown", lambda *_: Treatment.SETTLE):
        yield


@planted("grace-of-404-ignored", "is said to be not_found", "missing for")
def grace_of_404_ignored() -> Iterator[None]:
    """An asset that is not visible yet is settled at once as not found."""

    def at_once(observation: Any, *rest: Any) -> Any:
        return Done(Outcome.NOT_FOUND) if isinstance(observation, Missing) else assess(observation, *rest)

    with patch.object(decide, "assess", at_once):
        yield


@planted("deadline-ignored", "not all was settled")
def deadline_ignored() -> Iterator[None]:
    """A wait that is answered has no deadline."""

    def for_ever(observation: Any, expectations: Any, ages: Any) -> Any:
        patient = msgspec.structs.replace(expectations, deadline=1e9, rendition_deadline=1e9)
        return assess(observation, patient, ages)

    with patch.object(decide, "assess", for_ever):
        yield


@planted("wait-of-429-ignored", "told to")
def wait_of_429_ignored() -> Iterator[None]:
    """Requests go on after a 429, whatever wait it asks for."""
    with ExitStack() as stack:
        for name in ("_refused", "_refused_alone"):
            stack.enter_context(patch.object(RateLimiter, name, lambda *_: None))
        stack.enter_context(patch.object(RateLimiter, "_update_quotas", lambda *_, **__: None))
        yield


@planted("own-rate-ignored", "requests a second allow")
def own_rate_ignored() -> Iterator[None]:
    """`limits.requests_per_second` has no effect."""
    init = RateLimiter.__init__

    def unlimited(self: RateLimiter, *, requests_per_second: float, share: float) -> None:
        init(self, requests_per_second=0.0 * requests_per_second, share=share)

    with patch.object(RateLimiter, "__init__", unlimited):
        yield


@planted("refused-key-used-on", "refused key")
def refused_key_used_on() -> Iterator[None]:
    """Requests go on with a key that is refused."""

    def refused(self: Breaker, _now: float, *, period: int, **_: Any) -> None:
        self.lost(period=period)

    with patch.object(Breaker, "refused", refused):
        yield
