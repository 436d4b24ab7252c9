"""The report of the `status` command: reads a journal while a worker writes it, or after the worker has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Options
from asset_worker.queue.local.files import reason_not_to_open
from asset_worker.queue.local.journal import FILE_NAME, JournalError, read_clock_mark
from asset_worker.queue.local.migrations import SCHEMA_VERSION
from asset_worker.queue.local.reading import opened_to_read
from asset_worker.queue.local.schema import check_schema, check_values
from asset_worker.queue.local.sink_rows import count_events_after, read_sinks
from asset_worker.runtime.clock import Clock

_Found = TypeVar("_Found")

RECENT_SECONDS = 86400.0
"""How far back completions are counted."""


class PendingLine(msgspec.Struct, frozen=True):
    """One pending asset."""

    asset_id: str
    source: str
    """Where its submission came from, with the line's number."""
    age: float
    """Seconds since acceptance."""
    status: str | None
    """The API's last known status; None: not looked at yet."""
    waiting_on: tuple[str, ...]
    """What it waits for; empty: its first look."""
    polls: int
    """Looks so far."""


class CompletedLine(msgspec.Struct, frozen=True):
    """One settled asset."""

    asset_id: str
    outcome: str
    elapsed: float
    """Seconds from acceptance to completion."""
    ago: float
    """Seconds since completion."""


class StatusReport(msgspec.Struct, frozen=True):
    """What a state directory holds."""

    pending_count: int
    oldest_age: float
    """How long, in seconds, the asset accepted first has been pending; 0: nothing is pending."""
    waiting_on: dict[str, int]
    """The number of pending assets by what they wait for."""
    pending: list[PendingLine]
    """The one that has been pending longest first."""
    completed_lately: dict[str, int]
    """Completions of the last 24 hours by outcome."""
    completed: list[CompletedLine]
    """The latest first."""
    outbox_count: int
    """Events that have not reached every sink yet."""
    outbox_depth: dict[str, int]
    """Events that each sink does not have yet, by the sink."""
    outbox_kept: dict[str, int]
    """Events that are kept for each sink that was removed from the settings, by the sink."""
    dead_letters: int
    """Events that a sink refused permanently."""


class PendingAsset(msgspec.Struct, frozen=True):
    """What is kept of one pending asset. Instants are in steady time."""

    options: Options | None
    accepted_at: float
    progress: Progress
    """As of the last save, which a running worker makes every second."""
    now: float
    """When this was read."""


def read_status(directory: Path, *, clock: Clock, limit: int) -> StatusReport:
    """Return what the journal in `directory` holds, with at most `limit` pending and `limit` completed assets.

    The steady time of `clock` is resumed from the journal: ages are those that the worker knows, or would know if it
    were started now.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """
    return _read_journal(directory, clock, lambda connection, now: _read(connection, now, limit))


def read_asset(directory: Path, asset_id: str, *, clock: Clock) -> PendingAsset | CompletedLine | None:
    """Return what the journal in `directory` holds of one asset, as `read_status` does; None: nothing.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """
    return _read_journal(directory, clock, lambda connection, now: _read_asset(connection, now, asset_id))


def _read_journal(directory: Path, clock: Clock, read: Callable[[sqlite3.Connection, float], _Found]) -> _Found:
    path = directory / FILE_NAME
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise JournalError(
            f"no worker has kept its state in {directory}: name its directory with --state-dir"
        ) from None
    except OSError as error:
        raise JournalError(f"{path} can't be read ({error.strerror}): check the path and the rights on it") from error
    if (reason := reason_not_to_open(path)) is not None:
        raise JournalError(reason)
    try:
        with opened_to_read(path) as connection:
            _check_version(connection, path)
            check_schema(connection, SCHEMA_VERSION)
            check_values(connection)
            clock.resume(read_clock_mark(connection))
            return read(connection, clock.steady())
    except OSError as error:
        raise JournalError(
            f"{path} can't be read, because its directory can't be written, and there is no room for a temporary copy "
            f"({error.strerror}): set TMPDIR to a directory that can be written"
        ) from error
    except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(
            f"{path} can't be read ({error}): check the rights on it; if it is damaged, the next start of the "
            "worker says what to do"
        ) from error


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version < SCHEMA_VERSION:
        raise JournalError(
            f"{path} is of an earlier version (schema {version}, this asset-worker reads {SCHEMA_VERSION}): start the "
            "worker once with this version, which upgrades it, or ask for the status with the version that the worker "
            "has"
        )
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path} is of a newer version (schema {version}, this asset-worker reads {SCHEMA_VERSION}): ask for the "
            "status with the version that the worker has"
        )


