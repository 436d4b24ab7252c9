"""How the journal's schema has grown: one function a version, each run within a transaction.

A step never changes once it has been released: files of every version exist.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final


def _create_tables(connection: sqlite3.Connection) -> None:
    _run(
        connection,
        """
        CREATE TABLE pending (
            asset_id TEXT PRIMARY KEY, origin TEXT NOT NULL, line INTEGER NOT NULL, options BLOB,
            accepted_at REAL NOT NULL, completion INTEGER NOT NULL, progress BLOB
        ) WITHOUT ROWID;
        CREATE TABLE settled (
            asset_id TEXT PRIMARY KEY, completion INTEGER NOT NULL, outcome TEXT NOT NULL,
            accepted_at REAL NOT NULL, completed_at REAL NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX settled_by_time ON settled (completed_at);
        CREATE TABLE outbox (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL);
        CREATE TABLE sinks (name TEXT PRIMARY KEY, position INTEGER NOT NULL, mark BLOB);
        CREATE TABLE dead_letters (
            sink TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL,
            PRIMARY KEY (sink, position)
        );
        CREATE TABLE intakes (name TEXT PRIMARY KEY, position BLOB NOT NULL);
        """,
    )


def _add_tally(connection: sqlite3.Connection) -> None:
    _run(connection, "CREATE TABLE tally (outcome TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run the statements one by one: `executescript` would commit the transaction first."""
    for statement in script.split(";"):
        connection.execute(statement)


MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _create_tables,
    _add_tally,
)
"""The step to each version, from version 1."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
"""The version that this program writes and reads."""
