"""What the receiver reads from the webhooks that it gets, and what it remembers of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal, TypeVar
from urllib.parse import unquote

import msgspec

V = TypeVar("V")

MOST_EVENTS: Final = 100_000
"""How many accepted events, and how many IDs that were not accepted, are remembered; the oldest are forgotten first."""
MOST_CHARACTERS: Final = 256
"""How much of each attribute is remembered. A longer ID is refused."""
STRUCTURED: Final = "application/cloudevents+json"


class _Attributes(msgspec.Struct, frozen=True):
    """The attributes of a CloudEvent that the receiver looks at."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """An event as a request brings it."""

    id: str
    type: str
    subject: str | None
    time: str | None
    """When the event occurred, as the sender wrote it."""
    mode: str
    """`structured` or `binary`."""

    @property
    def title(self) -> str:
        """The event on few columns: the last word of its type, and its subject or ID with the middle left out."""
        about = self.subject or self.id
        short = about if len(about) <= 12 else f"{about[:4]}…{about[-4:]}"
        return f"{self.type.rsplit('.', 1)[-1]} {short}"


def delivery_of(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Return the event of a request, in one of the two modes of the CloudEvents HTTP binding (1.0.2).

    Raises:
        ValueError: it is not an event, or its ID is not `webhook-id`.
    """
    if headers.get("Content-Type", "").split(";")[0].strip().lower() == STRUCTURED:
        mode, attributes = "structured", msgspec.json.decode(body, type=_Attributes)
    else:
        written = {name.lower(): value for name, value in headers.items()}
        names = [name for name in _Attributes.__struct_fields__ if f"ce-{name}" in written]
        mode, attributes = (
            "binary",
            msgspec.convert({name: _text(written[f"ce-{name}"]) for name in names}, _Attributes),
        )
        msgspec.json.decode(body)
    if attributes.id != headers.get("webhook-id"):
        raise ValueError("the event's id is not webhook-id")
    if len(attributes.id) > MOST_CHARACTERS:
        raise ValueError(f"the event's id is longer than {MOST_CHARACTERS} characters")
    return Delivery(
        attributes.id,
        attributes.type[:MOST_CHARACTERS],
        attributes.subject and attributes.subject[:MOST_CHARACTERS],
        attributes.time and attributes.time[:MOST_CHARACTERS],
        mode,
    )


def _text(header: str) -> str:
    """Return the text of an attribute in a header, which is in UTF-8 and percent-encoded."""
    return unquote(header.encode(errors="surrogateescape").decode(errors="replace"))


class Accepted(msgspec.Struct):
    """An event that the receiver accepted."""

    number: int
    """Its place in the order of acceptance, from 1."""
    id: str
    type: str
    subject: str | None
    time: str | None
    mode: str
    attempts: int
    """How often it came, repeats included."""
    at: str
    """When it was accepted."""


class Deliveries:
    """What has come since the start, or since `reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.requests = 0
        self.accepted = 0
        """Events, each counted once."""
        self.repeats = 0
        """Requests with the ID of an event that had been accepted before."""
        self.bad_signatures = 0
        self.malformed = 0
        """Requests with a good signature that hold no event."""
        self.by_answer: Counter[str] = Counter()
        """Requests by how they were answered: a status, or the kind of fault."""
        self._accepted: dict[str, Accepted] = {}
        self._attempts: dict[str, int] = {}
        """Attempts by the ID of an event that was not accepted yet."""

    def count_attempt(self, identity: str) -> int:
        """Count one attempt to deliver the event with this ID. Return its number, from 1."""
        if (known := self._accepted.get(identity)) is not None:
            known.attempts += 1
            return known.attempts
        number = self._attempts.get(identity, 0) + 1
        _remember(self._attempts, identity, number)
        return number

    def accept(self, delivery: Delivery, *, at: float) -> bool:
        """Accept an event whose attempt was counted. Return whether it is a repeat. `at`: seconds since the epoch."""
        if delivery.id in self._accepted:
            self.repeats += 1
            return True
        self.accepted += 1
        when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        attempts = self._attempts.pop(delivery.id, 1)
        event = Accepted(
            self.accepted,
            delivery.id,
            delivery.type,
            delivery.subject,
            delivery.time,
            delivery.mode,
            attempts,
            when,
        )
        _remember(self._accepted, delivery.id, event)
        return False

    def events(self, *, after: int = 0, limit: int = MOST_EVENTS) -> list[Accepted]:
        """Return the accepted events with a number above `after`, in the order of acceptance, at most `limit`."""
        forgotten = self.accepted - len(self._accepted)
        begin = max(0, after - forgotten)
        return list(islice(self._accepted.values(), begin, begin + limit))

    def report(self, *, after: int, limit: int) -> dict[str, Any]:
        """Return the counts, and one page of the events, as `/_simulator/receiver` shows them."""
        events = self.events(after=after, limit=limit)
        return {
            "requests": self.requests,
            "accepted": self.accepted,
            "repeats": self.repeats,
            "bad_signatures": self.bad_signatures,
            "malformed": self.malformed,
            "by_answer": dict(self.by_answer),
            "events": events,
            "next": events[-1].number if events and events[-1].number < self.accepted else None,
        }


def _remember(known: dict[str, V], identity: str, value: V) -> None:
    known[identity] = value
    if len(known) > MOST_EVENTS:
        del known[next(iter(known))]
