"""What a queue engine promises: four narrow protocols, and `QueueEngine`, which combines them.

The intakes and the poller use `Queue`, telemetry and the commands use `QueueStatus`, those who answer questions about
one asset use `QueueLookup`, and the service, which starts the engine and shuts it down, uses `QueueLifecycle`. Nobody
outside this package needs to know which engine it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import AssetState, PendingState
from asset_worker.domain.submissions import Options, Submission
from asset_worker.runtime.measures import Operations

OutboxT_co = TypeVar("OutboxT_co", covariant=True)


class Lease(msgspec.Struct, frozen=True):
    """The right to look at one pending asset now. It ends with `defer` or `settle`."""

    submission: Submission
    accepted_at: float
    """When it was accepted, in steady time (`runtime.steady_time`)."""
    age: float
    """Seconds since acceptance."""
    ready_age: float | None
    """Seconds since `ready` was first seen; None: it has not been seen."""
    missing_age: float | None
    """Seconds since the asset was first found missing after it had been seen; None: it is not, or was never seen."""
    completion: int
    """The number of the completion that this wait leads to: how often the asset was settled before, plus one."""
    progress: Progress
    late: float = 0.0
    """Seconds since it was due; negative: it was taken early, together with another that was due."""
    taken_at: float = 0.0
    """When it was taken, in steady time. The ages above are those of that moment."""
    life: int = 0
    """Which life of a worker took it, in a fleet: the leases of one that was retired end nothing."""


class Queue(Protocol):
    """The hot path: accept submissions, lease what is due, end each lease.

    - All instants that are kept, and all ages, are by steady time: setting the wall clock changes none of them.
    - `put`, `settle`, and `defer` with events, do all or nothing. When they return, the result is as durable as the
      engine makes it: on the disk with a local engine, until the process ends with a memory engine.
    - Events of one asset are in the outbox in the order of the calls: steps, then the completion.
    - An asset that is pending, or was settled within the dedupe window, is not accepted again.
    - An asset has at most one lease at a time, and is settled once.
    - After a crash of a durable engine, what was accepted and not settled is pending again, with its acceptance time
      and the number of its completion.
    """

    async def room(self) -> int:
        """Wait until there is room: fewer pending assets, and no more undelivered events, than the engine's limit.

        Return how many submissions and events of rejected lines may be put, taken together. A `put` of more is taken,
        too: what was read and can't be read again must not be lost.
        """
        ...

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        """Return whether there is room for all of these assets that are not pending yet, now and without waiting.

        What is being put counts, so whoever puts them before anything else happens does not exceed the limit.
        """
        ...

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        """Accept submissions, which are due at once, and put events about rejected lines into the outbox.

        A submission of an asset that is pending because it was found in the account takes the place of that one, with
        its options, and is accepted: until now, nobody had asked for the asset. Its age goes on.

        The position that the intake has reached is recorded with them; None: it has none. Without `accepts_settled`, an
        asset that was ever settled is a repeat, as far as settlements are kept: for a week, or longer. Return the
        submissions that were accepted; the others are repeats.
        """
        ...

    async def take(self, limit: int, *, ahead: float = 0.0) -> list[Lease]:
        """Wait until an asset is due. Return leases on at most `limit` assets, in the order of their due times.

        Assets that will be due within `ahead` seconds are leased with it.
        """
        ...

    def take_overdue(self, limit: int, *, age_limit: Callable[[Options | None], float]) -> list[Lease]:
        """Examine the next `limit` pending assets, in the order of acceptance, and after the last the first again.

        Return leases on those that are due and were accepted at least `age_limit` seconds ago, which depends on the
        options of the submission.
        """
        ...

    def lease(self, asset_ids: Iterable[AssetId], *, not_seen_since: float) -> list[Lease]:
        """Return leases on those of the assets that are pending, not leased, and were not looked at since then.

        They need not be due: something else than the schedule has shown them. `not_seen_since` is in steady time.
        """
        ...

    async def defer(self, lease: Lease, delay: float, progress: Progress, events: Sequence[Event] = ()) -> None:
        """End a lease: the asset stays pending with this progress, and is due again in `delay` seconds.

        `events` report steps. With any, they are in the outbox, and the progress that records them is as durable as
        they are; without, the progress need not be durable when this returns.
        """
        ...

    async def settle(self, lease: Lease, event: Event, *, steps: Sequence[Event] = ()) -> None:
        """End a lease: the asset is no longer pending, and its event is in the outbox.

        `steps` are events of steps that the same look was the first to see. They come before it.
        """
        ...


class Failure(msgspec.Struct, frozen=True):
    """Why an engine can't write now."""

    error: str
    """The text of the latest failure."""
    since: float
    """In seconds since the epoch, UTC."""


