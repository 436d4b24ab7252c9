"""The interfaces of deliveries: sinks to send events to, and an outbox to read them from.

There are two kinds of sinks. An *ordered* sink (a file, stdout) gets all events in one order: the first that it does
not take holds up the others. An *independent* sink (a webhook) takes or refuses each event by itself: one that fails is
tried again later, by the retry plan, and holds up only later events of its own asset.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

import msgspec

from asset_worker.domain.deliveries import Condition, Taken
from asset_worker.domain.events import Stored
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks.lines import ToLines, lines_of
from asset_worker.sinks.observing import WatchAttempt, unwatched


class SinkUnavailableError(Exception):
    """A transient failure: the same events may be accepted later.

    The message is for people; it holds no part of an event, and no secret.
    """


class UnusableTargetError(Exception):
    """A target can't be used as it is written. The message says what to do."""


class TargetNotReadyError(UnusableTargetError):
    """A target can't be used yet: a file that it needs is missing, empty, or can't be read now."""


class SinkContext(msgspec.Struct, frozen=True):
    """What sinks are opened with."""

    clock: Clock
    secrets: Secrets
    """The secrets that are redacted everywhere: a sink adds its own."""
    lines_on_stdout: ToLines = lines_of
    """How standard output shows events: as their JSON, if it is not for people."""
    watch: WatchAttempt = unwatched
    """Watches each HTTP request."""


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


class Delivered(msgspec.Struct, frozen=True):
    """The receiver has accepted the event."""


class Failed(msgspec.Struct, frozen=True):
    """The receiver has not accepted the event: it is tried again by the retry plan, then it is a dead letter."""

    reason: str
    """What happened, for people; it holds no secret."""
    retry_after: float | None = None
    """The seconds that the receiver asked to wait; None: it did not."""


class Gone(msgspec.Struct, frozen=True):
    """The receiver wants no more events (410): the sink is paused, and the event stays owed."""

    reason: str
    """What happened, for people; it holds no secret."""


Attempt = Delivered | Failed | Gone
"""The result of sending one event to an independent sink."""


class Sink(Protocol):
    """A receiver of events, each of which it gets at least once."""

    @property
    def name(self) -> str:
        """The sink's name, the same after a restart: the outbox keeps the sink's position under it."""
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


class OrderedSink(Sink, Protocol):
    """A sink that gets all events in order. Those that a `Sent` counts are as durable as the sink can make them."""

    @property
    def kind(self) -> Literal["ordered"]:
        """Tells this protocol from the other."""
        ...

    async def check(self) -> None:
        """Check that events can be sent, as far as that can be seen without one, and leave no trace.

        Raises:
            SinkUnavailableError: they can't be sent now.
        """
        ...

    def resume(self, checkpoint: bytes | None) -> None:
        """Continue from the checkpoint that was recorded last; None: there is none. Called once, before any `send`."""
        ...

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Send at least the first of the events. The result is recorded before the next `send`.

        Raises:
            SinkUnavailableError: no event is known to have been accepted; send them again later.
        """
        ...


class IndependentSink(Sink, Protocol):
    """A sink that takes or refuses each event by itself, several at once."""

    @property
    def kind(self) -> Literal["independent"]:
        """Tells this protocol from the other."""
        ...

    @property
    def concurrency(self) -> int:
        """How many events may be sent at once."""
        ...

    @property
    def retry(self) -> Sequence[float]:
        """The retry plan: seconds from each failed attempt to the next; after the last, the event is a dead letter."""
        ...

    def wants(self, event: Stored) -> bool:
        """Return whether the sink gets this event: its settings may filter by outcome."""
        ...

    async def attempt(self, event: Stored) -> Attempt:
        """Send one event, once. It ends within the sink's timeout, and raises nothing.

        Events of one asset are never sent at once.
        """
        ...

    async def reload(self) -> None:
        """Read again what is read from files: secrets, headers, TLS roots. What can't be read stays as it is."""
        ...


