"""The values that were chosen for the constants: tests that import a constant do not notice that it is another one.

Those that the documentation gives are in `test_documented_values.py`.
"""

from __future__ import annotations

from importlib import import_module

import pytest

CHOSEN: dict[str, dict[str, float]] = {
    "account.follower": {
        "MOST_PAGES": 20,
    },
    "account.intake": {
        "RETRY_SECONDS": 30.0,
        "PAUSE_SECONDS": 5.0,
        "READINGS": 5,
        "STORE_SECONDS": 1.0,
    },
    "account.position": {
        "BEFORE_ALL": -1e12,
    },
    "account.start": {
        "RESOLUTION": 1.0,
    },
    "account.walk": {
        "MOST_AGAIN": 5,
    },
    "file.checkpoint": {
        "HEAD_BYTES": 1024,
        "TAIL_BYTES": 256,
    },
    "file.compressed": {
        "COMPRESSED_BYTES": 1 << 20,
        "XZ_MEMORY_BYTES": 80 << 20,
    },
    "file.directories": {
        "PAUSE_SECONDS": 50e-6,
        "EXAMINED_NAMES": 10,
    },
    "file.file_set": {
        "COARSE_TICK": 2_000_000_000,
    },
    "file.intake": {
        "BATCH_LINES": 10_000,
        "PROGRESS_SECONDS": 2.0,
        "CLOSE_SECONDS": 1.0,
    },
    "file.search": {
        "RETIRED_KEPT": 8,
    },
    "file.seen": {
        "SETTLE_SECONDS": 1.0,
    },
    "file.siblings": {
        "SEEN_KEPT": 128,
        "SEEN_HEAD_BYTES": 256,
    },
    "file.tail_reader": {
        "CHUNK_BYTES": 256 * 1024,
        "SMALLEST_CHUNK_BYTES": 4096,
        "READ_BYTES": 4 * 1024 * 1024,
    },
    "http.intake": {
        "DURABLE_SECONDS": 10.0,
        "MOST_WAITING": 64,
    },
    "ingest": {
        "NAMED_IN_LOG": 100,
        "MADE_AT_ONCE": 250,
    },
    "lines": {
        "DEADLINE_LIMIT": 10 * 365 * 86400.0,
        "GRACE_LIMIT": 7 * 86400.0,
    },
    "splitter": {
        "LONG_LINE_KEPT": 16 * 1024,
    },
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CHOSEN.items() for name in names])
def test_a_constant_has_the_value_that_was_chosen(module, name):
    assert getattr(import_module(f"asset_worker.intake.{module}"), name) == CHOSEN[module][name]
