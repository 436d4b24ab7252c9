"""The values that were chosen for the constants: tests that import a constant do not notice that it is another one.

Those that the documentation gives are in `test_documented_values.py`.
"""

from __future__ import annotations

from importlib import import_module

import pytest

CHOSEN: dict[str, dict[str, float]] = {
    "bodies": {
        "ERROR_BYTES_LIMIT": 64 << 10,
        "SUSPICIOUS_BRACKETS": 300,
        "LIST_LEVELS": 2,
    },
    "breaker": {
        "FAILURES_TO_GIVE_UP": 4,
        "KEPT": 2,
        "SLOW_ANSWER_SECONDS": 1.0,
        "PROBE_JITTER": 0.25,
    },
    "client": {
        "SHORTEST_LIST": 10,
        "LIST_ATTEMPTS": 2,
        "PAGE_PARTS": 5,
    },
    "dead_pool": {
        "NO_HELP_SECONDS": 30.0,
    },
    "gate": {
        "SHORTEST_TIMER_SECONDS": 1e-4,
        "SHORTEST_HELD_SECONDS": 5.0,
        "LONGEST_HELD_SECONDS": 30.0,
        "SHORTAGE_CHECK_SECONDS": 1.0,
    },
    "key": {
        "CHECK_SECONDS": 1.0,
    },
    "limits.adaptive_rate": {
        "DECREASE": 0.1,
        "HEADROOM": 1.04,
        "SHORTEST_CLIMB_SECONDS": 3.0,
        "LONGEST_CLIMB_SECONDS": 1_800.0,
        "MIN_ACCEPTED": 10,
        "FIRST_GUESS": 0.7,
        "LOWEST_RATE": 1 / 60,
        "IDLE_SECONDS": 2.0,
    },
    "limits.limiter": {
        "BURST_SECONDS": 0.2,
        "LARGEST_BURST": 10.0,
        "BACKOFF_GROWTH": 1.5,
        "SLOW_ANSWER_SECONDS": 1.0,
        "FULLY_RELEASED": 100.0,
        "MOST_NAMES": 16,
        "SHORTAGE_SECONDS": 10.0,
    },
    "limits.pauses": {
        "MOST_STRIKES": 64,
    },
    "limits.quota": {
        "SPENT_AT_ONCE": 0.25,
        "FIRST_SPREAD_SECONDS": 3_600.0,
        "SPREAD_GROWTH": 3.0,
        "SHORTEST_SPREAD": 0.05,
        "ROUNDING_SECONDS": 1.5,
        "HAD": 0.9,
        "WHOLE_TOKEN": 1.0 - 1e-9,
    },
    "limits.rate_limit_headers": {
        "LONGEST_RESET_SECONDS": 86_400.0,
        "LATE_SECONDS": 10.0,
        "LONGEST_WAY_SECONDS": 120.0,
        "SHORTEST_RESET_SECONDS": 1e-3,
        "UNLIMITED": -1,
        "MAX_REQUESTS": 10**9,
        "LONGEST_FIELD": 2_048,
        "MAX_QUOTAS": 8,
    },
    "limits.server_clock": {
        "DRIFT": 1e-4,
        "LATEST": 25,
        "ENOUGH": 5,
        "FAR_SECONDS": 120.0,
        "NEAR_SECONDS": 900.0,
    },
    "odd_answers": {
        "MAX_KINDS": 100,
    },
    "responses": {
        "LONGEST_TEXT": 300,
    },
    "retry": {
        "BACKOFF_SECONDS": 0.5,
        "BACKOFF_MAX_SECONDS": 8.0,
        "LONGEST_WAIT_SECONDS": 15.0,
    },
    "subjects": {
        "MOST_SUBJECTS": 1_000,
        "ANSWERED_LATELY_SECONDS": 3_600.0,
        "WORKS_SECONDS": 45.0,
    },
    "traffic": {
        "MOST_STATUSES": 30,
    },
    "trouble": {
        "RELIEF_SECONDS": 60.0,
        "EDGE_SECONDS": 60.0,
    },
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CHOSEN.items() for name in names])
def test_a_constant_has_the_value_that_was_chosen(module, name):
    assert getattr(import_module(f"asset_worker.api.{module}"), name) == CHOSEN[module][name]
