"""What must survive, in one SQLite database: pending assets, settlements, the outbox, positions.

Every method blocks, and those that write are called within `transaction` (`commits` does that). One connection writes,
in one thread: SQLite's WAL-reset bug (before 3.51.3) needs two. Other processes open the file read-only
(`status_report`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION

FILE_NAME = "journal.sqlite3"
APPLICATION_ID = 0x61737377
"""'assw': says in the file's header which program it belongs to (`PRAGMA application_id`)."""

CACHE_KIB = 16_000
CHECKPOINT_PAGES = 4_000
"""SQLite's defaults (2 MB, 1,000 pages) halve the rate at which a million assets are accepted."""

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
_decode_options = msgspec.json.Decoder(Options).decode
_decode_progress = msgspec.json.Decoder(Progress).decode


class JournalError(Exception):
    """The journal can't be used as it is. The message says what to do."""


class JournalUnavailableError(JournalError):
    """The journal can't be used at present: the disk is full or failing, or another process holds the file."""


def is_transient(error: sqlite3.Error) -> bool:
    """Whether the same transaction may succeed later: a full disk, an I/O error, a directory made read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _TRANSIENT


class PendingRow(msgspec.Struct):
    """A pending asset as the journal holds it."""

    submission: Submission
    accepted_at: float
    """Seconds since the epoch, UTC."""
    completion: int
    """The number of the completion that its wait leads to, from 1."""
    progress: Progress | None
    """None: no progress was saved."""


class Settlement(msgspec.Struct, frozen=True):
    """What is kept of a wait that is over. Instants are seconds since the epoch, UTC."""

    asset_id: AssetId
    completion: int
    outcome: str
    accepted_at: float
    completed_at: float


class Journal:
    """The database, opened for writing.

    Raises:
        JournalError: the file is damaged, of a newer version, no journal, or there is no permission to open it.
        JournalUnavailableError: it can't be opened at present.
    """

    def __init__(self, path: Path) -> None:
        """Open the file at `path`; it is created where there is none, and brought up to this version's schema."""
        self.path = path
        self._counts_outcomes = False
        with _translating_errors(path):
            _create_private(path)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._execute = self._connection.execute
            self._prepare()
        self._identity = _identity(path)

    def _prepare(self) -> None:
        execute = self._execute
        [version], [owner] = execute("PRAGMA user_version").fetchone(), execute("PRAGMA application_id").fetchone()
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"the journal {self.path} was written by a newer asset-worker (schema {version}, this one knows "
                f"{SCHEMA_VERSION}): run that version, or give another state.dir; the file is left as it is"
            )
        [tables] = execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != APPLICATION_ID:
            raise JournalError(f"{self.path} is a database of another program: give another state.dir")
        [check] = execute("PRAGMA quick_check(1)").fetchone()
        if check != "ok":
            raise sqlite3.DatabaseError(check)
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        execute("PRAGMA temp_store = MEMORY")  # a container's root may be read-only, and have no place for others
        for number, migrate in enumerate(MIGRATIONS[version:], start=version + 1):
            with self.transaction():
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                migrate(self._connection)
                execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written within it, durably, or nothing of it."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # SQLite has rolled back already after some errors, a full disk among them.
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def check_place(self) -> None:
        """Check that the next start will find this file.

        Raises:
            JournalError: the file is no longer at its path.
            OSError: the path can't be examined at present.
        """
        if _identity(self.path) != self._identity:
            raise JournalError(
                f"the journal {self.path} was moved, deleted or replaced while the worker ran, so nothing would be "
                "kept: move it back, or let the next start begin anew and read the queue file again"
            )

    def close(self) -> None:
        """Close the file. What was committed stays."""
        self._connection.close()

    def pending(self) -> Iterator[PendingRow]:
        """All pending assets, one by one, because there may be a million; in no order, because a sort takes disk space.

        Raises:
            JournalError: the file is damaged.
            JournalUnavailableError: it can't be read at present.
        """
        # Many share an origin: one object for all of them spares memory.
        origins: dict[str, str] = {}
        with _translating_errors(self.path):
            for asset_id, origin, line, options, accepted_at, completion, progress in self._execute(
                "SELECT asset_id, origin, line, options, accepted_at, completion, progress FROM pending"
            ):
                yield PendingRow(
                    Submission(
                        asset_id, origins.setdefault(origin, origin), line, options and _decode_options(options)
                    ),
                    accepted_at,
                    completion,
                    progress and _progress_from(progress),
                )

    def accept(
        self, submissions: Sequence[Submission], *, at: float, window_start: float
    ) -> list[tuple[Submission, int]]:
        """Make those pending that were not settled since `window_start`, in seconds since the epoch.

        Returns them, each with the number of the completion that its wait leads to.
        """
        if not submissions:
            return []
        rows = self._execute(
            "SELECT asset_id, completion, completed_at FROM settled WHERE asset_id IN (SELECT value FROM json_each(?))",
            (_encode([submission.asset_id for submission in submissions]).decode(),),
        )
        settled = {asset_id: (completion, completed_at) for asset_id, completion, completed_at in rows}
        accepted = []
        for submission in submissions:
            completion, completed_at = settled.get(submission.asset_id, (0, None))
            if completed_at is None or completed_at < window_start:
                accepted.append((submission, completion + 1))
        # In the order of the keys: neighbours share pages, which saves a third of the time for a million.
        self._connection.executemany(
            "INSERT INTO pending (asset_id, origin, line, options, accepted_at, completion) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (s.asset_id, s.origin, s.line, None if s.options is None else _encode(s.options), at, completion)
                for s, completion in sorted(accepted, key=_asset_id)
            ),
        )
        return accepted

    def settle(self, settlement: Settlement) -> None:
        """Move an asset from pending to settled."""
        self._execute("DELETE FROM pending WHERE asset_id = ?", (settlement.asset_id,))
        self._execute(
            "INSERT OR REPLACE INTO settled (asset_id, completion, outcome, accepted_at, completed_at) "
            "VALUES (?, ?, ?, ?, ?)",
            msgspec.structs.astuple(settlement),
        )

    def save_progress(self, progress: Mapping[AssetId, Progress]) -> None:
        """Record how far the waits for these have come; an asset that is not pending is passed over."""
        self._connection.executemany(
            "UPDATE pending SET progress = ? WHERE asset_id = ?",
            ((_encode(state), asset_id) for asset_id, state in progress.items()),
        )

    def add_events(self, events: Iterable[Event]) -> None:
        """Put events into the outbox, in this order, and count their outcomes where the run is to end by itself."""
        events = tuple(events)
        self._connection.executemany(
            "INSERT INTO outbox (id, body) VALUES (?, ?)", ((event.id, event.body) for event in events)
        )
        if self._counts_outcomes:
            self._connection.executemany(
                "INSERT INTO tally (outcome, count) VALUES (?, 1) "
                "ON CONFLICT (outcome) DO UPDATE SET count = count + 1",
                ((event.outcome.value,) for event in events),
            )

    def begin_run(self, *, ends_by_itself: bool) -> None:
        """From now on count outcomes, if the run ends by itself: on from those of a run that was interrupted."""
        self._counts_outcomes = ends_by_itself
        if not ends_by_itself:
            self.end_run()

    def tally(self) -> dict[str, int]:
        """The events since `end_run` by outcome."""
        return dict(self._execute("SELECT outcome, count FROM tally").fetchall())

    def end_run(self) -> None:
        """Count outcomes from 0 again."""
        self._execute("DELETE FROM tally")

    def first_position(self) -> int:
        """The position of the outbox's oldest event; if the outbox is empty, of the next one."""
        [first] = self._execute("SELECT min(position) FROM outbox").fetchone()
        return self.last_position() + 1 if first is None else int(first)

    def last_position(self) -> int:
        """The last position that an event was given; 0: none was."""
        row = self._execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return 0 if row is None else int(row[0])

    def events_after(self, position: int, limit: int) -> list[tuple[int, str, bytes]]:
        """At most `limit` events after a position, in order: position, ID, body."""
        return self._execute(
            "SELECT position, id, body FROM outbox WHERE position > ? ORDER BY position LIMIT ?", (position, limit)
        ).fetchall()

    def sinks(self) -> dict[str, tuple[int, bytes | None]]:
        """How far each sink has come: position, checkpoint."""
        return {name: (position, checkpoint) for name, position, checkpoint in self._execute("SELECT * FROM sinks")}

    def advance(self, sink: str, position: int, checkpoint: bytes | None, *, done_by_all: int) -> None:
        """Record that this sink has all events up to `position`; drop those up to `done_by_all`."""
        self._execute(
            "INSERT INTO sinks (name, position, mark) VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET position = excluded.position, mark = excluded.mark",
            (sink, position, checkpoint),
        )
        self._execute("DELETE FROM outbox WHERE position <= ?", (done_by_all,))

    def dead_letter(self, sink: str, position: int, event_id: str, body: bytes, reason: str) -> None:
        """Keep an event that this sink refused for good; once, however often it is called."""
        self._execute(
            "INSERT OR REPLACE INTO dead_letters (sink, position, id, body, reason) VALUES (?, ?, ?, ?, ?)",
            (sink, position, event_id, body, reason),
        )

    def intakes(self) -> dict[str, bytes]:
        """The position of each intake, by its name."""
        return dict(self._execute("SELECT name, position FROM intakes").fetchall())

    def set_intake(self, name: str, position: bytes) -> None:
        """Record how far an intake has come."""
        self._execute("INSERT OR REPLACE INTO intakes (name, position) VALUES (?, ?)", (name, position))

    def prune(self, *, before: float, limit: int) -> int:
        """Delete at most `limit` settlements older than `before`, in seconds since the epoch. Returns how many."""
        return self._execute(
            "DELETE FROM settled WHERE asset_id IN "
            "(SELECT asset_id FROM settled WHERE completed_at < ? ORDER BY completed_at LIMIT ?)",
            (before, limit),
        ).rowcount


