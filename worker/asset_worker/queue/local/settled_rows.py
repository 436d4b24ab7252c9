"""The settlements in the journal's database: how the last wait for each asset ended.

Like the methods of `Journal`, these block, and those that write are called within a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.queue.local.last_events import LastEvents

_encode = msgspec.json.Encoder().encode


class Settlement(msgspec.Struct, frozen=True):
    """What is kept about a wait that is over. Instants are in steady time."""

    asset_id: AssetId
    completion: int
    outcome: str
    accepted_at: float
    completed_at: float


class SettledRows:
    """The table `settled`, and the events of the last completions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self.events = LastEvents(connection)

    def add(self, settlement: Settlement) -> None:
        """Record a settlement, in place of the asset's earlier one."""
        self._execute(
            "INSERT OR REPLACE INTO settled (asset_id, completion, outcome, accepted_at, completed_at) "
            "VALUES (?, ?, ?, ?, ?)",
            msgspec.structs.astuple(settlement),
        )

    def find(self, asset_id: AssetId) -> Settlement | None:
        """Return the last settlement of an asset; None: there was none, as far back as they are kept."""
        row = self._execute(
            "SELECT asset_id, completion, outcome, accepted_at, completed_at FROM settled WHERE asset_id = ?",
            (asset_id,),
        ).fetchone()
        return None if row is None else Settlement(*row)

    def last_completions(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, tuple[int, float]]:
        """Return, of those of the assets that were settled, how often that was, and when it last was."""
        rows = self._execute(
            "SELECT asset_id, completion, completed_at FROM settled WHERE asset_id IN (SELECT value FROM json_each(?))",
            (_encode(asset_ids).decode(),),
        )
        return {asset_id: (completion, completed_at) for asset_id, completion, completed_at in rows}

    def end_future(self, now: float) -> None:
        """Set instants that are later than `now`, in steady time, to `now`. Each wait keeps the time that it took."""
        self.events.end_future(now)
        self._execute(
            "UPDATE settled SET accepted_at = accepted_at - (completed_at - ?1), completed_at = ?1 "
            "WHERE completed_at > ?1",
            (now,),
        )

    def prune(self, *, before: float, limit: int) -> int:
        """Delete at most `limit` settlements older than `before`, in steady time. Return how many."""
        return self._execute(
            "DELETE FROM settled WHERE asset_id IN "
            "(SELECT asset_id FROM settled WHERE completed_at < ? ORDER BY completed_at LIMIT ?)",
            (before, limit),
        ).rowcount
