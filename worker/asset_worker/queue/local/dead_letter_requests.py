"""How a request of `dead-letters retry` or `dead-letters drop` is carried out in the journal.

A request has an ID, which is recorded with its answer in the transaction that carries it out. So it is carried out once
however often it is found: by a worker that was killed meanwhile, by the next one, or by the command itself.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import filterfalse

import msgspec

from asset_worker.queue.dead_letters import Answer, Request, answer_to
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.outbox_readers import is_reader


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
    known = [*filterfalse(is_reader, journal.sinks())]
    answer = answer_to(request, journal.dead_letters, receivers=receivers, known=known, now=now)
    journal.requests.add(request_id, msgspec.json.encode(answer), now=now)
    return Done(answer, is_new=True)
