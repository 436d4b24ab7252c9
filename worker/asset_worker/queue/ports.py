"""The pending assets: accepted, not settled.

`Queue` is the whole contract between whoever fills the queue and whoever empties it. An engine keeps it durably and
hands out leases by due time; it knows nothing of the API, of outcomes or of schedules. One conformance suite
(`tests/unit/queue/conformance.py`) holds for every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission


class Lease(msgspec.Struct, frozen=True):
    """One taker's right to look at one pending asset now. It ends with `defer` or `settle`."""

    submission: Submission
    accepted_at: float
    """Seconds since the epoch, UTC."""
    age: float
    """Seconds since acceptance, by a clock that doesn't step."""
    ready_age: float | None
    """Seconds since `ready` was first seen, by a clock that doesn't step."""
    missing_age: float | None
    """Seconds since an asset that had been seen was first found missing, by a clock that doesn't step."""
    completion: int
    """Which completion of this asset this wait leads to, from 1."""
    progress: Progress
    late: float = 0.0
    """Seconds since it was due; negative: it came along with another before it was."""
    taken_at: float = 0.0
    """When it was taken, and so old, in seconds of the clock that doesn't step."""


class Queue(Protocol):
    """What an engine promises.

    - `put` is durable when it returns, together with the position it came from. What is pending already, or was
      settled within the dedupe window, is a repeat: it is not accepted again.
    - An asset has at most one lease at a time, and `take` returns them in the order of their due times.
    - `settle` is durable when it returns, together with its event. An asset is settled once.
    - After a crash, what was accepted and not settled is pending again, its acceptance time and completion kept.
    """

    async def room(self) -> int:
        """How many more submissions may be put; waits until that is one at least."""
        ...

    async def put(
        self, submissions: Sequence[Submission], *, events: Sequence[Event], intake: str, position: bytes | None
    ) -> list[Submission]:
        """Accept submissions, and events that need no look, with the intake's new position; those that were new."""
        ...

    async def take(self, limit: int, *, ahead: float = 0.0) -> list[Lease]:
        """Leases on assets that are due, `limit` at most; waits until one is.

        Once one is due, those due within `ahead` seconds come with it.
        """
        ...

    async def defer(self, lease: Lease, delay: float, progress: Progress) -> None:
        """Not done: due again in `delay` seconds."""
        ...

    async def settle(self, lease: Lease, event: Event) -> None:
        """Done: no longer pending, and the event is in the outbox."""
        ...
