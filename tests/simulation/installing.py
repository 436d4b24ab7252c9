"""Puts the simulated `os` and `fcntl` into the modules that use files of the simulation."""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import ModuleType
from unittest.mock import patch

from tests.simulation.system_calls import SimulatedFcntl, SimulatedOs

PACKAGES = ("asset_worker.intake.file", "asset_worker.sinks.file")
MODULES = ("asset_worker.runtime.links", "asset_worker.runtime.paths")
"""What opens the followed and the written files: all modules of the packages, and these."""


@cache
def modules() -> list[ModuleType]:
    """Return the modules whose files are simulated."""
    found = [importlib.import_module(name) for name in (*PACKAGES, *MODULES)]
    for package in found[: len(PACKAGES)]:
        names = [each.name for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        found += [importlib.import_module(name) for name in sorted(names)]
    return found


@contextmanager
def installed(system: SimulatedOs, fcntl: SimulatedFcntl | None = None) -> Iterator[None]:
    """Let the worker's files be simulated, until exit."""
    with ExitStack() as replaced:
        for module in modules():
            for name, stand_in in (("os", system), ("fcntl", fcntl or system.fcntl)):
                if name in vars(module):
                    replaced.enter_context(patch.object(module, name, stand_in))
        yield
