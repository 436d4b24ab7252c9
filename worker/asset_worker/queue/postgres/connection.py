"""A connection to PostgreSQL, which one thread uses and which is opened again after it was lost.

Nothing outlives a transaction: no prepared statements, no settings of the session, no LISTEN and no session's locks. So
a pooler in transaction mode (PgBouncer) may stand between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import TupleRow, tuple_row

T = TypeVar("T")
Connection = psycopg.Connection[TupleRow]

CONNECT_SECONDS: Final = 5
"""How long each of the hosts may take to answer a connection."""
UNANSWERED_MILLISECONDS: Final = 10_000
"""How long sent data may stay unacknowledged before the connection counts as lost. A partition tells nobody."""

_TRANSIENT_CLASSES: Final = ("08", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE that pass: connection exceptions, rollbacks (deadlocks), insufficient resources, objects in use,
operator intervention (restarts and cancelled statements) and system errors of the server.
<https://www.postgresql.org/docs/current/errcodes-appendix.html>"""
_TRANSIENT_STATES: Final = frozenset(
    {
        "25006",  # read-only: the server is a standby, or has become one
        "25P03",  # the transaction was idle for too long
        "25P04",  # the transaction took too long
    }
)


def is_transient(error: psycopg.Error) -> bool:
    """Return whether the same may succeed later: the server is away, starts, fails over, is full, or chose a victim."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES


class Link:
    """One connection at a time, for one thread."""

    def __init__(self, url: str, *, application: str, idle_seconds: float) -> None:
        """Connect to nothing yet.

        Args:
            url: what libpq connects to: a URL or a string of keywords, of one or several hosts.
            application: how the connection is named in the server's lists.
            idle_seconds: after so long between two statements of a transaction the server rolls it back.
        """
        self._url = url
        self._application = application
        self._idle = round(idle_seconds * 1000)
        self._connection: Connection | None = None
        self._is_called = False

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, once what it has written is committed.

        Raises:
            psycopg.Error: nothing is known to be committed. After the loss of a connection it may be all the same.
        """
        connection = self._connected()
        self._is_called = True
        try:
            with connection.transaction():
                execute(connection, "SET LOCAL idle_in_transaction_session_timeout = " + str(self._idle))
                return work(connection)
        finally:
            self._is_called = False
            self._let_go_if_lost(connection)

    def ask(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, each statement of which is a transaction of its own.

        Raises:
            psycopg.Error: as `transact`.
        """
        connection = self._connected()
        self._is_called = True
        try:
            return work(connection)
        finally:
            self._is_called = False
            self._let_go_if_lost(connection)

    def interrupt(self) -> None:
        """Let a call that another thread is waiting for fail: the connection is lost. No call: nothing happens.

        No timeout of TCP ends the wait for an answer if something between here and the server still acknowledges.
        """
        connection = self._connection
        if connection is not None and self._is_called:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                prepare_threshold=None,
                row_factory=tuple_row,
                application_name=self._application,
                connect_timeout=CONNECT_SECONDS,
                tcp_user_timeout=UNANSWERED_MILLISECONDS,
            )
        return self._connection

    def _let_go_if_lost(self, connection: Connection) -> None:
        if connection.broken or connection.closed:
            self.close()


def execute(connection: Connection, query: str, parameters: Any = None) -> psycopg.Cursor[TupleRow]:
    """Run one statement. Its text holds nothing but names that were checked (`schema.checked_schema`) and constants."""
    return connection.execute(query, parameters)
