"""The snapshot: where each value is read."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec

from asset_worker.telemetry.snapshot import DECLARATIONS, Snapshot, take_snapshot
from asset_worker.telemetry.sources import Sources

QUEUE = SimpleNamespace(
    failing=False,
    waiting_for_sinks_since=None,
    pending_count=lambda: 1,
    due_count=lambda: 2,
    oldest_age=lambda: 3.5,
    outbox_depth=lambda: 4,
    dead_letters_by_sink=lambda: {"stdout": 5},
)
SOURCES = Sources(
    queue=QUEUE,
    poller=SimpleNamespace(
        looks=5, completions=Counter(ready=6), completions_from_lists=2, proven_list_shapes=1, list_disagreements=3
    ),
    gate=SimpleNamespace(requests=7, refusals=8, problem=None),
    retries=SimpleNamespace(count=9),
    lines=SimpleNamespace(rejected=0, rejected_inputs=[]),
    inputs=[SimpleNamespace(name="queue file", unreadable=None), SimpleNamespace(name="stdin", unreadable=None)],
    deliveries=[SimpleNamespace(sink="stdout", problem=None)],
)


def sources(**changed: Any) -> Sources:
    return msgspec.structs.replace(SOURCES, **changed)


def test_every_value_is_read_from_its_part():
    assert take_snapshot(SOURCES) == Snapshot(
        pending=1,
        due=2,
        oldest_pending_age=3.5,
        looks=5,
        requests=7,
        refusals=8,
        retries=9,
        completions={"ready": 6},
        completions_from_lists=2,
        proven_list_shapes=1,
        list_disagreements=3,
        outbox_depth=4,
        dead_letters=5,
        problems=(),
        is_ready=True,
    )


def test_rejected_lines_are_completions():
    found = take_snapshot(sources(lines=SimpleNamespace(rejected=2, rejected_inputs=[])))
    assert found.completions == {"ready": 6, "rejected": 2}


def test_every_field_is_declared_with_its_meaning_and_unit():
    assert all(declared.text.endswith(".") and declared.unit for declared in DECLARATIONS.values())