class Outbox(Protocol):
    """The events to send, as deliveries to ordered sinks use them. Each sink has its own position."""

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

    def owed(self, sink: str) -> int:
        """Return how many events the sink lacks."""
        ...

    def oldest_at(self, sink: str) -> float | None:
        """Return when the oldest event was made that the sink lacks, in seconds since the epoch, UTC, without I/O.

        None: it lacks none, or that is not known, as of events that were made a moment ago.
        """
        ...


class IndependentOutbox(Protocol):
    """The events to send, as deliveries to independent sinks use them.

    The sink's position says that each event up to it was accepted, is a dead letter, is not wanted, or has a record in
    the table `undelivered`. The record is durable before the position passes the event. An event is deleted when all
    sinks have passed it and no record names it. Every change is durable when its call returns.
    """

    async def take(
        self,
        sink: str,
        limit: int,
        *,
        now: float,
        until: float,
        without: Collection[int],
        wants: Callable[[Stored], bool],
        transitions: int,
    ) -> Taken:
        """Return at most `limit` events to send now, those whose position is in `without` left out.

        First come the events with a record that is due by `until`, the earliest first, then new events, which get a
        record that is due `now`. Of one asset, only the earliest event that has a record is returned: the later ones
        wait until it is delivered or a dead letter, also while it is in `without`. New events that the sink does not
        want are passed over. Fewer than `limit` are returned only if there are no more.

        Transitions whose completion has no record come after the others, and at most `transitions` of them. When a
        completion gets a record, and a transition of its asset waits for a retry, then that one is superseded, and so
        are the others of the asset that are not in `without`: they become dead letters, and the completion is due
        `now`.
        """
        ...

    async def wait(self, sink: str) -> None:
        """Wait until there may be new events: events after the sink's position."""
        ...

    async def wait_for_retry(self, sink: str) -> None:
        """Wait until `dead-letters retry` asks for this sink. Requests from before the call count once."""
        ...

    async def delivered(self, sink: str, position: int, *, now: float) -> None:
        """Delete the record of an event that the sink accepted. The asset's next event is due `now`."""
        ...

    async def failed(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, next_at: float, error: str
    ) -> tuple[str, ...]:
        """Change the record of an event that was not accepted. Later events of its asset wait at least as long.

        If it is a transition whose completion has a record, it is superseded instead, and so are all that hold up the
        completion, which is then due `now`. Return the IDs of those.
        """
        ...

    async def dead_letter(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, reason: str
    ) -> tuple[str, ...]:
        """Keep an event whose last attempt failed as a dead letter. The asset's next event is due `now`.

        If it is superseded (see `failed`), `reason` is not kept. Return the IDs of all that are.
        """
        ...

    async def make_all_due(self, sink: str, *, now: float) -> None:
        """Make every event with a record due `now` that would be due later."""
        ...

    async def condition(self, sink: str) -> Condition | None:
        """Return what was recorded last as wrong with the sink, also by an earlier run; None: it works."""
        ...

    async def set_condition(self, sink: str, condition: Condition | None) -> None:
        """Record what is wrong with the sink, for `status` and the next run; None: it works."""
        ...

    def owed(self, sink: str) -> int:
        """Return how many events the sink lacks: those with a record, and those after its position."""
        ...

    def oldest_at(self, sink: str) -> float | None:
        """Return when the oldest event was made that the sink lacks; see `Outbox.oldest_at`."""
        ...


class ReaderOutbox(Outbox, Protocol):
    """The events, as a reader that is no sink uses them: nobody waits for it."""

    def position(self, reader: str) -> int:
        """Return the position up to which the reader has all events."""
        ...

    async def move_on(self, reader: str, *, keep: int) -> int:
        """Let the reader pass all but the last `keep` events. Return how many it misses for it."""
        ...


class AnyOutbox(IndependentOutbox, ReaderOutbox, Protocol):
    """The events to send, for sinks of both kinds and for readers."""
