"""The database as the store of group commits, which makes each group once, whatever happens to its answer.

A group has a number. It is written first, in the group's transaction, together with a lock on the row of the life that
writes. So a group that has been committed although its answer was lost is known by its number, and a life that was
retired writes nothing. The numbers are rows of their own, and not one row that changes: a snapshot that somebody holds
open would keep each version of that row, and each write would have to pass them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import psycopg

from asset_worker.queue.postgres.absences import AbsenceRows
from asset_worker.queue.postgres.connection import Connection, Link, execute, is_transient
from asset_worker.queue.postgres.learned_rows import LearnedRows
from asset_worker.queue.postgres.outbox_rows import OutboxRows
from asset_worker.queue.postgres.pending_rows import PendingRows
from asset_worker.runtime.log import get_logger

T = TypeVar("T")
_log = get_logger()


class RetiredError(Exception):
    """This life was retired: what it owned belongs to others."""


class Statements:
    """The statements about each table of a schema."""

    def __init__(self, schema: str) -> None:
        self.pending = PendingRows(schema)
        self.outbox = OutboxRows(schema)
        self.absences = AbsenceRows(schema)
        self.learned = LearnedRows(schema)


class Tables:
    """What changes and queries are called with: a connection, and the statements about each table."""

    def __init__(self, connection: Connection, life: int, statements: Statements) -> None:
        self.connection = connection
        self.life = life
        """The life that reads and writes."""
        self.pending = statements.pending
        self.outbox = statements.outbox
        self.absences = statements.absences
        self.learned = statements.learned


@runtime_checkable
class Joined(Protocol):
    """A change that is made together with others of its type, in fewer statements."""

    def __call__(self, tables: Tables) -> Any:
        """Make it alone."""
        ...

    @staticmethod
    def together(changes: Sequence[Any], tables: Tables) -> list[Any]:
        """Make several. Return what each of them returns."""
        ...


class _Attempt:
    """The group of changes that was attempted last."""

    def __init__(self, changes: Sequence[Callable[[Tables], Any]], life: int, number: int) -> None:
        self.changes = changes
        self.life = life
        """The life whose number it has."""
        self.number = number
        self.results: list[Any] | None = None
        """What the changes have returned; None: they were not made, or not all."""


class Database:
    """A `Store` (`queue.commits`) of tables in one schema."""

    what: Final = "the database"
    answers: Final = "the database"
    patience: Final = 30.0
    """No transaction takes so long, unless nothing answers any more."""

    def __init__(self, link: Link, schema: str, name: str) -> None:
        """`name` is the worker's: a database that has lost commits may give the number of its life to another one."""
        self.life = 0
        """The life that writes; 0: none was begun."""
        self._link = link
        self._name = name
        self._statements = Statements(schema)
        self._attempt = _Attempt((), 0, 0)
        self._enter = (
            f"INSERT INTO {schema}.groups (life, number) SELECT id, %s FROM {schema}.workers "
            "WHERE id = %s AND name = %s "
            "FOR KEY SHARE ON CONFLICT DO NOTHING RETURNING number"
        )
        self._forget = (
            f"DELETE FROM {schema}.groups WHERE (life = %(life)s AND number < %(number)s) "
            f"OR life < (SELECT min(id) FROM {schema}.workers)"
        )
        self._was_made = f"SELECT FROM {schema}.groups WHERE life = %s AND number = %s"

    def transact(self, changes: Sequence[Callable[[Tables], Any]]) -> list[Any]:
        """Make these changes in one transaction.

        Raises:
            RetiredError: the life was retired, or there is none.
            psycopg.Error: see `Link.transact`.
        """
        before = self._attempt
        if changes is not before.changes:
            self._attempt = _Attempt(changes, self.life, before.number + 1)
        attempt, life = self._attempt, self.life

        def work(connection: Connection) -> list[Any]:
            entered = (
                life == attempt.life and execute(connection, self._enter, (attempt.number, life, self._name)).fetchone()
            )
            if not entered:
                made = (
                    attempt.results and execute(connection, self._was_made, (attempt.life, attempt.number)).fetchone()
                )
                if made is not None and attempt.results is not None:
                    return attempt.results
                if life == attempt.life:
                    raise RetiredError
                # Another life has begun since the attempt, which came to nothing.
                attempt.life, attempt.results = life, None
                return work(connection)
            attempt.results = list(_results(changes, Tables(connection, life, self._statements)))
            return attempt.results

        return self._link.transact(work)

    def read(self, query: Callable[[Tables], T]) -> T:
        """Return what `query` returns. Each of its statements sees what was committed before it."""
        return self._link.ask(
            lambda connection: query(Tables(connection, self.life, self._statements)),
        )

    def forget_groups(self, connection: Connection) -> None:
        """Forget the numbers of groups that are not tried again: those of lives that are over, and older ones."""
        execute(connection, self._forget, {"life": self._attempt.life, "number": self._attempt.number})

    def interrupt(self) -> None:
        """Give up the connection, so that the present call fails."""
        self._link.interrupt()

    def is_transient(self, error: Exception) -> bool:
        """Return whether an error is PostgreSQL's or the network's, and the same may succeed later."""
        return isinstance(error, psycopg.Error) and is_transient(error)

    def log_failure(self, error: str, *, retry_in: float | None) -> None:
        """Log that the database can't be written now."""
        _log.error("database.failed", error=error, retry_in=retry_in)

    def log_recovery(self) -> None:
        """Log that the database can be written again."""
        _log.info("database.recovered")

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def _results(changes: Sequence[Callable[[Tables], Any]], tables: Tables) -> list[Any]:
    results: list[Any] = []
    for kind, some in groupby(changes, type):
        if issubclass(kind, Joined):
            results += kind.together(list(some), tables)
        else:
            results += [change(tables) for change in some]
    return results
