"""The queue as telemetry reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from asset_worker.runtime.measures import Operations


class Failure(Protocol):
    """Why the journal, or the fleet's database, can't be written."""

    @property
    def error(self) -> str:
        """The text of the latest failure."""
        ...

    @property
    def since(self) -> float:
        """Since when, in seconds since the epoch, UTC."""
        ...


class FleetState(Protocol):
    """The fleet, as this worker sees it."""

    @property
    def workers(self) -> int:
        """Workers whose lease is valid, this one included."""
        ...

    @property
    def portion(self) -> float:
        """The portion of the quota that this one uses, from 0 to 1."""
        ...

    @property
    def unowned(self) -> int:
        """Pending assets that nobody owned when they were counted last; the count may end early."""
        ...

    @property
    def unowned_age(self) -> float:
        """For how many seconds there have been such assets; 0: there are none."""
        ...

    @property
    def leases_lost(self) -> int:
        """How often this worker could not extend its lease in time, or was retired, since the start."""
        ...

    @property
    def lapse(self) -> Failure | None:
        """Why the lease is over, and since when; None: it is valid."""
        ...


class PendingCounts(Protocol):
    """The queue, as telemetry reads it."""

    @property
    def fleet(self) -> FleetState | None:
        """The fleet whose workers share the queue; None: nobody shares it."""
        ...

    @property
    def failure(self) -> Failure | None:
        """Why the journal can't be written now; None: it can."""
        ...

    @property
    def commits(self) -> Operations:
        """The transactions of the journal since the start."""
        ...

    @property
    def waiting_for_sinks_since(self) -> float | None:
        """Since when the inputs have waited for the sinks, in seconds since the epoch, UTC; None: they don't."""
        ...

    def pending_count(self) -> int:
        """Return how many assets are pending."""
        ...

    def recent_due_count(self) -> int:
        """Return how many assets are due and not looked at yet, counted up to 1000, as it was a moment ago."""
        ...

    def oldest_age(self) -> float:
        """Return the age in seconds of the asset that has been pending longest; 0 when none is pending."""
        ...

    def waiting_on(self) -> Mapping[str, int]:
        """Return how many assets are pending by what they wait for; nothing is visited for it."""
        ...

    def outbox_depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        ...

    def dead_letters_by_sink(self) -> Mapping[str, int]:
        """Return how many dead letters each sink has; sinks that never had one may be left out."""
        ...
