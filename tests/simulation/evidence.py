"""What a history has left behind, as the model reads it: events, the journal, the answers that the worker saw."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from tests.doubles.world import Answer, Truth
from tests.simulation.process import journal_path
from tests.simulation.setup import COPIES_FILE, EVENTS_FILE

if TYPE_CHECKING:
    from tests.simulation.world import World

_decode = msgspec.json.Decoder().decode
Event = Mapping[str, Any]


class Journal(msgspec.Struct, frozen=True):
    """What the journal holds at the end."""

    pending: int
    undelivered: int
    outbox: frozenset[str]
    """The IDs of the events in it."""
    dead_letters: frozenset[tuple[str, str]]
    """Sink and event ID of each."""
    pages: int


class Known(msgspec.Struct, frozen=True):
    """The truth and the answers, as `tests.doubles.truth_check` reads them."""

    assets: Mapping[str, Truth]
    answers: Mapping[str, Sequence[Answer]]


def lines_of_copies(world: World) -> list[bytes]:
    """Return the lines of the second events file, if there is one."""
    return world.files.read(COPIES_FILE).splitlines() if world.files.exists(COPIES_FILE) else []


def lines_of_events(world: World) -> list[bytes]:
    """Return all lines that the events file and its rotated copies hold, the oldest first.

    If a process is killed after its file was copied and truncated, and before it has recorded what it had written, this
    is in the copy, where nobody looks: the next process writes it again. Such repeats are left out.

    What was written in part is cut off again. If the machine dies before that cut is on the disk, and the file was
    rotated meanwhile, a part of a line stays at its end, and its event is in the next file.
    """
    count = world.rotations[EVENTS_FILE]
    lines: list[bytes] = []
    copied: set[bytes] = set()
    for place, path in enumerate([*(f"{EVENTS_FILE}.{number}" for number in range(count, 0, -1)), EVENTS_FILE], 1):
        text = world.files.read(path) if world.files.exists(path) else b""
        if world.power_cuts and path != EVENTS_FILE:
            text = text[: text.rfind(b"\n") + 1]
        lines += [line for line in text.splitlines() if line not in copied]
        copied_at = world.copied_at.get(place, math.inf)
        ends = [each for each in world.exits if each.at >= copied_at]
        copied = {*text.splitlines()} if ends and ends[0].was_killed else set()
    return lines


def events_of(lines: Sequence[bytes]) -> tuple[list[Event], list[str]]:
    """Return the events in these lines, and what is wrong with lines that hold none."""
    events, wrong = [], []
    for line in lines:
        try:
            events.append(_decode(line))
        except msgspec.DecodeError:
            wrong.append(f"the events file holds a line that is no event: {line[:200]!r}")
    return events, wrong


def read_journal(world: World) -> Journal:
    """Return what the journal of the worker holds, which has ended."""
    with closing(sqlite3.connect(journal_path(world.settings))) as connection:

        def ask(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        return Journal(
            ask("SELECT count(*) FROM pending")[0][0],
            ask("SELECT count(*) FROM undelivered")[0][0],
            frozenset(each for [each] in ask("SELECT id FROM outbox")),
            frozenset((sink, event_id) for sink, event_id in ask("SELECT sink, id FROM dead_letters")),
            ask("PRAGMA page_count")[0][0],
        )


def known_of(world: World) -> Known:
    """Return the truth, and the answers that the worker saw completely, by the assets' IDs."""
    answers: dict[str, list[Answer]] = {}
    seen = sorted((each for each in world.api.requests if each.was_seen), key=lambda each: each.answered_at)
    for number, request in enumerate(seen):
        assert request.arrived_at is not None
        for asset_id, document in request.shown.items():
            answer = Answer(number, request.arrived_at, request.answered_at, request.kind != "retrieve", document)
            answers.setdefault(asset_id, []).append(answer)
    return Known(world.api.account.assets, answers)
