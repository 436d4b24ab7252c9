"""The intake of a fleet's inbox, in which producers submit assets by a statement of SQL.

A row is deleted in the transaction that accepts it, and each worker reads rows of its own. So nothing is accepted
twice, and nothing is passed over: what a transaction commits late, with a low number, is found then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asset_worker.domain.assets import AssetId
from asset_worker.domain.inbox import INBOX, Asked, TakenError, position_of
from asset_worker.domain.submissions import Batch, Rejection, Submission
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.lines import parse, reject
from asset_worker.intake.ports import BatchReceiver, Inbox, IntakeContext
from asset_worker.intake.splitter import Line
from asset_worker.runtime.stop import Stop

READ_EVERY_SECONDS: Final = 0.25
BATCH_ROWS: Final = 1_000
NO_OBJECT: Final = "the options must be a JSON object"


class InboxIntake:
    """Reads the inbox until the stop."""

    name: Final = "inbox"
    unreadable: Final = None
    """Always None: while the database is away, the queue says so."""
    unreadable_since: Final = None
    """Always None."""
    is_following: Final = True
    """Always True: what is submitted waits in the database."""
    progress: Final = InputReport()
    """Always empty: `fleet status` counts what waits."""
    has_lost_input: Final = False
    """Always False: nothing leaves the inbox before it is accepted."""

    def __init__(self, inbox: Inbox, receiver: BatchReceiver) -> None:
        self._inbox = inbox
        self._receiver = receiver

    async def run(self, stop: Stop) -> None:
        """Read, and hand over what was read, until the stop."""
        while not stop.is_set():
            room = await stop.race(self._receiver.room())
            if room is None:
                return
            limit = min(room, BATCH_ROWS)
            rows = await stop.race(self._inbox.read_inbox(limit))
            if rows is None:
                return
            if rows:
                try:
                    await self._receiver.accept(batch_of(rows))
                except TakenError:
                    continue
            if len(rows) < limit:
                await stop.sleep(READ_EVERY_SECONDS)

    def abandon(self) -> None:
        """Do nothing: what was not accepted is in the inbox."""


def batch_of(rows: Sequence[Asked]) -> Batch:
    """Return what the rows hold."""
    found = [submission_in(row) for row in rows]
    return Batch(
        [each for each in found if isinstance(each, Submission)],
        [each for each in found if isinstance(each, Rejection)],
        INBOX,
        position_of([row.number for row in rows]),
    )


def submission_in(row: Asked) -> Submission | Rejection:
    """Return the submission in a row, or its rejection: the options are those of a line of a queue file."""
    if row.options is None:
        return Submission(AssetId(row.asset_id), INBOX, row.number)
    options = row.options.strip()
    is_object = options.startswith("{")
    members = options[1:].lstrip() if is_object else ""
    comma = "" if members.startswith("}") else ","
    text = f'{{"asset_id":"{row.asset_id}"{comma}{members}' if is_object else options
    line = Line(text.encode(), row.number, row.number + 1)
    if not is_object:
        return reject(line, NO_OBJECT, number=row.number, origin=INBOX, stream=INBOX)
    found = parse(line, number=row.number, origin=INBOX, stream=INBOX)
    assert found is not None, "an object is no comment"
    return found


def open_intake(_source: Path | str, context: IntakeContext, /) -> InboxIntake:
    """Return the intake of the fleet's inbox."""
    assert context.inbox is not None
    return InboxIntake(context.inbox, context.receiver)
