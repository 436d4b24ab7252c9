"""What is an outage of the database, which passes, and what is an error that stays."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from asset_worker.queue.postgres.connection import is_transient


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        pytest.param(errors.DiskFull, True, id="a full disk"),
        pytest.param(errors.TooManyConnections, True, id="too many connections"),
        pytest.param(errors.OutOfMemory, True, id="no memory"),
        pytest.param(errors.ConnectionFailure, True, id="a lost connection"),
        pytest.param(errors.CannotConnectNow, True, id="a server that starts or stops"),
        pytest.param(errors.AdminShutdown, True, id="a server that ends"),
        pytest.param(errors.CrashShutdown, True, id="a crash of another of the server's processes"),
        pytest.param(errors.ProtocolViolation, True, id="a pooler whose server is away"),
        pytest.param(errors.QueryCanceled, True, id="a statement that somebody cancelled"),
        pytest.param(errors.ReadOnlySqlTransaction, True, id="a standby"),
        pytest.param(errors.IdleInTransactionSessionTimeout, True, id="a transaction that was idle for too long"),
        pytest.param(errors.DeadlockDetected, True, id="a deadlock"),
        pytest.param(errors.SerializationFailure, True, id="a conflict"),
        pytest.param(errors.LockNotAvailable, True, id="a lock that others hold"),
        pytest.param(errors.IoError, True, id="a disk that fails"),
        pytest.param(psycopg.OperationalError, True, id="no connection, whatever the server says"),
        pytest.param(psycopg.errors.ConnectionTimeout, True, id="no connection in time"),
        pytest.param(psycopg.InterfaceError, True, id="a connection that is closed"),
        pytest.param(errors.UndefinedTable, False, id="no such table"),
        pytest.param(errors.InsufficientPrivilege, False, id="no right"),
        pytest.param(errors.UniqueViolation, False, id="a duplicate"),
        pytest.param(errors.DataCorrupted, False, id="damaged data"),
        pytest.param(psycopg.ProgrammingError, False, id="a wrong call of the driver"),
    ],
)
def test_an_error_passes_if_the_same_may_succeed_later(error, passes):
    assert is_transient(error()) == passes