def _progress_from(row: bytes) -> Progress:
    progress = _decode_progress(row)
    if progress.last_seen is None:
        return progress
    return msgspec.structs.replace(progress, last_seen=progress.last_seen.shared())


def _asset_id(accepted: tuple[Submission, int]) -> str:
    return accepted[0].asset_id


def _create_private(path: Path) -> None:
    """Create the file for this user alone: it holds events and metadata. SQLite gives its other files the same mode."""
    with suppress(OSError):  # SQLite's own error says more
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at this path; None: there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _translating_errors(path: Path) -> Iterator[None]:
    """Raise a `JournalError` for an error of SQLite, or of what is decoded from its rows."""
    try:
        yield
    except sqlite3.Error as error:
        is_permitted = not path.exists() or os.access(path, os.R_OK | os.W_OK)
        if not is_transient(error):
            raise JournalError(_damaged(path, error)) from error
        if is_permitted and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            raise JournalUnavailableError(
                f"the journal {path} can't be used just now ({error}): check the disk, and who else has the file open"
            ) from error
        raise JournalError(
            f"the journal {path} can't be opened ({error}): check the rights on it and on its directory"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    why = " ".join(str(error).split())  # SQLite's own text has lines
    return (
        f"the journal {path} is damaged ({why}) and is left as it is. Restore it from a backup, or move it and its "
        "-wal and -shm files away: the worker then starts anew, reads the queue file again from its start, and looks "
        "at every asset in it once more (events may repeat)"
    )
