"""Doubles for independent sinks: a receiver that answers as a test says, and events for it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from asset_worker.domain.assets import Outcome
from asset_worker.domain.events import TYPE_PREFIX, Event, Stored, heading_of
from asset_worker.sinks.ports import Attempt, Delivered, Failed

DOWN = Failed("HTTP 503")


def event(asset: str | None, count: int = 1, outcome: Outcome = Outcome.READY, *, size: int = 0) -> Event:
    """The event of an asset's completion; None: that of a rejected line. It has at least `size` bytes."""
    about = {} if asset is None else {"subject": asset}
    body = {"id": f"{asset}.{count}", "type": TYPE_PREFIX + outcome.value, **about, "data": {"name": "x" * size}}
    return Event(f"{asset}.{count}", outcome, json.dumps(body).encode())


def step(asset: str, name: str, count: int = 1) -> Event:
    """The event of a step of an asset."""
    event_id = f"{asset}.{count}.{name}"
    body = {"id": event_id, "type": TYPE_PREFIX + name, "subject": asset, "data": {}}
    return Event(event_id, None, json.dumps(body).encode())


class ScriptedReceiver:
    """An independent sink whose receiver answers after `latency` seconds what `answer` returns for the event."""

    kind: Literal["independent"] = "independent"

    def __init__(
        self,
        answer: Callable[[Stored], Attempt] = lambda _: Delivered(),
        *,
        name: str = "hook",
        concurrency: int = 8,
        retry: Sequence[float] = (5, 300, 1800),
        latency: float | Callable[[Stored], float] = 0.0,
        outcomes: Sequence[str] | None = None,
    ) -> None:
        self.answer = answer
        self.name = name
        self.concurrency = concurrency
        self.retry = retry
        self.latency = latency
        self.outcomes = outcomes
        self.accepted: list[str] = []
        """The IDs of the events that were accepted, in order."""
        self.attempts: list[tuple[float, str]] = []
        """When each attempt began, by the loop's time, and the ID of its event."""
        self.in_flight: Counter[str | None] = Counter()
        self.most_in_flight = 0
        self.reloads = 0
        self.closed = False

    def wants(self, event: Stored) -> bool:
        return self.outcomes is None or heading_of(event).word in self.outcomes

    async def attempt(self, event: Stored) -> Attempt:
        asset = heading_of(event).subject
        assert asset is None or not self.in_flight[asset], f"two events of {asset} at once"
        self.attempts.append((asyncio.get_running_loop().time(), event.id))
        self.in_flight[asset] += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight.total())
        try:
            await asyncio.sleep(self.latency if isinstance(self.latency, float | int) else self.latency(event))
        finally:
            self.in_flight[asset] -= 1
        result = self.answer(event)
        if isinstance(result, Delivered):
            self.accepted.append(event.id)
        return result

    async def reload(self) -> None:
        self.reloads += 1

    def writes_to(self, _descriptor: int) -> bool:
        return False

    async def close(self) -> None:
        self.closed = True

    def times_of(self, event_id: str) -> list[float]:
        """When each attempt at this event began."""
        return [at for at, each in self.attempts if each == event_id]
