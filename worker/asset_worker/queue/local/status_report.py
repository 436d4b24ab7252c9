"""The report of the `status` command: reads a journal while a worker writes it, or after the worker has ended."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from asset_worker.domain.progress import Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Options, source_of
from asset_worker.queue.local.reading import read_journal, shown_instant
from asset_worker.queue.local.sink_rows import (
    count_events_after,
    count_kept_for_readers,
    read_conditions,
    read_sinks,
)
from asset_worker.queue.outbox_readers import is_reader
from asset_worker.runtime.clock import Clock
from asset_worker.schedule.forecast import Forecast, TimeLeft, never_known

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
    expected_left: Forecast | None
    """How long the wait still lasts; None: too little is known of such assets."""


class CompletedLine(msgspec.Struct, frozen=True):
    """One settled asset."""

    asset_id: str
    outcome: str
    elapsed: float
    """Seconds from acceptance to completion."""
    ago: float
    """Seconds since completion."""


class RetryLine(msgspec.Struct, frozen=True):
    """The events that one webhook has not accepted yet, and that wait for their next attempt."""

    count: int
    next_in: float
    """Seconds to the earliest of the next attempts; 0: it is due."""


class ConditionLine(msgspec.Struct, frozen=True):
    """What is wrong with one webhook as a whole."""

    kind: str
    """`down` or `paused`."""
    since: str | None
    """When it began: RFC 3339, UTC, by the present wall clock; None: its row is damaged."""
    error: str
    """Its latest failure."""


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
    outbox_new: int
    """Events to send to a sink that has had none yet."""
    waiting_for_retry: dict[str, RetryLine]
    """By the webhook. These events are part of `outbox_depth`."""
    conditions: dict[str, ConditionLine]
    """By the webhook; those that work are left out."""
    dead_letters: int
    """Events that a sink refused for good."""
    dead_letters_by_sink: dict[str, int]


class PendingAsset(msgspec.Struct, frozen=True):
    """What is kept of one pending asset. Instants are in steady time."""

    options: Options | None
    accepted_at: float
    progress: Progress
    """As of the last save, which a running worker makes every second."""
    now: float
    """When this was read."""


def read_status(directory: Path, *, clock: Clock, limit: int, time_left: TimeLeft = never_known) -> StatusReport:
    """Return what the journal in `directory` holds, with at most `limit` pending and `limit` completed assets.

    The steady time of `clock` is resumed from the journal: ages are those that the worker knows, or would know if it
    were started now. `time_left` forecasts how long a wait still lasts.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """
    return read_journal(
        directory, clock, lambda connection, now: _read(connection, now, limit, clock.now() - now, time_left)
    )


def read_asset(directory: Path, asset_id: str, *, clock: Clock) -> PendingAsset | CompletedLine | None:
    """Return what the journal in `directory` holds of one asset, as `read_status` does; None: nothing.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """
    return read_journal(directory, clock, lambda connection, now: _read_asset(connection, now, asset_id))


def _read_asset(connection: sqlite3.Connection, now: float, asset_id: str) -> PendingAsset | CompletedLine | None:
    for options, accepted_at, progress in connection.execute(
        "SELECT options, accepted_at, progress FROM pending WHERE asset_id = ?", (asset_id,)
    ):
        return PendingAsset(
            _options_of(options),
            accepted_at,
            msgspec.json.decode(progress, type=Progress) if progress else Progress(),
            now,
        )
    for outcome, accepted_at, completed_at in connection.execute(
        "SELECT outcome, accepted_at, completed_at FROM settled WHERE asset_id = ?", (asset_id,)
    ):
        return CompletedLine(asset_id, outcome, max(0.0, completed_at - accepted_at), max(0.0, now - completed_at))
    return None


def pending_line(row: tuple[Any, ...], *, now: float, time_left: TimeLeft) -> PendingLine:
    """Return how a row of pending assets is shown.

    It has the ID, origin, line, instant of acceptance, options (JSON), completion and progress (JSON).
    """
    asset_id, origin, line, accepted_at, options, completion, progress = row
    seen = msgspec.json.decode(progress, type=Progress) if progress else Progress()
    left = time_left(asset_id, PendingState(accepted_at, completion, seen, None, _options_of(options)), now)
    return PendingLine(
        asset_id,
        source_of(origin, line),
        max(0.0, now - accepted_at),
        seen.last_seen.status if seen.last_seen else None,
        seen.waiting_on,
        seen.polls,
        None if left is None else left.rounded(),
    )


def _options_of(kept: bytes | str | None) -> Options | None:
    return msgspec.json.decode(kept, type=Options) if kept else None


def _read(connection: sqlite3.Connection, now: float, limit: int, ahead: float, time_left: TimeLeft) -> StatusReport:
    """Return the report. `ahead` is the wall clock minus steady time, in seconds."""
    execute = connection.execute
    waiting_on: dict[str, int] = {}
    total, oldest = 0, now
    decode = msgspec.json.Decoder(Progress).decode
    for accepted_at, progress in execute("SELECT accepted_at, progress FROM pending"):
        total, oldest = total + 1, min(oldest, accepted_at)
        for what in (decode(progress).waiting_on if progress else ()) or ("first look",):
            waiting_on[what] = waiting_on.get(what, 0) + 1
    pending = [
        pending_line(row, now=now, time_left=time_left)
        for row in execute(
            "SELECT asset_id, origin, line, accepted_at, options, completion, progress FROM pending "
            "ORDER BY accepted_at LIMIT ?",
            (limit,),
        )
    ]
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
    known = read_sinks(connection)
    sinks = {name: state for name, state in known.items() if not is_reader(name)}
    after = {name: count_events_after(connection, state.position) for name, state in sinks.items()}
    retries = {
        name: RetryLine(count, max(0.0, next_at - now))
        for name, count, next_at in execute("SELECT sink, count(*), min(next_at) FROM undelivered GROUP BY sink")
    }
    depths = {name: count + (retries[name].count if name in retries else 0) for name, count in after.items()}
    has_kept = {name for name, state in sinks.items() if state.absent_since is None or state.is_held}
    [passed] = execute("SELECT position FROM passed").fetchone() or [None]
    reached = passed or 0
    if sinks != known:  # what is kept for a reader alone is not shown
        reached = max(reached, min((sinks[name].position for name in has_kept), default=0))
    [outbox_count] = execute("SELECT count(*) FROM outbox").fetchone()
    outbox_count -= count_kept_for_readers(connection, passed or 0, reached)
    new_count = 0 if passed is None else count_events_after(connection, reached)
    dead_letters = dict(execute("SELECT sink, count(*) FROM dead_letters GROUP BY sink").fetchall())
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
        outbox_new=new_count if new_count > max((after[name] for name in has_kept), default=0) else 0,
        waiting_for_retry=retries,
        conditions={
            name: ConditionLine(condition.kind, shown_instant(condition.since, ahead), condition.error)
            for name, condition in read_conditions(connection).items()
        },
        dead_letters=sum(dead_letters.values()),
        dead_letters_by_sink=dead_letters,
    )
