"""What the lives of a fleet have learned of durations, in the table `learned`: one row for each."""

from __future__ import annotations

from collections.abc import Collection

from asset_worker.queue.postgres.connection import Connection, execute


class LearnedRows:
    """The statements about what was learned. Evidence is bytes of `schedule.learned`."""

    def __init__(self, schema: str) -> None:
        self._take_left = (
            f"DELETE FROM {schema}.learned WHERE life NOT IN (SELECT id FROM {schema}.workers) RETURNING life, evidence"
        )
        self._keep = (
            f"INSERT INTO {schema}.learned (life, evidence) VALUES (%s, %s) "
            "ON CONFLICT (life) DO UPDATE SET evidence = excluded.evidence"
        )
        self._all = f"SELECT evidence FROM {schema}.learned ORDER BY life"
        self._others = f"SELECT evidence FROM {schema}.learned WHERE life <> %s"

    def take_left(self, connection: Connection, *, without: Collection[int]) -> list[bytes]:
        """Delete what retired lives have left. Return it, except that of the lives in `without`."""
        rows = execute(connection, self._take_left).fetchall()
        return [bytes(evidence) for life, evidence in rows if life not in without]

    def keep(self, connection: Connection, life: int, evidence: bytes) -> None:
        """Replace what a life has learned."""
        execute(connection, self._keep, (life, evidence))

    def all(self, connection: Connection) -> list[bytes]:
        """Return what all lives have learned, those included that are over."""
        return [bytes(evidence) for [evidence] in execute(connection, self._all).fetchall()]

    def others(self, connection: Connection, life: int) -> list[bytes]:
        """Return what all other lives have learned."""
        return [bytes(evidence) for [evidence] in execute(connection, self._others, (life,)).fetchall()]
