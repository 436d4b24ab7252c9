"""Migrations of the journal's schema: one function per version, each run within a transaction.

Files of every version exist. So a migration never changes once it has been released, and uses no type that may change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec

CHUNK_ROWS: Final = 100
"""Rows in memory at a time: a million may be pending, and each may hold 64 KiB of metadata."""

_Fields = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Fields).decode
_encode = msgspec.json.Encoder().encode


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


def _gather_renditions(connection: sqlite3.Connection) -> None:
    """Move the fields of the renditions into one object: `wait_for` in options, `renditions` in the last seen state.

    The last seen state, which was called `sighting`, gets its present name.
    """
    last = ""
    while rows := connection.execute(
        "SELECT asset_id, options, progress FROM pending WHERE asset_id > ? ORDER BY asset_id LIMIT ?",
        (last, CHUNK_ROWS),
    ).fetchall():
        last = rows[-1][0]
        connection.executemany(
            "UPDATE pending SET options = ?, progress = ? WHERE asset_id = ?",
            [
                (options and _options_of_version_3(options), progress and _progress_of_version_3(progress), asset_id)
                for asset_id, options, progress in rows
                if options or progress
            ],
        )


def _options_of_version_3(options: bytes) -> bytes:
    return _encode(_gathered(_decode(options), {"metadata", "deadline", "traceparent"}, into="wait_for"))


def _progress_of_version_3(progress: bytes) -> bytes:
    fields = _decode(progress)
    if last_seen := fields.pop("sighting", None):
        found = _gathered(_decode(last_seen), {"status", "file_type", "method", "was"}, into="renditions")
        fields["last_seen"] = msgspec.Raw(_encode(found))
    return _encode(fields)


def _gathered(fields: _Fields, others: set[str], *, into: str) -> _Fields:
    """Move the renditions' fields, which are all except `others`, into an object of their own, called `into`."""
    renditions = {name: value for name, value in fields.items() if name not in others}
    if not renditions:
        return fields
    kept = {name: value for name, value in fields.items() if name in others}
    return kept | {into: msgspec.Raw(_encode(renditions))}


def _add_clock(connection: sqlite3.Connection) -> None:
    """Add the mark of the clock. The instants so far are by the wall clock: steady time will start with it."""
    _run(
        connection,
        "CREATE TABLE clock (only INTEGER PRIMARY KEY, steady REAL NOT NULL, boot TEXT, elapsed REAL NOT NULL, "
        "wall REAL NOT NULL)",
    )


def _add_records_of_deliveries(connection: sqlite3.Connection) -> None:
    """Add what independent sinks need: records of events that they lack, their conditions, and requests of commands.

    `passed` holds the position up to which all sinks have passed the events: of those, only the ones that a record
    names are kept. Dead letters get more columns; when a dead letter of an earlier version was made is not known.
    """
    _run(
        connection,
        """
        CREATE TABLE undelivered (
            sink TEXT NOT NULL, position INTEGER NOT NULL, asset_id TEXT, attempts INTEGER NOT NULL, first_at REAL,
            next_at REAL NOT NULL, error TEXT, PRIMARY KEY (sink, position)
        ) WITHOUT ROWID;
        CREATE INDEX undelivered_by_time ON undelivered (sink, next_at, position);
        CREATE INDEX undelivered_by_asset ON undelivered (sink, asset_id, position);
        CREATE INDEX undelivered_by_position ON undelivered (position);
        CREATE TABLE passed (only INTEGER PRIMARY KEY, position INTEGER NOT NULL);
        INSERT INTO passed VALUES (
            0,
            coalesce(
                (SELECT min(position) - 1 FROM outbox), (SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0
            )
        );
        ALTER TABLE dead_letters ADD COLUMN asset_id TEXT;
        ALTER TABLE dead_letters ADD COLUMN attempts INTEGER;
        ALTER TABLE dead_letters ADD COLUMN first_at REAL;
        ALTER TABLE dead_letters ADD COLUMN last_at REAL;
        UPDATE dead_letters SET
            asset_id = CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.subject') END,
            last_at = (SELECT steady FROM clock);
        CREATE INDEX dead_letters_by_time ON dead_letters (last_at);
        CREATE INDEX dead_letters_by_id ON dead_letters (id);
        CREATE TABLE conditions (
            sink TEXT PRIMARY KEY, kind TEXT NOT NULL, since REAL NOT NULL, error TEXT NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE requests (id TEXT PRIMARY KEY, answer BLOB NOT NULL, at REAL NOT NULL) WITHOUT ROWID
        """,
    )


def _add_last_events(connection: sqlite3.Connection) -> None:
    """Add the event of each asset's last completion, for those who ask by HTTP.

    It is a table of its own, because every accepted submission looks into `settled`, whose rows are small.
    """
    _run(
        connection,
        """
        CREATE TABLE last_events (
            asset_id TEXT PRIMARY KEY, completion INTEGER NOT NULL, completed_at REAL NOT NULL, body BLOB NOT NULL
        );
        CREATE INDEX last_events_by_time ON last_events (completed_at)
        """,
    )


def _add_transitions(connection: sqlite3.Connection) -> None:
    """Add to the records whether their event gives way: what is due and does not is sent first."""
    _run(
        connection,
        """
        ALTER TABLE undelivered ADD COLUMN gives_way INTEGER NOT NULL DEFAULT 0;
        DROP INDEX undelivered_by_time;
        CREATE INDEX undelivered_by_time ON undelivered (sink, gives_way, next_at, position)
        """,
    )


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run the statements one by one, because `executescript` would commit the transaction first."""
    for statement in script.split(";"):
        connection.execute(statement)


MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _create_tables,
    _add_tally,
    _gather_renditions,
    _add_clock,
    _add_records_of_deliveries,
    _add_last_events,
    _add_transitions,
)
"""The first migration turns an empty file into a journal of version 1; each other one upgrades it by one version."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
"""The version that this program writes and reads."""
