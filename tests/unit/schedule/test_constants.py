"""The values that were chosen for the constants: tests that import a constant do not notice that it is another one.

Those that the documentation gives are in `test_documented_values.py`.
"""

from __future__ import annotations

from importlib import import_module

import pytest

CHOSEN: dict[str, dict[str, float]] = {
    "adaptive": {
        "JITTER": 0.1,
        "FLOOR": 0.5,
        "USUAL_DELAY_WEIGHT": 0.01,
        "REQUESTS_REMEMBERED": 100,
        "LEAST_GROWTH": 0.05,
    },
    "backlog": {
        "LATE_SHARE": 0.2,
        "MAX_STEP": 0.02,
        "IDLE_HALF_LIFE": 30.0,
        "MAX_FACTOR": 1000.0,
        "LONGEST_CEILING": 3600.0,
    },
    "forecasts": {
        "REQUEST_SECONDS": 0.3,
    },
    "knowledge": {
        "MAX_CLASSES": 80,
        "ENDS_TO_KNOW_SLOW": 100,
    },
    "learned": {
        "VERSION": 2,
    },
    "life_table": {
        "HALF_LIFE": 400,
        "PRIOR_WEIGHT": 2.0,
        "FEW": 1 / 200,
    },
    "waits": {
        "JITTER": 0.2,
    },
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CHOSEN.items() for name in names])
def test_a_constant_has_the_value_that_was_chosen(module, name):
    assert getattr(import_module(f"asset_worker.schedule.{module}"), name) == CHOSEN[module][name]
