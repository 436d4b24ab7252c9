"""Faults of deliveries."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from unittest.mock import patch

from asset_worker.queue.local.dead_letter_rows import DeadLetterRows
from asset_worker.queue.local.journal import Journal
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.independent import IndependentDelivery
from asset_worker.sinks.ports import Attempt, Delivered
from asset_worker.sinks.webhook import sink as webhook
from asset_worker.sinks.webhook.answers import attempt_of
from tests.simulation.planted.registry import planted
from tests.simulation.system_calls import SimulatedOs


@planted("advanced-before-sent", "lost:", "never got", "which the events file lacks")
def advanced_before_sent() -> Iterator[None]:
    """The position of the events file passes events before they are written."""

    async def deliver(self: Delivery, events: Sequence[Any], stop: Any) -> None:
        await self._outbox.advance(self.sink, events[-1].position, await self._outbox.checkpoint(self.sink))
        left = events
        while left:
            sent = await self._retrying(stop)(self._sink.send, left)
            left = left[sent.count :]
        self._recovered()
        await self._outbox.advance(self.sink, events[-1].position, sent.checkpoint)

    with patch.object(Delivery, "_deliver", deliver):
        yield


@planted("never-synced", "lost:", "holds a line that is no event", "which the events file lacks")
def never_synced() -> Iterator[None]:
    """The events file is written, and never synced: a power cut takes what the journal takes for delivered."""
    with patch.object(SimulatedOs, "fdatasync", lambda *_: None):
        yield


@planted("not-searched-after-crash", "the events file repeats")
def not_searched_after_crash() -> Iterator[None]:
    """After a crash, the events file is not searched for what was written and not recorded."""
    resume = FileSink.resume

    def resume_at_end(self: FileSink, checkpoint: bytes | None) -> None:
        resume(self, checkpoint)
        self._is_scanned = True

    with patch.object(FileSink, "resume", resume_at_end):
        yield


@planted("deleted-before-answered", "never got")
def deleted_before_answered() -> Iterator[None]:
    """The record of a webhook's event is deleted when its request is sent, not when it is answered."""
    attempt = IndependentDelivery._attempt

    async def attempt_after(self: IndependentDelivery, flight: Any) -> None:
        await self._outbox.delivered(self.sink, flight.owed.event.position, now=self._clock.steady())
        await attempt(self, flight)

    with patch.object(IndependentDelivery, "_attempt", attempt_after):
        yield


@planted("error-taken-for-delivered", "never got")
def error_taken_for_delivered() -> Iterator[None]:
    """A webhook's answer 5xx is taken for a delivery."""

    def forgiving(answer: Any, **rest: Any) -> Attempt:
        return Delivered() if answer.status >= 500 else attempt_of(answer, **rest)

    with patch.object(webhook, "attempt_of", forgiving):
        yield


@planted("dead-letter-lost", "never got")
def dead_letter_lost() -> Iterator[None]:
    """An event that a receiver has refused for good is not kept as a dead letter."""
    with patch.object(DeadLetterRows, "add", lambda *_, **__: None):
        yield


@planted("step-after-completion", "comes after")
def step_after_completion() -> Iterator[None]:
    """The event of a step comes after that of the completion."""
    add_events = Journal.add_events

    def add_backwards(self: Journal, events: Collection[Any]) -> None:
        add_events(self, [*events][::-1])

    with patch.object(Journal, "add_events", add_backwards):
        yield
