"""Reports looks to a schedule that learns: how long assets take, and whether more looks are due than can be made."""

from __future__ import annotations

from collections.abc import Callable

from asset_worker.domain.assets import Observation
from asset_worker.poller.decide import samples
from asset_worker.poller.lateness import Lateness
from asset_worker.queue.ports import Lease
from asset_worker.schedule.ports import Learner, WaitState


class Feedback:
    """Reports each take and each look to a learner."""

    def __init__(
        self,
        learner: Learner,
        *,
        breaker_is_open: Callable[[], bool] = lambda: False,
        wall_offset: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Report to `learner`.

        Args:
            learner: the schedule that learns.
            breaker_is_open: returns whether an outage or a refused key holds all requests now. Looks that are late for
                that reason don't show that requests are scarce.
            wall_offset: returns what the wall clock shows now minus steady time, in seconds. By it, the ages of waits
                are compared with when the API created the assets.
        """
        self._learner = learner
        self._breaker_is_open = breaker_is_open
        self._wall_offset = wall_offset
        self._lateness = Lateness()

    def taken(self, first: Lease, *, now: float, idle: float, gathered_at: float) -> None:
        """Report that leases were taken; `first` is the one that was due first.

        Args:
            first: the lease that was due first.
            now: when the leases were taken.
            idle: seconds in which a request could have been made, but nothing was due.
            gathered_at: when the latest pause for new assets ended.

        Instants are monotonic seconds.
        """
        self._learner.idled(idle)
        late = self._lateness.of(first.late, now=now, is_cut_off=self._breaker_is_open(), gathered_at=gathered_at)
        # First looks are left out: no schedule decided when they are due.
        if late is not None and first.progress.polls:
            self._learner.looked_late(late.seconds, since=late.since)

    @property
    def backlog_factor(self) -> float:
        """By how much the learner stretches delays because more looks are due than can be made; 1: it doesn't."""
        return self._learner.backlog_factor

    def looked(self, lease: Lease, observation: Observation, *, held: float) -> None:
        """Report a look; `held` is how long the lease had been held, in seconds."""
        for sample in samples(lease, observation, held=held, wall_offset=self._wall_offset()):
            self._learner.observe(sample.look, since=sample.since, ended=sample.ended, renditions=sample.renditions)

    def requested(self, looks: int) -> None:
        """Report a request that looks at this many assets. Requests that only confirm or check are not reported."""
        self._learner.requested(looks)

    def chance_of_end(self, look: WaitState, *, within: float) -> float:
        """Return the chance that a wait that went on `within` seconds ago has ended by now, at age `look.age`."""
        return self._learner.chance_of_end(look, within=within)
