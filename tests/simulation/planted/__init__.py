"""Faults of the worker, planted from outside: each must break a promise of the model, or the model checks too little.

`python -m tests.simulation.planted` shows how many random histories it takes to find each. `test_planted.py` has one
history for each that finds it.
"""

from tests.simulation.planted import of_intakes, of_looks, of_process, of_queue, of_sinks
from tests.simulation.planted.registry import FAULTS, Planted

MODULES = (of_queue, of_intakes, of_looks, of_sinks, of_process)
"""Loaded, so that their faults are in `FAULTS`."""

__all__ = ["FAULTS", "Planted"]