class FleetState(msgspec.Struct, frozen=True):
    """The fleet, as this worker sees it."""

    workers: int
    """Workers whose lease is valid, this one included."""
    portion: float
    """The portion of the quota that this one uses, from 0 to 1."""
    unowned: int
    """Pending assets that nobody owned when they were counted last, up to some number."""
    unowned_age: float
    """For how many seconds there have been such assets; 0: there are none."""
    leases_lost: int
    """How often this worker could not extend its lease in time, or was retired, since the start."""
    lapse: Failure | None
    """Why the lease is over, and since when; None: it is valid."""


class QueueStatus(Protocol):
    """What is reported to operators. Nothing here waits or reads the disk."""

    @property
    def commits(self) -> Operations:
        """The transactions of the journal since the start; none, if there is no journal."""
        ...

    @property
    def failure(self) -> Failure | None:
        """Why the engine can't write now, while it tries again; None: it can."""
        ...

    @property
    def fleet(self) -> FleetState | None:
        """The fleet that shares the queue; None: nobody shares it."""
        ...

    @property
    def waiting_for_sinks_since(self) -> float | None:
        """Since when `room` has made intakes wait for the sinks, in seconds since the epoch, UTC; None: it doesn't.

        While the sinks are slower than the intakes, short waits after each batch count as one.
        """
        ...

    def pending_count(self) -> int:
        """Return how many assets are pending, leased ones included."""
        ...

    def recent_due_count(self) -> int:
        """Return how many assets are due and not leased, counted up to 1000, now or a moment ago.

        It is cheap, however often it is asked for.
        """
        ...

    def oldest_age(self) -> float:
        """Return how long, in seconds, the asset accepted first has been pending; 0: nothing is pending."""
        ...

    def waiting_on(self) -> Mapping[str, int]:
        """Return the number of pending assets by what they wait for; `first look`: not looked at yet.

        One that waits for several counts for each. The numbers are kept as assets come and go: nothing is visited.
        """
        ...

    def oldest(self, limit: int) -> Mapping[AssetId, PendingState]:
        """Return the pending assets that were accepted first, at most `limit`, in the order of acceptance."""
        ...

    def outbox_depth(self) -> int:
        """Return how many events the sink furthest behind still lacks, those that wait for a retry included."""
        ...

    def dead_letters_by_sink(self) -> Mapping[str, int]:
        """Return how many dead letters each sink has; sinks that never had one may be left out."""
        ...


class QueueLookup(Protocol):
    """What is answered to those who ask for one asset."""

    async def find(self, asset_id: AssetId) -> AssetState:
        """Return what is known of an asset: that it is pending, how its last wait ended, or both."""
        ...

    def pending_state(self, asset_id: AssetId) -> PendingState | None:
        """Return what is known of an asset that is pending; None: it is not."""
        ...


class QueueLifecycle(Protocol):
    """How the service starts and ends an engine: `begin`, then all work, `finish`, `close`."""

    async def begin(self, *, ends_by_itself: bool) -> None:
        """Begin a run. If it ends by itself, its outcomes are counted, on top of those of an interrupted run."""
        ...

    async def run_maintenance(self) -> None:
        """Do periodic work for the engine until cancelled. Return at once if the engine needs none.

        Raises:
            Exception: an error of the engine. It must not be used any more: what it accepts would be lost.
        """
        ...

    async def idle(self) -> None:
        """Wait until nothing is pending."""
        ...

    async def finish(self) -> Mapping[str, int] | None:
        """Return the count of each outcome of this run and of interrupted runs before it.

        Called once, when there will be no more work. A run that leaves nothing pending and nothing to send is complete:
        the next one counts from 0. Empty for a run that does not end by itself. None: the engine can't be written.
        """
        ...

    async def close(self) -> None:
        """Save what can be saved quickly, and release files and threads. Doesn't wait for a disk that hangs."""
        ...


class QueueEngine(Queue, QueueStatus, QueueLookup, QueueLifecycle, Protocol[OutboxT_co]):
    """A whole engine, as the service uses it.

    `OutboxT_co` is the outbox as sinks use it. It is a parameter because `sinks` defines that protocol, and `queue`
    must not import `sinks`.
    """

    @property
    def intakes(self) -> Mapping[str, bytes]:
        """The position that each intake had reached when the engine was opened, by the intake's name.

        Empty for an engine that keeps nothing between runs.
        """
        ...

    @property
    def outbox(self) -> OutboxT_co:
        """The events to send, in the order of `put` and `settle`. Each sink reads them at its own pace."""
        ...
