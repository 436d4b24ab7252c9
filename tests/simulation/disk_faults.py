"""Faults of the machine's disks: the journal's, and those of the queue file and the events file."""

from __future__ import annotations

import errno
import sqlite3
from random import Random
from typing import Any

import msgspec

from tests.simulation.setup import EVENTS_FILE, QUEUE_FILE, ROOT

SLOW_THREADS = ("journal", "queue-file", "events-file")


class JournalFails(msgspec.Struct, frozen=True):
    """Transactions of the journal fail with this code of SQLite, and change nothing."""

    code: int = sqlite3.SQLITE_FULL

    def error(self) -> sqlite3.OperationalError:
        """Return the error that SQLite raises."""
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = self.code
        return error


class FilesFail(msgspec.Struct, frozen=True):
    """Calls about files whose paths begin with the prefix fail with this error number."""

    prefix: str = EVENTS_FILE
    number: int = errno.EIO
    calls: frozenset[str] = frozenset({"write", "fdatasync"})


class DiskFull(msgspec.Struct, frozen=True):
    """Only so many bytes can be written to the events file."""

    room: int = 0


class DiskSlow(msgspec.Struct, frozen=True):
    """Each call in one of the program's threads takes this many seconds to begin."""

    thread: str = "journal"
    seconds: float = 1.0


class ReceiverFails(msgspec.Struct, frozen=True):
    """The receiver at this host fails."""

    host: str
    fault: Any


DiskFault = JournalFails | FilesFail | DiskFull | DiskSlow


def draw_disk_fault(random: Random) -> DiskFault:
    """Draw a fault of one of the disks."""
    return random.choice(
        (
            JournalFails(random.choice((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY))),
            FilesFail(number=random.choice((errno.EIO, errno.EDQUOT)), calls=_one_of(random, "write", "fdatasync")),
            FilesFail(number=random.choice((errno.ENOENT, errno.EACCES)), calls=frozenset({"open"})),
            FilesFail(QUEUE_FILE, random.choice((errno.EIO, errno.ESTALE)), _one_of(random, "pread", "open")),
            FilesFail(ROOT, errno.EIO, frozenset({"scandir"})),
            DiskFull(random.randrange(1, 3000)),
            DiskSlow(random.choice(SLOW_THREADS), round(random.uniform(0.1, 15.0), 3)),
        )
    )


def _one_of(random: Random, *calls: str) -> frozenset[str]:
    return frozenset({random.choice(calls)})
