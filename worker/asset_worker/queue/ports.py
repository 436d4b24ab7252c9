"""What an engine of the queue promises: three narrow protocols, and `QueueEngine` for who holds a whole one.

`Queue` is for those who fill the queue and empty it, `QueueStatus` for those who report on it, `QueueLifecycle` for the
service that starts it and shuts it down. Nobody outside this package needs to know which engine it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission

OutboxT_co = TypeVar("OutboxT_co", covariant=True)


class Lease(msgspec.Struct, frozen=True):
    """The right to look at one pending asset now. It ends with `defer` or `settle`."""

    submission: Submission
    accepted_at: float
    """Seconds since the epoch, UTC."""
    age: float
    """Seconds since acceptance, by the monotonic clock."""
    ready_age: float | None
    """Seconds since `ready` was first seen, by the monotonic clock; None: it has not been seen."""
    missing_age: float | None
    """Seconds since the asset was first found missing, by the monotonic clock; None: it never was seen, or is back."""
    completion: int
    """The number of the completion that this wait leads to, from 1: how often the asset has been settled, plus one."""
    progress: Progress
    late: float = 0.0
    """Seconds since it was due; negative: it was taken ahead of time, with another that was due."""
    taken_at: float = 0.0
    """When it was taken, in seconds of the monotonic clock. The ages above are those of that moment."""


class Queue(Protocol):
    """The hot path: accept submissions, lease what is due, end each lease.

    - `put` and `settle` are all or nothing, and as durable as the engine is when they return. A local engine has them
      on the disk; what a memory engine holds ends with the process.
    - An asset that is pending, or was settled within the dedupe window, is not accepted again.
    - An asset has at most one lease at a time, and is settled once.
    - After a crash of a durable engine, what was accepted and not settled is pending again, with its acceptance time
      and the number of its completion.
    """

    async def room(self) -> int:
        """How many more submissions may be put. Waits until there is room for one."""
        ...

    async def put(
        self, submissions: Sequence[Submission], *, events: Sequence[Event], intake: str, position: bytes | None
    ) -> list[Submission]:
        """Accept submissions, due at once, and put events about lines that hold none into the outbox.

        The intake's new position is recorded together with them (None: it has no position). Returns the submissions
        that were accepted; the others are repeats.
        """
        ...

    async def take(self, limit: int, *, ahead: float = 0.0) -> list[Lease]:
        """Leases on at most `limit` assets, in the order of their due times. Waits until one is due.

        Once one is due, assets due within `ahead` seconds come with it.
        """
        ...

    async def defer(self, lease: Lease, delay: float, progress: Progress) -> None:
        """End a lease: the asset stays pending, is due again in `delay` seconds, and has come as far as `progress`.

        Progress need not be durable when this returns.
        """
        ...

    async def settle(self, lease: Lease, event: Event) -> None:
        """End a lease: the asset is no longer pending, and its event is in the outbox."""
        ...


class QueueStatus(Protocol):
    """What operators read. Nothing here waits or touches a disk."""

    @property
    def failing(self) -> bool:
        """Whether the engine can't write at present, and tries again."""
        ...

    def pending_count(self) -> int:
        """How many assets are pending, leased ones included."""
        ...

    def due_count(self, limit: int = 1000) -> int:
        """How many assets are due and not leased, counted up to `limit`."""
        ...

    def oldest_age(self) -> float:
        """Seconds since the acceptance of the asset that has been pending longest; 0 when nothing is pending."""
        ...

    def waiting_on(self) -> dict[str, int]:
        """How many pending assets wait for what; `first look`: not looked at yet. It walks all that is pending."""
        ...

    def outbox_depth(self) -> int:
        """How many events at least one sink does not have yet."""
        ...


class QueueLifecycle(Protocol):
    """How the service begins with an engine and ends with it: `begin`, all work, `finish`, `close`."""

    async def begin(self, *, ends_by_itself: bool) -> None:
        """Begin a run; one that ends by itself has its outcomes counted, from where an interrupted one stopped."""
        ...

    async def run_maintenance(self) -> None:
        """Do what the engine needs now and then, until cancelled. Returns early when there is nothing to do, ever.

        Raises:
            Exception: of the engine's own; what it would accept from now on would be lost.
        """
        ...

    async def idle(self) -> None:
        """Return when nothing is pending."""
        ...

    async def finish(self) -> Mapping[str, int] | None:
        """The outcomes of this run and of the interrupted ones before it, each with its count.

        Called once, when no more work will come. A run that leaves nothing pending and nothing to send is complete:
        the next one counts from 0. Empty for a run that does not end by itself. None: the engine can't be written.
        """
        ...

    async def close(self) -> None:
        """Save what can be saved at once, and release files and threads. A disk that hangs doesn't hold this up."""
        ...


class QueueEngine(Queue, QueueStatus, QueueLifecycle, Protocol[OutboxT_co]):
    """A whole engine, as the service holds it.

    `OutboxT_co` is the outbox as sinks see it: they define that protocol, and parts beside one another don't import
    each other.
    """

    @property
    def intakes(self) -> Mapping[str, bytes]:
        """The position that each intake had reached when the engine was opened, by the intake's name.

        Empty for an engine that keeps nothing between runs.
        """
        ...

    @property
    def outbox(self) -> OutboxT_co:
        """The events to send. Each sink has them in the order of `put` and `settle`, at its own pace."""
        ...
