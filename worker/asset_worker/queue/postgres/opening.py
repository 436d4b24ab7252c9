"""Opens a fleet's queue: checks the tables, ends this worker's former life, and begins another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from asset_worker.queue.postgres.connection import Connection, Link, execute, is_transient
from asset_worker.queue.postgres.database import Database
from asset_worker.queue.postgres.engine import PostgresQueue
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.queue.postgres.membership import Membership
from asset_worker.queue.postgres.schema import OLDEST_COMPATIBLE, VERSION
from asset_worker.queue.postgres.workers import Lives
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.threads import DaemonThread

LIFE_FILE: Final = "life"
"""In the state directory: the id of this worker's life, which the next start ends at once."""
INSUFFICIENT_PRIVILEGE: Final = "42501"
"""The SQLSTATE of what a user may not do."""


@asynccontextmanager
async def open_postgres_queue(
    url: str,
    clock: Clock,
    directory: Path,
    *,
    schema: str,
    name: str,
    version: str,
    lease: float,
    sinks: Sequence[str],
    dedupe_window: float,
    dead_letter_retention: float,
    max_pending: int,
    first_looks: Callable[[int], list[float]],
    keeps_events: bool = False,
    settings: Mapping[str, Any],
) -> AsyncIterator[PostgresQueue]:
    """Open the queue of the fleet in `schema`. `directory` is the state directory, which the caller has locked.

    The other arguments are those of `Membership` and `PostgresQueue`.

    Raises:
        DatabaseUnavailableError: the database can't be reached now, or another worker has the name.
        DatabaseError: the tables are missing, or are those of another version.
    """
    queue_link = Link(url, application=f"asset-worker {name}", idle_seconds=lease)
    lease_link = Link(url, application=f"asset-worker {name} lease", idle_seconds=lease)
    queue_thread, lease_thread = DaemonThread("queue"), DaemonThread("lease")
    membership = Membership(
        lease_link,
        lease_thread,
        clock,
        Lives(schema, lease=lease),
        name=name,
        version=version,
        lease=lease,
        settings=settings,
    )
    clock.monotonic()  # its first call looks for the running event loop, which the thread below has not

    def begin() -> PostgresQueue:
        queue_link.ask(lambda connection: check_version(connection, schema))
        return PostgresQueue(
            Database(queue_link, schema, name),
            queue_thread,
            membership,
            clock,
            sinks=sinks,
            dedupe_window=dedupe_window,
            dead_letter_retention=dead_letter_retention,
            max_pending=max_pending,
            first_looks=first_looks,
            keeps_events=keeps_events,
            former_life=read_life(directory),
            on_life=partial(_write_life, directory),
        )

    try:
        queue = await queue_thread.run(begin)
    except psycopg.Error as error:
        raise explained(error) from error
    try:
        yield queue
    finally:
        await queue.close()


def check_version(connection: Connection, schema: str) -> None:
    """Check that the tables are there, and that this program may use them.

    Raises:
        DatabaseError: they are not, or it may not.
        psycopg.Error: they can't be read.
    """
    found = read_version(connection, schema)
    if found is None:
        raise DatabaseError(f"the database has no tables of a fleet in {schema}: run `asset-worker fleet init`")
    version, oldest = found
    if version < OLDEST_COMPATIBLE:
        raise DatabaseError(f"the tables in {schema} are of an earlier version: run `asset-worker fleet init`")
    if oldest > VERSION:
        raise DatabaseError(
            f"the tables in {schema} are of a newer version of asset-worker, with which this one can't work: update it"
        )


def read_version(connection: Connection, schema: str) -> tuple[int, int] | None:
    """Return the version of the tables, and of the oldest program that may use them; None: there are none."""
    found = execute(connection, "SELECT to_regclass(%s)", (f"{schema}.schema",)).fetchone()
    if found is None or found[0] is None:
        return None
    row = execute(connection, f"SELECT version, oldest_compatible FROM {schema}.schema").fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def explained(error: psycopg.Error) -> DatabaseError:
    """Return why the database can't be used, in words, on one line."""
    text = " ".join((error.diag.message_primary or str(error)).split())
    if is_transient(error):
        return DatabaseUnavailableError(f"the fleet's database can't be used now: {text}")
    if error.sqlstate == INSUFFICIENT_PRIVILEGE:
        text += ": grant this user the role that `asset-worker fleet init` has made for workers"
    return DatabaseError(f"the fleet's database can't be used: {text}")


def read_life(directory: Path) -> int | None:
    """Return the last life of the worker of a state directory; None: it is not known."""
    with suppress(OSError, ValueError):
        return int((directory / LIFE_FILE).read_text("ascii"))
    return None


def _write_life(directory: Path, life: int) -> None:
    """Record the life. Without it, a restart waits for the end of its former lease."""
    with suppress(OSError):
        new = directory / f"{LIFE_FILE}.new"
        new.write_text(f"{life}\n", "ascii")
        new.replace(directory / LIFE_FILE)
