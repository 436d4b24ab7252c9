"""The requests that were carried out, in the journal's database, each with its answer."""

from __future__ import annotations

import sqlite3


class RequestRows:
    """The table `requests`. Every method that writes must be called within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def answer(self, request_id: str) -> bytes | None:
        """Return the answer of a request that was carried out; None: it was not."""
        row = self._execute("SELECT answer FROM requests WHERE id = ?", (request_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def add(self, request_id: str, answer: bytes, *, now: float) -> None:
        """Record that a request is carried out."""
        self._execute("INSERT INTO requests (id, answer, at) VALUES (?, ?, ?)", (request_id, answer, now))

    def prune(self, *, before: float) -> int:
        """Forget the requests that were carried out before `before`. Return how many."""
        return self._execute("DELETE FROM requests WHERE at < ?", (before,)).rowcount
