"""Opens a journal to read it: while a worker writes it, after it has ended, or in a copy that can't be written."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

import msgspec

from asset_worker.domain.events import FIRST_INSTANT, LAST_INSTANT, timestamp
from asset_worker.queue.local.clock_row import read_clock_mark
from asset_worker.queue.local.files import LOG_SUFFIX, reason_not_to_open
from asset_worker.queue.local.journal import (
    FILE_NAME,
    JournalError,
    check_is_journal,
    damaged,
    is_transient,
)
from asset_worker.queue.local.migrations import SCHEMA_VERSION
from asset_worker.queue.local.schema import check_schema, check_values, restrict
from asset_worker.queue.local.sink_rows import read_sinks
from asset_worker.queue.local.upgrading import earlier_version_text
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.private_files import open_to_read

_LACKS_FILES: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
"""SQLite's errors when it can't create the file of shared memory, `-shm`, without which it reads no log."""

ALONE: Final = "immutable=1"
"""How a database is opened without any other file: SQLite then creates none, and would not read a log."""

_Found = TypeVar("_Found")


def check_journal_exists(directory: Path) -> Path:
    """Return the path of the journal in `directory`.

    Raises:
        JournalError: there is none, or it can't be examined.
    """
    path = directory / FILE_NAME
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise JournalError(
            f"no worker has kept its state in {directory}: name its directory with --state-dir"
        ) from None
    except OSError as error:
        raise JournalError(f"{path} can't be read ({error.strerror}): check the path and the rights on it") from error
    return path


def find_journal_problem(path: Path) -> str | None:
    """Return why a worker that is started would refuse the journal at `path`, as far as that is seen at once.

    Its rows are not read: there may be a million. No file is created beside it.
    """
    try:
        with opened_to_read(path) if _has_log(path) else closing(_connect(path.absolute(), ALONE)) as connection:
            check_is_journal(connection, path)
    except JournalError as error:
        return str(error)
    except sqlite3.Error as error:
        return None if is_transient(error) else damaged(path, error)
    except OSError:
        return None  # there is no room for a copy of it to be read
    return None


def read_journal(directory: Path, clock: Clock, read: Callable[[sqlite3.Connection, float], _Found]) -> _Found:
    """Return what `read` returns for the journal in `directory` and the steady time now, which `clock` resumes from it.

    An OSError of `read` is about what it writes.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """
    path = check_journal_exists(directory)
    with _read_from(path) as connection:
        _check_version(connection, path)
        check_schema(connection, SCHEMA_VERSION)
        check_values(connection)
        clock.resume(read_clock_mark(connection))
        return read(connection, clock.steady())


def read_sink_names(directory: Path) -> set[str]:
    """Return the names of the sinks in the journal in `directory`, also of one that is still to be upgraded.

    The names of readers are among them.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    path = check_journal_exists(directory)
    with _read_from(path) as connection:
        check_is_journal(connection, path)
        check_values(connection)
        return {*read_sinks(connection)}  # this table has always been the same


@contextmanager
def _read_from(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database at `path`, as `opened_to_read` does.

    Raises:
        JournalError: it can't be opened, or what is read in the context is damaged.
    """
    if (reason := reason_not_to_open(path)) is not None:
        raise JournalError(reason)
    try:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(opened_to_read(path))
            except OSError as error:
                raise JournalError(
                    f"{path} can't be read, because its directory can't be written, and there is no room for a "
                    f"temporary copy ({error.strerror}): set TMPDIR to a directory that can be written"
                ) from error
            yield connection
    except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(
            f"{path} can't be read ({error}): check the rights on it; if it is damaged, the next start of the "
            "worker says what to do"
        ) from error


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version < SCHEMA_VERSION:
        raise JournalError(earlier_version_text(path, version))
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path} is of a newer version (schema {version}, this asset-worker reads {SCHEMA_VERSION}): ask with "
            "the version that the worker has"
        )


def shown_instant(steady: float | None, ahead: float) -> str | None:
    """Return an instant of steady time as RFC 3339, UTC. `ahead` is the wall clock minus steady time, in seconds.

    None: there is none, or it is so far away that its row must be damaged.
    """
    if steady is None or not FIRST_INSTANT <= steady + ahead <= LAST_INSTANT:
        return None
    return timestamp(steady + ahead)


@contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database at `path`, with what its write-ahead log holds. All queries in the context see the same state.

    The directory need not be writable.

    Raises:
        sqlite3.Error: it can't be opened, or it is not a database.
        OSError: there is no directory for a temporary copy.
    """
    with ExitStack() as stack:
        yield stack.enter_context(closing(_open(path.absolute(), stack)))


def _open(path: Path, stack: ExitStack) -> sqlite3.Connection:
    """Open the database, or else a copy of it, which `stack` will delete."""
    try:
        return _connect(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _LACKS_FILES:
            raise
        if not _has_log(path):
            return _connect(path, ALONE)
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="asset-worker-status-")))
        for file in (_log_of(path), path):
            with open_to_read(file) as source, (directory / file.name).open("xb") as copy:
                shutil.copyfileobj(source, copy)
        return _connect(directory / path.name, "mode=rw")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + LOG_SUFFIX)


def _has_log(path: Path) -> bool:
    log = _log_of(path)
    return log.exists() and log.stat().st_size > 0


def _connect(path: Path, option: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?{option}", uri=True, isolation_level=None)
    try:
        restrict(connection)
        connection.execute("PRAGMA temp_store = MEMORY")  # there may be no directory for temporary files
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file, which `connect` does not
    except BaseException:
        connection.close()
        raise
    return connection
