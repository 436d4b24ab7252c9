"""Loads structlog without rich, before anything else loads it.

structlog loads all of rich, if it is there, to show tracebacks in boxes, which the log does not use. That takes a fifth
of a start. On a terminal, `cli.screen` loads the one part of rich that it needs.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import cast

_modules = cast("dict[str, ModuleType | None]", sys.modules)

if "rich" not in _modules and "structlog" not in _modules:
    _modules["rich"] = None  # as if it could not be found
    try:
        importlib.import_module("structlog")
    finally:
        del _modules["rich"]
