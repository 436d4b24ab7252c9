"""The interfaces that `Delivery` uses: a sink to send events to, and an outbox to read them from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from asset_worker.domain.events import Stored


class SinkError(Exception):
    """Events were not accepted. The message is for people; it holds no part of an event, and no secret."""


class SinkUnavailableError(SinkError):
    """A transient failure: the same events may be accepted later."""


class SinkRefusedError(SinkError):
    """The first of the events is refused permanently. Nothing is known about the others."""


class UnusableTargetError(Exception):
    """A target can't be used as it is written. The message says what to do."""


class TargetProblem(msgspec.Struct, frozen=True):
    """Why a target can't be used now."""

    text: str
    """What is wrong, and what to do."""
    is_final: bool = False
    """Whether it can't become usable as it is written: a file is expected, and it is a directory."""


class Sent(msgspec.Struct, frozen=True):
    """The result of a `send`."""

    count: int
    """How many events the sink has now, from the first on. 0: record the checkpoint, then send the events again."""
    checkpoint: bytes | None
    """What to pass to `resume` after a restart. It is recorded together with the sink's new position."""


class Sink(Protocol):
    """A receiver of events.

    It gets events in order, each at least once. Events that a `Sent` counts are as durable as the sink can make them.
    """

    @property
    def name(self) -> str:
        """The sink's name, the same after a restart: the outbox keeps the sink's position under it."""
        ...

    def resume(self, checkpoint: bytes | None) -> None:
        """Continue from the checkpoint that was recorded last; None: there is none. Called once, before any `send`."""
        ...

    async def check(self) -> None:
        """Check that events can be sent, as far as that can be seen without one, and leave no trace.

        Raises:
            SinkUnavailableError: they can't be sent now.
        """
        ...

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Send at least the first of the events. The result is recorded before the next `send`.

        Raises:
            SinkUnavailableError: no event is known to have been accepted; send them again later.
            SinkRefusedError: the first event will never be accepted.
        """
        ...

    def writes_to(self, descriptor: int) -> bool:
        """Return whether the file of a descriptor is one that events are, or were, written to. Any thread may ask.

        It is True before the first event of this process is in the file, and does no I/O at the sink's own path.

        Raises:
            OSError: the descriptor can't be examined.
        """
        ...

    async def close(self) -> None:
        """Release what is open, without waiting for a `send` that hangs."""
        ...


class Outbox(Protocol):
    """The events to send, as deliveries use them. Each sink has its own position."""

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """Return the events after the sink's position, in order, at most `limit`; empty: there are none."""
        ...

    async def wait(self, sink: str) -> None:
        """Wait until there may be events to read."""
        ...

    async def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded with the sink's position; None: there is none."""
        ...

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has all events up to `position`; durable when this returns."""
        ...

    async def dead_letter(self, sink: str, event: Stored, reason: str) -> None:
        """Keep an event that the sink refused permanently; durable when this returns. A repeat changes nothing."""
        ...
