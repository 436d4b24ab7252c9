"""What `dead-letters retry` and `dead-letters drop` ask for, and how it is carried out in the journal.

A request has an ID, which is recorded with its answer in the transaction that carries it out. So it is carried out once
however often it is found: by a worker that was killed meanwhile, by the next one, or by the command itself.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import filterfalse
from typing import Final, Literal

import msgspec

from asset_worker.queue.local.dead_letter_rows import Selection
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.outbox_readers import is_reader

NAMED_IDS: Final = 5
"""IDs that an error names at most."""
_OVER: Final = (
    "an event that reports a step of an asset can't be sent again once the asset is done, because no step comes after "
    "the completion"
)


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


class Done(msgspec.Struct, frozen=True):
    """A request that is carried out."""

    answer: Answer
    is_new: bool
    """Whether this transaction carried it out; otherwise an earlier one did."""


def carry_out(
    journal: Journal, request_id: str, request: Request, *, receivers: Collection[str] | None, now: float
) -> Done:
    """Carry out a request, unless that has been done, within a transaction of the caller.

    `receivers` are the independent sinks of this run, which can get events again; None: no worker runs, and what is put
    back for a sink waits for the next start, as long as for a sink that was removed from the settings.
    """
    if (recorded := journal.requests.answer(request_id)) is not None:
        return Done(msgspec.json.decode(recorded, type=Answer), is_new=False)
    answer = _answer(journal, request, receivers, now)
    journal.requests.add(request_id, msgspec.json.encode(answer), now=now)
    return Done(answer, is_new=True)


def _answer(journal: Journal, request: Request, receivers: Collection[str] | None, now: float) -> Answer:
    rows = journal.dead_letters
    if not (request.ids or request.sink is not None or request.all):
        return Answer(error="it names no event and no sink, and does not ask for all")
    named = Selection(request.ids or None, None if request.sink is None else (request.sink,))
    if missing := rows.missing(named):
        return Answer(error=f"{_no_dead_letter(missing, request.sink)}: nothing was done")
    counts = rows.count_by_sink(named)
    if request.sink is not None and not counts:
        known = {*filterfalse(is_reader, journal.sinks())} if receivers is None else set(receivers)
        if request.sink not in known:
            return Answer(error=f"there is no sink {request.sink}{_others(known | rows.sinks())}")
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
