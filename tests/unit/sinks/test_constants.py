"""The values that were chosen for the constants: tests that import a constant do not notice that it is another one.

Those that the documentation gives are in `test_documented_values.py`.
"""

from __future__ import annotations

from importlib import import_module

import pytest

CHOSEN: dict[str, dict[str, float]] = {
    "delivery": {
        "BATCH_EVENTS": 500,
        "BATCH_BYTES": 1 << 20,
        "CHECK_SECONDS": 1.0,
        "SHUTDOWN_RETRY_SECONDS": 1.0,
    },
    "file.opening": {
        "MODE": 0o640,
        "LOCK_RETRY_SECONDS": 0.02,
    },
    "file.scan": {
        "CHUNK_BYTES": 1 << 18,
        "LANDMARK_BYTES": 4096,
    },
    "file.sink": {
        "LEFT_KEPT": 16,
        "CLOSE_SECONDS": 1.0,
        "LOCK_SECONDS": 5.0,
    },
    "independent": {
        "CUT_OFF_SECONDS": 1.0,
        "RECHECK_SECONDS": 60.0,
    },
    "retry_plan": {
        "JITTER": 0.2,
        "ROUNDING_SECONDS": 0.001,
    },
    "webhook.answers": {
        "EXCERPT_CHARACTERS": 200,
        "ECHO_CHARACTERS": 32,
        "LONGEST_RETRY_AFTER_SECONDS": 10 * 86_400.0,
        "LONGEST_FIELD": 256,
    },
    "webhook.signing": {
        "MOST_SECRETS": 10,
    },
    "webhook.sink": {
        "EXCERPT_BYTES": 4 << 10,
        "HEADER_BYTES": 64 << 10,
        "HEADERS": 1000,
        "KEEP_ALIVE_SECONDS": 4,
    },
    "webhook.target": {
        "LONGEST_NAME": 200,
        "LONGEST_PATH": 100,
        "HASH_DIGITS": 8,
    },
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CHOSEN.items() for name in names])
def test_a_constant_has_the_value_that_was_chosen(module, name):
    assert getattr(import_module(f"asset_worker.sinks.{module}"), name) == CHOSEN[module][name]
