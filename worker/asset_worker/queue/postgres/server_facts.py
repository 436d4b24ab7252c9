"""What `doctor` looks at in a fleet's database: the server, the tables, the rights of this user, and the names."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from asset_worker.queue.postgres.connection import Connection, execute
from asset_worker.queue.postgres.membership import read_time
from asset_worker.queue.postgres.opening import read_version

_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


class ServerFacts(msgspec.Struct, frozen=True):
    """What a database says of itself."""

    version: int
    """As in `server_version_num`: 150004 is 15.4."""
    is_standby: bool
    is_read_only: bool
    synchronous_commit: str
    """For this user, in this database."""
    standbys: str
    """`synchronous_standby_names`; empty: no commit waits for another server."""
    time: float
    """By the database's clock, in seconds since the epoch."""
    user: str
    may_use_schema: bool | None
    """Whether this user has USAGE; None: there is no such schema."""
    tables: tuple[int, int] | None = None
    """The version of the tables, and of the oldest program that may use them; None: none are seen."""
    missing: tuple[str, ...] = ()
    """The rights that a worker lacks, as in `INSERT on events`."""
    holder: int | None = None
    """The life of the live worker that has the name; None: nobody has."""


def read_facts(connection: Connection, schema: str, name: str) -> ServerFacts:
    """Ask a database. `name` is that of the worker.

    Raises:
        psycopg.Error: it does not answer.
    """

    def row(query: str, *values: object) -> tuple[Any, ...] | None:
        return execute(connection, query, values or None).fetchone()

    server = row(
        "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), "
        "current_setting('transaction_read_only')::boolean, current_setting('synchronous_commit'), "
        "current_setting('synchronous_standby_names'), current_user::text"
    )
    assert server is not None
    version, is_standby, is_read_only, commit, standbys, user = server
    usage = row("SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s", schema)
    facts = ServerFacts(
        version,
        is_standby,
        is_read_only,
        commit,
        standbys,
        read_time(connection),
        user,
        None if usage is None else bool(usage[0]),
    )
    if not facts.may_use_schema:
        return facts
    wanted = [(right, f"has_table_privilege(c.oid, '{right}')") for right in _RIGHTS]
    rights = execute(
        connection,
        f"SELECT c.relname, {', '.join(has for _, has in wanted)} FROM pg_class AS c "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r' ORDER BY c.relname",
        (schema,),
    ).fetchall()
    missing = [
        f"{right} on {table}"
        for table, *has in rights
        for (right, _), is_there in zip(wanted, has, strict=True)
        if not is_there and (table != "schema" or right == "SELECT")
    ]
    if "SELECT on schema" in missing or "SELECT on workers" in missing:
        return msgspec.structs.replace(facts, missing=tuple(missing))
    tables = read_version(connection, schema)
    held = tables and row(f"SELECT id FROM {schema}.workers WHERE name = %s AND alive_until > clock_timestamp()", name)
    return msgspec.structs.replace(facts, tables=tables, missing=tuple(missing), holder=int(held[0]) if held else None)