def _read_asset(connection: sqlite3.Connection, now: float, asset_id: str) -> PendingAsset | CompletedLine | None:
    for options, accepted_at, progress in connection.execute(
        "SELECT options, accepted_at, progress FROM pending WHERE asset_id = ?", (asset_id,)
    ):
        return PendingAsset(
            msgspec.json.decode(options, type=Options) if options else None,
            accepted_at,
            msgspec.json.decode(progress, type=Progress) if progress else Progress(),
            now,
        )
    for outcome, accepted_at, completed_at in connection.execute(
        "SELECT outcome, accepted_at, completed_at FROM settled WHERE asset_id = ?", (asset_id,)
    ):
        return CompletedLine(asset_id, outcome, max(0.0, completed_at - accepted_at), max(0.0, now - completed_at))
    return None


def _read(connection: sqlite3.Connection, now: float, limit: int) -> StatusReport:
    execute = connection.execute
    waiting_on: dict[str, int] = {}
    total, oldest = 0, now
    decode = msgspec.json.Decoder(Progress).decode
    for accepted_at, progress in execute("SELECT accepted_at, progress FROM pending"):
        total, oldest = total + 1, min(oldest, accepted_at)
        for what in (decode(progress).waiting_on if progress else ()) or ("first look",):
            waiting_on[what] = waiting_on.get(what, 0) + 1
    pending = []
    for asset_id, origin, line, accepted_at, blob in execute(
        "SELECT asset_id, origin, line, accepted_at, progress FROM pending ORDER BY accepted_at LIMIT ?", (limit,)
    ):
        progress = decode(blob) if blob else Progress()
        status = progress.last_seen.status if progress.last_seen else None
        pending.append(
            PendingLine(
                asset_id, f"{origin}:{line}", max(0.0, now - accepted_at), status, progress.waiting_on, progress.polls
            )
        )
    completed = [
        CompletedLine(asset_id, outcome, max(0.0, completed_at - accepted_at), max(0.0, now - completed_at))
        for asset_id, outcome, accepted_at, completed_at in execute(
            "SELECT asset_id, outcome, accepted_at, completed_at FROM settled ORDER BY completed_at DESC LIMIT ?",
            (limit,),
        )
    ]
    lately = execute(
        "SELECT outcome, count(*) FROM settled WHERE completed_at > ? GROUP BY outcome", (now - RECENT_SECONDS,)
    ).fetchall()
    sinks = read_sinks(connection)
    depths = {name: count_events_after(connection, state.position) for name, state in sinks.items()}
    [outbox_count] = execute("SELECT count(*) FROM outbox").fetchone()
    [dead_letters] = execute("SELECT count(*) FROM dead_letters").fetchone()
    return StatusReport(
        pending_count=total,
        oldest_age=now - oldest if total else 0.0,
        waiting_on=waiting_on,
        pending=pending,
        completed_lately=dict(lately),
        completed=completed,
        outbox_count=outbox_count,
        outbox_depth={name: depth for name, depth in depths.items() if sinks[name].absent_since is None},
        outbox_kept={name: depth for name, depth in depths.items() if sinks[name].is_held},
        dead_letters=dead_letters,
    )
