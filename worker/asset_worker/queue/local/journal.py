"""The journal: one SQLite database with everything that must survive: pending assets, settlements, outbox, positions.

Every method blocks. Methods that write must be called within `transaction`, as `commits` does. Only one connection
writes, in one thread, which avoids SQLite's WAL-reset bug (before 3.51.3). Other processes open the file read-only
(`status_report`). Nothing else in this process may open the file, not even to read it: whenever any descriptor of it is
closed, the process loses its POSIX locks on it (sqlite.org/howtocorrupt.html, section 2.2).

All instants in it are in steady time (`runtime.steady_time`), which the stored mark of the clock continues.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.deliveries import Condition
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.local.clock_row import read_clock_mark
from asset_worker.queue.local.dead_letter_rows import DeadLetterRows
from asset_worker.queue.local.files import create_private, identity_of, reason_not_to_open
from asset_worker.queue.local.full_disks import advice_about
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.pending_rows import PendingRow, add_pending, read_pending, replace_submissions
from asset_worker.queue.local.request_rows import RequestRows
from asset_worker.queue.local.schema import check_schema, check_values, restrict
from asset_worker.queue.local.settled_rows import SettledRows, Settlement
from asset_worker.queue.local.sink_rows import (
    count_events_after,
    lowest_position,
    read_conditions,
    read_sinks,
    write_condition,
    write_sink,
)
from asset_worker.queue.local.undelivered_rows import UndeliveredRows
from asset_worker.queue.local.upgrading import earlier_version_text, is_earlier, logging_upgrade, newer_version_text
from asset_worker.runtime.steady_time import Mark

FILE_NAME = "journal.sqlite3"
APPLICATION_ID = 0x61737377
"""'assw' in ASCII: shows in the file's header which program it belongs to (`PRAGMA application_id`)."""
DEAD_LETTER = "dead_letter"
"""Dead letters among the counts of outcomes: no outcome has this name."""

CACHE_KIB = 16_000
CHECKPOINT_PAGES = 4_000
"""With SQLite's defaults (2 MB, 1,000 pages), a million assets are accepted at half the rate."""

_TRANSIENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
}

_encode = msgspec.json.Encoder().encode


class JournalError(Exception):
    """The journal can't be used as it is. The message says what to do."""


class JournalUnavailableError(JournalError):
    """The journal can't be used now: the disk is full or failing, or another process holds the file."""


