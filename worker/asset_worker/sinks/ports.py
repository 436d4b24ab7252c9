"""What `Delivery` needs: a sink to send events to, and an outbox to read them from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from asset_worker.domain.events import Stored


class SinkError(Exception):
    """Events were not taken. The text is for people; it holds no part of an event, and no secret."""


class SinkUnavailableError(SinkError):
    """A transient failure: the same events may be taken later."""


class SinkRefusedError(SinkError):
    """The first of the events sent is refused for good. Nothing is known about the others."""


class Sent(msgspec.Struct, frozen=True):
    """What a `send` achieved."""

    count: int
    """How many of the first events the sink has now. 0 means: record the checkpoint, then send them again."""
    checkpoint: bytes | None
    """What the sink wants back after a restart, recorded together with that progress."""


class Sink(Protocol):
    """A receiver of events.

    Events come in order, and each of them at least once. Those that a `Sent` counts are as durable as the sink can make
    them.
    """

    @property
    def name(self) -> str:
        """The same after a restart: the outbox keeps the sink's position under it."""
        ...

    def resume(self, checkpoint: bytes | None) -> None:
        """Go on from the checkpoint that was recorded last. Called once, before the first `send`."""
        ...

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Send events, at least one of them. The result is recorded before the next `send`.

        Raises:
            SinkUnavailableError: no event is known to be taken; send them again later.
            SinkRefusedError: the first event will never be taken.
        """
        ...

    async def close(self) -> None:
        """Close what is open, without waiting for a `send` that hangs."""
        ...


class Outbox(Protocol):
    """Events to send, as a sink sees them: each sink reads on from its own position."""

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """The first events after the sink's position, at most `limit`, in order; empty if there are none."""
        ...

    async def wait(self, sink: str) -> None:
        """Return when there may be events to read."""
        ...

    async def checkpoint(self, sink: str) -> bytes | None:
        """The checkpoint that was last recorded with the sink's position."""
        ...

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has all events up to `position`; durable when it returns."""
        ...

    async def dead_letter(self, sink: str, event: Stored, reason: str) -> None:
        """Keep an event that the sink refused for good; durable when it returns. Repeating it changes nothing."""
        ...
