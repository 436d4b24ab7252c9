"""The sinks in the journal's database: the tables `conditions`, and `sinks`, whose `mark` holds a checkpoint, or more.

Before the checkpoint of a sink that is absent from the settings, `mark` says since when. No checkpoint begins with
these bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from asset_worker.domain.deliveries import Condition
from asset_worker.queue.absent_sinks import SinkState

_ABSENT: Final = b"absent "
_END: Final = b"\n"


class _Absence(msgspec.Struct):
    since: float
    is_released: bool = False


def read_sinks(connection: sqlite3.Connection) -> dict[str, SinkState]:
    """Return the state of each sink, by its name."""
    rows = connection.execute("SELECT name, position, mark FROM sinks")
    return {name: _state_of(position, mark) for name, position, mark in rows}


def write_sink(connection: sqlite3.Connection, name: str, state: SinkState) -> None:
    """Write the state of a sink."""
    connection.execute(
        "INSERT INTO sinks (name, position, mark) VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET position = excluded.position, mark = excluded.mark",
        (name, state.position, _mark_of(state)),
    )


def lowest_position(connection: sqlite3.Connection, names: AbstractSet[str]) -> int:
    """Return the position up to which all these sinks have passed the events; 0: one of them is not recorded yet."""
    [lowest, count] = connection.execute(
        "SELECT min(position), count(*) FROM sinks WHERE name IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(names).decode(),),
    ).fetchone()
    return int(lowest) if count == len(names) else 0


def count_kept_for_readers(connection: sqlite3.Connection, passed: int | None, reached: int) -> int:
    """Return how many events after `passed` and up to `reached`, which all sinks have reached, no record names."""
    [count] = connection.execute(
        "SELECT count(*) FROM outbox WHERE position > ? AND position <= ? "
        "AND NOT EXISTS (SELECT 1 FROM undelivered WHERE undelivered.position = outbox.position)",
        (passed, reached),
    ).fetchone()
    return int(count)


def count_events_after(connection: sqlite3.Connection, position: int) -> int:
    """Return how many events the outbox holds after a position."""
    [count] = connection.execute("SELECT count(*) FROM outbox WHERE position > ?", (position,)).fetchone()
    return int(count)


def read_conditions(connection: sqlite3.Connection) -> dict[str, Condition]:
    """Return what is wrong with each independent sink that has a problem, by its name.

    Raises:
        msgspec.ValidationError: a row is not that of a condition.
    """
    rows = connection.execute("SELECT sink, kind, since, error FROM conditions")
    return {
        name: msgspec.convert({"kind": kind, "since": since, "error": error}, Condition)
        for name, kind, since, error in rows
    }


def write_condition(connection: sqlite3.Connection, name: str, condition: Condition | None) -> None:
    """Write what is wrong with an independent sink; None: nothing is."""
    if condition is None:
        connection.execute("DELETE FROM conditions WHERE sink = ?", (name,))
    else:
        connection.execute(
            "INSERT OR REPLACE INTO conditions (sink, kind, since, error) VALUES (?, ?, ?, ?)",
            (name, condition.kind, condition.since, condition.error),
        )


def _mark_of(state: SinkState) -> bytes | None:
    if state.absent_since is None:
        return state.checkpoint
    absence = msgspec.json.encode(_Absence(state.absent_since, state.is_released))
    return _ABSENT + absence + _END + (state.checkpoint or b"")


def _state_of(position: int, mark: bytes | None) -> SinkState:
    if mark is None or not mark.startswith(_ABSENT):
        return SinkState(position, mark)
    encoded, _, checkpoint = mark.removeprefix(_ABSENT).partition(_END)
    absence = msgspec.json.decode(encoded, type=_Absence)
    return SinkState(position, checkpoint or None, absence.since, absence.is_released)
