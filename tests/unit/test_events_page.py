"""The reader of an events file that the page on events shows yields each event once, whatever happens to the file."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.test_docs import ROOT, blocks_of

[SOURCE] = [block for block in blocks_of(ROOT / "docs" / "events.md", "python") if "def follow" in block]


class EndError(Exception):
    """The file changes no more."""


def lines(*ids):
    return b"".join(json.dumps({"id": each}).encode() + b"\n" for each in ids)


def read_while(path, *changes):
    """The IDs that the reader yields, while each of its waits makes one of the changes."""
    left = iter(changes)

    def sleep(_):
        change = next(left, None)
        if change is None:
            raise EndError
        change()

    names: dict[str, Any] = {}
    exec(SOURCE, names)
    names["time"] = SimpleNamespace(sleep=sleep)
    found = []
    with suppress(EndError):
        for event in names["follow"](path):
            found.append(event["id"])  # noqa: PERF401 - what came before the end counts
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines("a"))
    return path


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_a_half_written_line_is_read_when_it_is_whole_and_repeats_are_dropped(file):
    line = lines("b")
    changes = [lambda: append(file, line[:5]), lambda: append(file, line[5:] + lines("a", "c")), lambda: None]
    assert read_while(file, *changes) == ["a", "b", "c"]


def test_a_write_that_is_taken_back_and_made_again_is_read_once(file):
    before = file.read_bytes()
    changes = [
        lambda: append(file, lines("b") + lines("c")[:5]),
        lambda: file.write_bytes(before),
        lambda: append(file, lines("b", "c", "d")),
        lambda: None,
    ]
    assert read_while(file, *changes) == ["a", "b", "c", "d"]


def test_after_a_rotation_the_old_file_is_read_to_its_end_and_then_the_new_one(file):
    old = file.with_suffix(".1")
    changes = [
        lambda: file.rename(old),
        lambda: append(old, lines("b")),
        lambda: (append(old, lines("c")), append(file, lines("d"))),
        lambda: (append(old, lines("e")), append(file, lines("f"))),
        lambda: None,
        lambda: None,
    ]
    assert read_while(file, *changes) == ["a", "b", "c", "e", "d", "f"]


def test_after_a_truncation_it_goes_on_at_the_beginning(file):
    append(file, lines("b"))
    assert read_while(file, lambda: file.write_bytes(b""), lambda: append(file, lines("c")), lambda: None) == [
        *("a", "b", "c")
    ]
