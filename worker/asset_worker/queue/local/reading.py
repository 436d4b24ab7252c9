"""Opens a journal to read it: while a worker writes it, after it has ended, or in a copy that can't be written."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from asset_worker.queue.local.files import LOG_SUFFIX
from asset_worker.queue.local.schema import restrict
from asset_worker.runtime.private_files import open_to_read

_LACKS_FILES: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
"""SQLite's errors when it can't create the file of shared memory, `-shm`, without which it reads no log."""


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
        log = path.with_name(path.name + LOG_SUFFIX)
        if not log.exists() or not log.stat().st_size:
            return _connect(path, "immutable=1")  # SQLite then needs no other file, and would not read a log
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="asset-worker-status-")))
        for file in (log, path):
            with open_to_read(file) as source, (directory / file.name).open("xb") as copy:
                shutil.copyfileobj(source, copy)
        return _connect(directory / path.name, "mode=rw")


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
