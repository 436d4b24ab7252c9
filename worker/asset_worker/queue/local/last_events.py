"""The event of each asset's last completion, kept for a day or so for those who ask by HTTP.

Like the methods of `Journal`, these block, and those that write are called within a transaction.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Final

from asset_worker.domain.assets import AssetId

_FASTEST: Final = 1
"""The level of compression. Higher ones make an event little smaller, and take twice as long."""
BODY_BYTES_LIMIT: Final = 16 << 20
"""More bytes than the body of any event has. In a forged journal, a few bytes could expand to gigabytes."""


class LastEvents:
    """The table `last_events` of the journal's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def keep(self, asset_id: AssetId, *, completion: int, at: float, body: bytes) -> None:
        """Keep the event of a completion at `at`, in steady time, in place of the asset's earlier one."""
        self._execute(
            "INSERT OR REPLACE INTO last_events (asset_id, completion, completed_at, body) VALUES (?, ?, ?, ?)",
            (asset_id, completion, at, zlib.compress(body, _FASTEST)),
        )

    def find(self, asset_id: AssetId, *, completion: int) -> bytes | None:
        """Return the body of the event of this completion; None: it is not kept, or is damaged."""
        row = self._execute(
            "SELECT body FROM last_events WHERE asset_id = ? AND completion = ?", (asset_id, completion)
        ).fetchone()
        if row is None:
            return None
        expanding = zlib.decompressobj()
        try:
            body = expanding.decompress(row[0], BODY_BYTES_LIMIT)
        except zlib.error:
            return None
        return body if expanding.eof else None

    def end_future(self, now: float) -> None:
        """Set instants that are later than `now`, in steady time, to `now`."""
        self._execute("UPDATE last_events SET completed_at = ?1 WHERE completed_at > ?1", (now,))

    def prune(self, *, before: float, limit: int) -> int:
        """Delete at most `limit` events of completions before `before`, in steady time. Return how many."""
        return self._execute(
            "DELETE FROM last_events WHERE rowid IN "
            "(SELECT rowid FROM last_events WHERE completed_at < ? ORDER BY completed_at LIMIT ?)",
            (before, limit),
        ).rowcount
