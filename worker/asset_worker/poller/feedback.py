"""Reports looks to a schedule that learns: how long assets take, and whether more looks are due than can be made."""

from __future__ import annotations

from collections.abc import Callable

from asset_worker.domain.assets import Observation
from asset_worker.poller.decide import samples
from asset_worker.poller.lateness import Lateness
from asset_worker.queue.ports import Lease
from asset_worker.schedule.ports import Learner


class Feedback:
    """What a learner is shown of the looks."""

    def __init__(self, learner: Learner, *, breaker_is_open: Callable[[], bool] = lambda: False) -> None:
        """`breaker_is_open`: whether an outage or a refused key holds all requests now.

        Looks that are late for that reason do not show that requests are scarce.
        """
        self._learner = learner
        self._breaker_is_open = breaker_is_open
        self._lateness = Lateness()

    def taken(self, first: Lease, *, now: float, idle: float, gathered_at: float) -> None:
        """Leases were taken at `now`, of which `first` was due first.

        `idle`: seconds for which a request could have been made and nothing was due. `gathered_at`: when the latest
        pause for new assets ended. Instants are monotonic seconds.
        """
        self._learner.idled(idle)
        late = self._lateness.of(first.late, now=now, is_cut_off=self._breaker_is_open(), gathered_at=gathered_at)
        # Not first looks: no schedule decided when those are due.
        if late is not None and first.progress.polls:
            self._learner.looked_late(late.seconds, since=late.since)

    def looked(self, lease: Lease, observation: Observation, *, held: float) -> None:
        """A look was acted on; `held` is how long the lease had been held, in seconds."""
        for sample in samples(lease, observation, held=held):
            self._learner.observe(sample.look, since=sample.since, ended=sample.ended)
