"""Compares a journal with what asset-worker creates: its schema, before anything of that is executed, and its values.

A trigger, a view, a virtual table, a CHECK or a generated column in a forged file would run within the worker's own
statements: a recursive view never ends. See sqlite.org/security.html, section 1.2.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from typing import Final

from asset_worker.queue.local.migrations import MIGRATIONS

_SHOWN_CHARACTERS: Final = 64
_STORED_AS: Final = {"BLOB": "blob", "INTEGER": "integer", "REAL": "real", "TEXT": "text"}
"""How SQLite stores the values of a column of each type, if they have that type."""
_Object = tuple[object, object, object, object]
"""The type, name and table of an object, and its statement, in which runs of white space are one space each."""


def restrict(connection: sqlite3.Connection) -> None:
    """Let the schema of a database that was just opened do as little as SQLite can be made to let it do."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)


def check_schema(connection: sqlite3.Connection, version: int) -> None:
    """Check that the schema is the one that the migrations up to `version` create: nothing else, nothing changed.

    Raises:
        sqlite3.DatabaseError: it is not; the message names an object in which it differs.
    """
    if version < 0:
        raise sqlite3.DatabaseError(f"its version is {version}")
    expected, found = _created_by_migrations(version), _objects_of(connection)
    for kind, name, table, _ in _sorted(found - expected):
        of = "" if name == table else f" of the table {as_literal(table)}"
        raise sqlite3.DatabaseError(
            f"it holds the {kind} {as_literal(name)}{of}, which no asset-worker creates like that"
        )
    for kind, name, _, _ in _sorted(expected - found):
        raise sqlite3.DatabaseError(f"the {kind} {as_literal(name)} is missing")


def check_values(connection: sqlite3.Connection) -> None:
    """Check that each value has the type of its column, for SQLite stores any value in any column.

    It reads every table once, and must be called after `check_schema`.

    Raises:
        sqlite3.DatabaseError: one has another type; the message names the table.
    """
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    for [table] in tables.fetchall():
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        wrong = " OR ".join(
            f"typeof({name}) NOT IN {_permitted(kind, may_be_null=not (is_required or is_key))}"
            for _, name, kind, is_required, _, is_key in columns
        )
        query = f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1"  # noqa: S608 - these are our own names
        if connection.execute(query).fetchone() is not None:
            raise sqlite3.DatabaseError(f"the table {as_literal(table)} holds a value of another type than its column")


def _permitted(kind: str, *, may_be_null: bool) -> str:
    return f"('{_STORED_AS[kind]}', 'null')" if may_be_null else f"('{_STORED_AS[kind]}')"


@cache
def _created_by_migrations(version: int) -> frozenset[_Object]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migrate in MIGRATIONS[:version]:
            migrate(connection)
        return _objects_of(connection)


def _objects_of(connection: sqlite3.Connection) -> frozenset[_Object]:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return frozenset(
        (kind, name, table, " ".join(sql.split()) if isinstance(sql, str) else sql) for kind, name, table, sql in rows
    )


def _sorted(objects: Iterable[_Object]) -> list[_Object]:
    return sorted(objects, key=repr)


def as_literal(name: object) -> str:
    """Return a text of a forged journal as a literal: it may hold control characters for a terminal."""
    return repr(str(name)[:_SHOWN_CHARACTERS])
