"""The changes that the engine makes. Those of some kinds are made together with others, in few statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from asset_worker.domain.events import Event
from asset_worker.domain.inbox import INBOX, numbers_in
from asset_worker.domain.submissions import ACCOUNT_ORIGIN, Submission
from asset_worker.queue.postgres.database import Tables
from asset_worker.queue.postgres.pending_rows import Ending, PendingRow

THE_FLEET: Final = ""
"""The name under which positions are stored that belong to no worker: those of the account."""


class Accepted(msgspec.Struct, frozen=True):
    """What an `Accepting` has done."""

    life: int
    """The life that owns the new assets."""
    at: float
    """When they were accepted, in steady time."""
    new: list[tuple[Submission, int]]
    """Each with the number of the completion that it leads to."""
    replaced: list[Submission]
    """Of assets that this worker owned, and had only found in the account."""
    taken: list[PendingRow]
    """Assets that another worker had found in the account, and that this one owns now."""


class Accepting(msgspec.Struct, frozen=True):
    """A batch of an intake is accepted.

    Called, it returns None if another worker has taken a row of the inbox since it was read, or the task of the intake:
    then nothing of it may be committed, except what is repeated without harm.
    """

    submissions: Sequence[Submission]
    """Of assets that this worker does not own."""
    asked: Sequence[Submission]
    """Of assets that this worker owns, because it has found them in the account."""
    events: Sequence[Event]
    sinks: tuple[str, ...]
    read_time: Callable[[], float]
    """Returns steady time: an attempt may come long after another one has failed, and what waited meanwhile is new."""
    window: float
    """An asset that was settled so many seconds ago, or less, is a repeat."""
    name: str
    """The worker's name."""
    intake: str
    position: bytes | None

    def __call__(self, tables: Tables) -> Accepted | None:
        """Make the change."""
        connection, life, rows = tables.connection, tables.life, tables.pending
        task = _task_of(self.intake)
        if task is not None and not rows.has_task(connection, task, life=life):
            return None
        if self.intake == INBOX and self.position is not None:
            if not rows.take_from_inbox(connection, numbers_in(self.position)):
                return None
        elif self.position is not None:
            name = self.name if task is None else THE_FLEET
            rows.set_checkpoint(connection, name, self.intake, self.position, life=life)
        at = self.read_time()
        new = rows.accept(connection, self.submissions, life=life, at=at, window_start=at - self.window)
        replaced = rows.replace(connection, self.asked, life=life)
        accepted = {submission.asset_id for submission, _ in new}
        elsewhere = [each for each in self.submissions if each.asset_id not in accepted and not each.is_found]
        taken = rows.take_found(connection, elsewhere, life=life)
        if self.events:
            rows.add_events(connection, [(None, each) for each in self.events], life=life, sinks=self.sinks)
        return Accepted(life, at, new, replaced, taken)


def _task_of(intake: str) -> str | None:
    """Return the task that whoever reads this intake must have; None: each worker has an intake of its own."""
    return ACCOUNT_ORIGIN if intake.startswith(ACCOUNT_ORIGIN) else None


class Settling(msgspec.Struct, frozen=True):
    """The wait for one asset ends. Called, it returns whether this life owned the asset; if not, nothing changes."""

    ending: Ending
    sinks: tuple[str, ...]

    def __call__(self, tables: Tables) -> bool:
        """Make it alone."""
        return self.together([self], tables)[0]

    @staticmethod
    def together(changes: Sequence[Settling], tables: Tables) -> list[bool]:
        """Make several, in one statement."""
        endings = [each.ending for each in changes]
        settled = tables.pending.settle(tables.connection, endings, life=tables.life, sinks=changes[0].sinks)
        return [each.asset_id in settled for each in endings]


class Delivered(msgspec.Struct, frozen=True):
    """An independent sink has accepted an event. Called, it returns whether this life owned the row, which is gone."""

    sink: str
    position: int
    now: float
    """When the asset's next event is due."""

    def __call__(self, tables: Tables) -> bool:
        """Make it alone."""
        return self.together([self], tables)[0]

    @staticmethod
    def together(changes: Sequence[Delivered], tables: Tables) -> list[bool]:
        """Make several, in a few statements for each sink."""
        by_sink = attrgetter("sink")
        gone: set[tuple[str, int]] = set()
        for sink, group in groupby(sorted(changes, key=by_sink), by_sink):
            some = list(group)
            positions, now = [each.position for each in some], max(each.now for each in some)
            deleted = tables.outbox.delete(tables.connection, tables.life, sink, positions, now=now)
            gone |= {(sink, position) for position in deleted}
        return [(each.sink, each.position) in gone for each in changes]