def is_transient(error: sqlite3.Error) -> bool:
    """Return whether the same transaction may succeed later: a full disk, an I/O error, a directory made read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _TRANSIENT


class Journal:
    """The database, opened for writing.

    Raises:
        JournalError: the file is damaged or forged, was written by a newer version, or by an earlier one and is not to
            be upgraded, is not a journal, or may not be opened.
        JournalUnavailableError: the file can't be opened now.
    """

    def __init__(self, path: Path, *, upgrades: bool = True) -> None:
        """Open the file at `path`. A missing file is created. `upgrades`: an older one gets the present schema."""
        self.path = path
        self._counts_outcomes = False
        if (reason := reason_not_to_open(path)) is not None:
            raise JournalError(f"the journal can't be opened: {reason}")
        with _translating_errors(path):
            create_private(path)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._execute = self._connection.execute
            self._prepare(upgrades=upgrades)
            self.dead_letters = DeadLetterRows(self._connection)
            self.undelivered = UndeliveredRows(self._connection, self.dead_letters)
            self.requests = RequestRows(self._connection)
            self.settled = SettledRows(self._connection)
        self._identity = identity_of(path)

    def _prepare(self, *, upgrades: bool) -> None:
        execute = self._execute
        restrict(self._connection)
        version = check_is_journal(self._connection, self.path)  # before quick_check, which executes CHECK constraints
        if is_earlier(version) and not upgrades:
            raise JournalError(earlier_version_text(self.path, version))
        [check] = execute("PRAGMA quick_check(1)").fetchone()
        if check != "ok":
            raise sqlite3.DatabaseError(check)
        check_values(self._connection)
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        execute("PRAGMA temp_store = MEMORY")  # a container's root may be read-only, without room for temporary files
        with logging_upgrade(self.path, version):
            for number, migrate in enumerate(MIGRATIONS[version:], start=version + 1):
                with self.transaction():
                    execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    migrate(self._connection)
                    execute(f"PRAGMA user_version = {number}")
        # A write that changes nothing fails now, and not later, if the disk is full or another process holds the lock.
        with self.transaction():
            execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that is written within the context, durably, or nothing."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # After some errors, such as a full disk, SQLite has already rolled back.
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def check_path(self) -> None:
        """Check that the file is still at its path, where the next start will look for it.

        Raises:
            JournalError: the file is no longer at its path.
            OSError: the path can't be examined now.
        """
        if identity_of(self.path) != self._identity:
            raise JournalError(
                f"the journal {self.path} was moved, deleted or replaced while the worker ran, so nothing would be "
                "kept: move it back, or let the next start begin again and read the queue file from its start"
            )

    def close(self) -> None:
        """Close the file. What was committed stays."""
        self._connection.close()

    def pending(self) -> Iterator[PendingRow]:
        """Yield all pending assets, one by one, as there may be a million. They are unsorted: sorting takes disk space.

        Raises:
            JournalError: the file is damaged.
            JournalUnavailableError: the file can't be read now.
        """
        with _translating_errors(self.path):
            yield from read_pending(self._connection)

    def accept(
        self, submissions: Sequence[Submission], *, at: float, window_start: float
    ) -> list[tuple[Submission, int]]:
        """Make assets pending, except those that were settled since `window_start`.

        `at` is the time of acceptance; both are in steady time. Return the submissions that were accepted, each with
        the number of the completion that its wait leads to.
        """
        if not submissions:
            return []
        settled = self.settled.last_completions([submission.asset_id for submission in submissions])
        accepted = []
        for submission in submissions:
            completion, completed_at = settled.get(submission.asset_id, (0, None))
            if completed_at is None or completed_at < window_start:
                accepted.append((submission, completion + 1))
        add_pending(self._connection, accepted, at=at)
        return accepted

    def replace_submissions(self, submissions: Sequence[Submission]) -> list[Submission]:
        """Let submissions take the place of those of the same pending assets. Return those that are still pending."""
        return replace_submissions(self._connection, submissions)

    def settle(self, settlement: Settlement, event: bytes | None = None) -> None:
        """Move an asset from pending to settled. `event`: the body of its event, if that is kept to be asked for."""
        self._execute("DELETE FROM pending WHERE asset_id = ?", (settlement.asset_id,))
        self.settled.add(settlement)
        if event is not None:
            self.settled.events.keep(
                settlement.asset_id, completion=settlement.completion, at=settlement.completed_at, body=event
            )

    def save_progress(self, progress: Mapping[AssetId, Progress]) -> None:
        """Record the progress of these assets; those that are not pending are ignored."""
        self._connection.executemany(
            "UPDATE pending SET progress = ? WHERE asset_id = ?",
            ((_encode(state), asset_id) for asset_id, state in progress.items()),
        )

    def add_events(self, events: Iterable[Event]) -> None:
        """Put events into the outbox, in this order. Count the outcomes among them if the run ends by itself."""
        events = tuple(events)
        self._connection.executemany(
            "INSERT INTO outbox (id, body) VALUES (?, ?)", ((event.id, event.body) for event in events)
        )
        self._count(event.outcome.value for event in events if event.outcome is not None)

    def count_dead_letter(self) -> None:
        """Count a dead letter among the outcomes if the run ends by itself: it has not done all that it was asked."""
        self._count([DEAD_LETTER])

    def _count(self, outcomes: Iterable[str]) -> None:
        if self._counts_outcomes:
            self._connection.executemany(
                "INSERT INTO tally (outcome, count) VALUES (?, 1) "
                "ON CONFLICT (outcome) DO UPDATE SET count = count + 1",
                ((each,) for each in outcomes),
            )

    def begin_run(self, *, ends_by_itself: bool) -> None:
        """Begin a run. If it ends by itself, its outcomes are counted, on top of those of an interrupted run."""
        self._counts_outcomes = ends_by_itself
        if not ends_by_itself:
            self.end_run()

    def tally(self) -> dict[str, int]:
        """Return the number of events by outcome since the last `end_run`, and of dead letters as `DEAD_LETTER`."""
        return dict(self._execute("SELECT outcome, count FROM tally").fetchall())

    def end_run(self) -> None:
        """Reset the count of outcomes to 0."""
        self._execute("DELETE FROM tally")

    def first_position(self) -> int:
        """Return the position of the oldest event that a sink has not passed; that of the next event: all have."""
        row = self._execute("SELECT position FROM passed").fetchone()
        return 1 if row is None else int(row[0]) + 1

    def last_position(self) -> int:
        """Return the position of the event that was added last; 0: there has been none."""
        row = self._execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return 0 if row is None else int(row[0])

    def events_after(self, position: int, limit: int) -> list[tuple[int, str, bytes]]:
        """Return at most `limit` events after a position, in order: position, ID and body of each."""
        return self._execute(
            "SELECT position, id, body FROM outbox WHERE position > ? ORDER BY position LIMIT ?", (position, limit)
        ).fetchall()

    def count_owed(self, sink: str, position: int) -> int:
        """Return how many events a sink with this position lacks: those after it, and those with a record."""
        return count_events_after(self._connection, position) + self.undelivered.count(sink)

    def sinks(self) -> dict[str, SinkState]:
        """Return the state of each sink, by its name, those included that are absent from the settings.

        Raises:
            JournalError: the file is damaged.
            JournalUnavailableError: the file can't be read now.
        """
        with _translating_errors(self.path):
            return read_sinks(self._connection)

    def set_sink(self, name: str, state: SinkState) -> None:
        """Record the state of a sink."""
        write_sink(self._connection, name, state)

    def advance(self, sink: str, position: int, checkpoint: bytes | None, *, others: Collection[str]) -> None:
        """Record that the sink has passed all events up to `position`; delete those that the others have passed, too.

        The positions of the others are those of this transaction: in memory they may be older.
        """
        self.set_sink(sink, SinkState(position, checkpoint))
        self.delete_events(lowest_position(self._connection, {sink, *others}))

    def delete_events(self, through: int) -> None:
        """Delete the events up to a position that all sinks have passed, except those that a record names."""
        first = self.first_position()
        if through < first:
            return
        self._execute(
            "DELETE FROM outbox WHERE position BETWEEN ? AND ? "
            "AND NOT EXISTS (SELECT 1 FROM undelivered WHERE undelivered.position = outbox.position)",
            (first, through),
        )
        self._execute("INSERT OR REPLACE INTO passed (only, position) VALUES (0, ?)", (through,))

    def conditions(self) -> dict[str, Condition]:
        """Return what is wrong with each independent sink that has a problem, by its name; see `sinks` for errors."""
        with _translating_errors(self.path):
            return read_conditions(self._connection)

    def begin_conditions(self, sinks: Iterable[str]) -> None:
        """Forget what a start ends: all that is wrong with sinks but that one of these, those of the run, is down."""
        self._execute(
            "DELETE FROM conditions WHERE kind <> 'down' OR sink NOT IN (SELECT value FROM json_each(?))",
            (_encode([*sinks]).decode(),),
        )

    def set_condition(self, sink: str, condition: Condition | None) -> None:
        """Record what is wrong with an independent sink; None: it works."""
        write_condition(self._connection, sink, condition)

    def intakes(self) -> dict[str, bytes]:
        """Return the position of each intake, by its name."""
        return dict(self._execute("SELECT name, position FROM intakes").fetchall())

    def set_intake(self, name: str, position: bytes) -> None:
        """Record the position that an intake has reached."""
        self._execute("INSERT OR REPLACE INTO intakes (name, position) VALUES (?, ?)", (name, position))

    def clock_mark(self) -> Mark | None:
        """Return the mark of the clock that was stored last; None: there has been none."""
        return read_clock_mark(self._connection)

    def set_clock_mark(self, mark: Mark) -> None:
        """Store a mark of the clock, in place of the one before."""
        reading = mark.reading
        self._execute(
            "INSERT OR REPLACE INTO clock (only, steady, boot, elapsed, wall) VALUES (0, ?, ?, ?, ?)",
            (mark.steady, reading.boot, reading.elapsed, reading.wall),
        )

    def end_future(self, now: float, *, among_pending: bool) -> None:
        """Set instants that are later than `now`, in steady time, to `now`. `among_pending`: some acceptances are."""
        self.undelivered.end_future(now)
        self.dead_letters.end_future(now)
        self.settled.end_future(now)
        if among_pending:
            self._execute("UPDATE pending SET accepted_at = ?1 WHERE accepted_at > ?1", (now,))

    def prune(self, *, before: float, limit: int) -> int:
        """Delete at most `limit` settlements older than `before`, in steady time. Return how many."""
        return self.settled.prune(before=before, limit=limit)


def check_is_journal(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema of a journal that was just opened and restricted.

    Raises:
        JournalError: a newer version wrote it, or another program.
        sqlite3.Error: it is damaged or forged.
    """
    execute = connection.execute
    [version], [owner] = execute("PRAGMA user_version").fetchone(), execute("PRAGMA application_id").fetchone()
    if version > SCHEMA_VERSION:
        raise JournalError(newer_version_text(path, version))
    [tables] = execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and owner != APPLICATION_ID:
        raise JournalError(f"{path} is a database of another program: give another state.dir")
    check_schema(connection, version)
    return int(version)


@contextmanager
def _translating_errors(path: Path) -> Iterator[None]:
    """Raise a `JournalError` for an error of SQLite, or for a row that can't be decoded."""
    try:
        yield
    except sqlite3.Error as error:
        is_permitted = not path.exists() or os.access(path, os.R_OK | os.W_OK)
        if not is_transient(error):
            raise JournalError(damaged(path, error)) from error
        if is_permitted and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            advice = advice_about(path.parent, otherwise="check the disk, and who else has the file open")
            raise JournalUnavailableError(f"the journal {path} can't be used just now ({error}): {advice}") from error
        raise JournalError(
            f"the journal {path} can't be opened ({error}): check the rights on it and on its directory"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(damaged(path, error)) from error


def damaged(path: Path, error: Exception) -> str:
    """Return, for people, that the journal is damaged, and what to do. `error` is that of SQLite."""
    why = " ".join(str(error).split())  # SQLite's own text may have several lines
    return (
        f"the journal {path} is damaged ({why}) and is left as it is. Restore it from a backup, or move it and its "
        "-wal and -shm files away: the worker then starts again, reads the queue file from its start, and looks "
        "at every asset in it once more (events may repeat)"
    )
