"""The changes that are made together with others of their kind, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from asset_worker.queue.postgres.database import Tables
from asset_worker.queue.postgres.pending_rows import Ending


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
