"""The table of log events says what the code logs: every name, level and field, and nothing else."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import asset_worker
from asset_worker.intake.file.intake import WARNINGS
from asset_worker.telemetry.events import EVENTS
from asset_worker.telemetry.logs import EVENT_NAME

PACKAGE = Path(asset_worker.__file__).parent
LEVELS = {level: level for level in ("debug", "info", "warning", "error")} | {"exception": "error"}
COMPUTED_FIELDS = {"worker.heartbeat", "api.retry", "intake.rejected", "intake.zeros"}
"""Events some of whose fields are not written out at the call."""
DECLARED = {event.name: event for event in EVENTS}


class Call(NamedTuple):
    """A call of a logger with a constant name."""

    event: str
    level: str
    fields: frozenset[str]


def calls() -> Iterator[Call]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=method), args=[ast.Constant(value=str(name))], keywords=keywords
                ) if method in LEVELS and EVENT_NAME.fullmatch(name):
                    fields = {field for keyword in keywords for field in _names(keyword)}
                    if method == "exception":
                        fields.add("exception")
                    yield Call(name, LEVELS[method], frozenset(fields))


def _names(keyword: ast.keyword) -> list[str]:
    match keyword:
        case ast.keyword(arg=str(name)):
            return [name]
        case ast.keyword(value=ast.Dict(keys=keys)):
            return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
        case _:
            return []


def file_events() -> dict[str, str]:
    """The events of the queue file, whose names are computed from what happened, with their levels."""
    source = "".join(path.read_text() for path in (PACKAGE / "intake" / "file").glob("*.py"))
    found = {what for text in re.findall(r"_record\((.+)\)", source) for what in _words(text)}
    assert "unreadable" in found
    rotations = {"rotated", "truncated", "deleted", "found"}
    assert rotations <= found
    return {
        f"intake.{'rotated' if what in rotations else what}": "warning" if what in WARNINGS else "info"
        for what in found
    }


def _words(text: str) -> list[str]:
    return re.findall(r'(?<![\w"{])"([a-z_]+)"', text)


def test_every_event_in_the_code_is_declared_with_its_level():
    levels: dict[str, set[str]] = defaultdict(set)
    for call in calls():
        levels[call.event].add(call.level)
    for event, level in file_events().items():
        levels[event].add(level)
    assert {event: ", ".join(sorted(found)) for event, found in levels.items()} == {
        event.name: ", ".join(sorted(event.level.split(", "))) for event in EVENTS
    }


def test_every_field_in_the_code_is_declared():
    fields: dict[str, set[str]] = defaultdict(set)
    for call in calls():
        fields[call.event] |= call.fields
    for event, found in fields.items():
        declared = set(DECLARED[event].fields)
        assert found <= declared if event in COMPUTED_FIELDS else found == declared, event


def test_the_events_of_the_queue_file_have_its_fields():
    for event in file_events():
        assert DECLARED[event].fields == ("path", "what", "detail")


def test_every_name_looks_like_one_of_ours():
    """Redaction leaves such names alone."""
    assert all(EVENT_NAME.fullmatch(event.name) for event in EVENTS)
    assert len(DECLARED) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_event_is_explained(event):
    assert event.text.endswith(".")
    assert set(event.level.split(", ")) <= set(LEVELS.values())
