"""Where completion events go.

The law of this layer: `Delivery` alone decides what is sent when, and what a failure means; a sink only sends, and
tells what became of it. Each sink has its own `Delivery`, so one that fails holds up no other. A sink is one small file
that satisfies `Sink`; it knows neither the journal nor the other sinks. One conformance suite
(`tests/unit/sinks/test_conformance.py`) holds for every sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from asset_worker.domain.events import Stored


class SinkError(Exception):
    """Events were not taken. The text is for people; it holds nothing of an event, and no secret."""


class SinkUnavailableError(SinkError):
    """The sink failed in passing: the same events may be taken later."""


class SinkRefusedError(SinkError):
    """The first of the events sent is refused for good; nothing is said about the others."""


class Sent(msgspec.Struct, frozen=True):
    """How far a `send` came."""

    count: int
    """How many of the first events the sink has now. 0: record the mark, then send them again."""
    mark: bytes | None
    """What the sink wants back after a restart, recorded together with that progress."""


class Sink(Protocol):
    """What a sink promises.

    Events arrive in order, each at least once, and those of a `Sent` stay there: they are as durable as the sink can
    make them.
    """

    @property
    def name(self) -> str:
        """The same across restarts: the outbox keeps the sink's position under it."""
        ...

    def resume(self, mark: bytes | None) -> None:
        """Go on from the mark that was recorded last. Called once, before the first `send`."""
        ...

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Send events, at least one of them. What it returns is recorded before the next `send`.

        Raises:
            SinkUnavailableError: nothing is known to be taken; send them again later.
            SinkRefusedError: the first event will never be taken.
        """
        ...

    async def close(self) -> None:
        """Let go of what is open. It doesn't wait for a `send` that hangs."""
        ...


class Outbox(Protocol):
    """Events to send, as sinks see them. Satisfied by the queue's journal."""

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """The first events after the sink's position, in order; empty when there are none."""
        ...

    async def wait(self, sink: str) -> None:
        """Return when there may be events to read."""
        ...

    async def mark(self, sink: str) -> bytes | None:
        """The mark last recorded with the sink's position."""
        ...

    async def advance(self, sink: str, position: int, mark: bytes | None) -> None:
        """The sink has all events up to `position`; durable when it returns."""
        ...

    async def dead_letter(self, sink: str, event: Stored, reason: str) -> None:
        """Keep an event that the sink refused for good; durable when it returns, once however often it is called."""
        ...
