"""The interfaces of an intake: what it provides, and the receiver of the batches that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from asset_worker.domain.inbox import Asked
from asset_worker.domain.submissions import Batch, Submission
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.account.ports import Account
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop


class BatchReceiver(Protocol):
    """Accepts what intakes read."""

    async def room(self) -> int:
        """Wait until there is room. Return how many lines may be handed over: submissions and rejections together."""
        ...

    async def accept(self, batch: Batch) -> Sequence[Submission]:
        """Accept a batch; it is durable when this returns. Return the submissions that are no repeats."""
        ...


class Intake(Protocol):
    """What every intake promises."""

    @property
    def name(self) -> str:
        """The name that messages use, such as `queue file`."""
        ...

    @property
    def unreadable(self) -> str | None:
        """What can't be read now, and why; None: everything can be read."""
        ...

    @property
    def unreadable_since(self) -> float | None:
        """Since when, in seconds since the epoch, UTC; None: not known, or everything can be read."""
        ...

    @property
    def is_following(self) -> bool:
        """Whether what is written to the input from now on will be read: its position is known, and it is watched."""
        ...

    @property
    def progress(self) -> InputReport:
        """How far it was read."""
        ...

    @property
    def has_lost_input(self) -> bool:
        """Whether a part of the input could not be read, or not be accepted, and no later run can read it."""
        ...

    async def run(self, stop: Stop) -> None:
        """Read, and hand over what was read, until the stop or the end of the input."""
        ...

    def abandon(self) -> None:
        """Log what was read, has not been accepted and can't be read again: the process ends now."""
        ...


@runtime_checkable
class Inbox(Protocol):
    """The inbox of a fleet, as its intake uses it."""

    async def read_inbox(self, limit: int) -> list[Asked]:
        """Return the first `limit` rows that are this worker's to accept."""
        ...


class IntakeContext(msgspec.Struct, frozen=True):
    """What an intake may need besides its input."""

    receiver: BatchReceiver
    clock: Clock
    positions: Mapping[str, bytes]
    """The position that each intake had reached before this start, by the name under which it is stored."""
    rotated: tuple[str, ...]
    """Globs that recognise the rotated files of a queue file."""
    once: bool
    """Read to the end of the input once, and don't follow it."""
    is_output: Callable[[int], bool]
    """Returns whether this process writes events or its log to the file of a descriptor, so that it is not read."""
    account: Account | None = None
    """The account to follow; None: none."""
    inbox: Inbox | None = None
    """The inbox of the fleet; None: the worker is in none."""
    partial_wait: float = 0.0
    """With `once`, how long a last line without a newline may still grow, in seconds."""
