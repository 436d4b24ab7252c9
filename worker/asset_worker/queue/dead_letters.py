"""Dead letters: which are meant, what `dead-letters retry` and `dead-letters drop` ask for, and what comes of it.

How they are stored is each engine's business: `DeadLetters` is what this needs of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Literal, Protocol

import msgspec

NAMED_IDS: Final = 5
"""IDs that an error names at most."""
_OVER: Final = (
    "an event that reports a step of an asset can't be sent again once the asset is done, because no step comes after "
    "the completion"
)


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a sink refused for good. Times are RFC 3339, UTC, by the present wall clock; None: not known."""

    id: str
    sink: str
    asset_id: str | None
    """The asset that the event is about; None: a rejected line."""
    attempts: int | None
    """How often it was sent."""
    first_at: str | None
    """When the first attempt failed."""
    last_at: str | None
    """When the last attempt failed."""
    reason: str
    """What happened then."""
    event: Any = msgspec.UNSET
    """The event, where it is asked for: JSON, or a text if it is damaged."""


class Found(msgspec.Struct, frozen=True):
    """The dead letters that were asked for."""

    total: int
    """How many there are, those beyond the limit included."""
    letters: Iterable[DeadLetter]
    """Read one by one, as there may be a million. The latest first."""


def letters_of(rows: Iterable[tuple[Any, ...]], shown: Callable[[float | None], str | None]) -> Iterator[DeadLetter]:
    """Yield the dead letters in rows: the fields in their order, the event as bytes. `shown` shows an instant."""
    for event_id, sink, asset_id, attempts, first_at, last_at, reason, *body in rows:
        yield DeadLetter(
            event_id, sink, asset_id, attempts, shown(first_at), shown(last_at), reason, *map(_decoded, body)
        )


def _decoded(body: bytes) -> Any:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")
    return msgspec.Raw(body)


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters a request is about: those that match all of what is given."""

    ids: tuple[str, ...] | None = None
    """The IDs of their events; None: any."""
    sinks: tuple[str, ...] | None = None
    """The names of their sinks; None: any."""
    is_over: bool | None = None
    """Whether they report steps of waits that are over; None: any."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with which dead letters. It names IDs, a sink, both, or all."""

    action: Literal["retry", "drop"]
    ids: tuple[str, ...] | None = None
    """The IDs of events; None: any."""
    sink: str | None = None
    """The name of a sink; None: any."""
    all: bool = False
    """Whether to select every dead letter."""


class Answer(msgspec.Struct, frozen=True):
    """What came of a request."""

    counts: dict[str, int] = {}
    """How many events were put back or dropped, by their sink."""
    left: dict[str, int] = {}
    """How many were left as they are, by their sink: it is not one that can get them now."""
    over: dict[str, int] = {}
    """How many were left as they are, by their sink: they report steps of assets that are done."""
    error: str | None = None
    """Why nothing was done; None: it was."""


class DeadLetters(Protocol):
    """The stored dead letters. Every method that writes must be called within a transaction."""

    def count_by_sink(self, selection: Selection, /) -> dict[str, int]:
        """Return how many of the selected dead letters each sink has, of those that have any."""
        ...

    def missing(self, selection: Selection, /) -> list[str]:
        """Return the IDs in the selection that no dead letter of its sinks has."""
        ...

    def sinks(self) -> set[str]:
        """Return the sinks that have dead letters."""
        ...

    def independent_sinks(self) -> set[str]:
        """Return those of them that can get events again."""
        ...

    def put_back(self, selection: Selection, /, *, now: float) -> None:
        """Put the selected events back into the outbox, each due `now` for its sink."""
        ...

    def delete(self, selection: Selection, /) -> None:
        """Delete the selected dead letters."""
        ...


def answer_to(
    request: Request, rows: DeadLetters, *, receivers: Collection[str] | None, known: Collection[str], now: float
) -> Answer:
    """Carry out a request, within a transaction of the caller, and return its answer.

    `receivers` are the independent sinks of those that run, which can get events again; None: nobody runs, and what is
    put back for a sink waits for the next start. `known` are the sinks that there are then.
    """
    if not (request.ids or request.sink is not None or request.all):
        return Answer(error="it names no event and no sink, and does not ask for all")
    named = Selection(request.ids or None, None if request.sink is None else (request.sink,))
    if missing := rows.missing(named):
        return Answer(error=f"{_no_dead_letter(missing, request.sink)}: nothing was done")
    counts = rows.count_by_sink(named)
    if request.sink is not None and not counts:
        there = set(known if receivers is None else receivers)
        if request.sink not in there:
            return Answer(error=f"there is no sink {request.sink}{_others(there | rows.sinks())}")
    if request.action == "drop":
        rows.delete(named)
        return Answer(counts)
    over = rows.count_by_sink(msgspec.structs.replace(named, is_over=True))
    if over and request.ids:
        return Answer(error=f"{_OVER}: nothing was done")
    named = msgspec.structs.replace(named, is_over=False)
    counts = rows.count_by_sink(named)
    able = rows.independent_sinks() if receivers is None else receivers
    left = {sink: count for sink, count in counts.items() if sink not in able}
    if left and not request.all:
        sinks = " and ".join(sorted(left))
        return Answer(
            error=f"events can't be sent to {sinks} again, which is not a webhook in events.sinks: nothing was done"
        )
    put_back = {sink: count for sink, count in counts.items() if sink not in left}
    rows.put_back(msgspec.structs.replace(named, sinks=tuple(put_back)), now=now)
    return Answer(put_back, left, over)


def _no_dead_letter(missing: list[str], sink: str | None) -> str:
    named = ", ".join(missing[:NAMED_IDS]) + (", …" if len(missing) > NAMED_IDS else "")
    of = "" if sink is None else f" of the sink {sink}"
    return f"no dead letter{of} has the ID {named}"


def _others(sinks: Collection[str]) -> str:
    return f": the sinks are {', '.join(sorted(sinks))}" if sinks else ""
