"""The changes that are made together with others of their kind, in one statement."""

from __future__ import annotations

from collections.abc import Sequence

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
