"""asset-worker: watches TwelveLabs assets until they are done and emits one completion event for each.

The names below are the Python API, for programs that wait for assets themselves (`docs/python.md`). They are loaded
when they are first used: the command needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asset_worker.domain.assets import Outcome
    from asset_worker.embedding.blocking import wait
    from asset_worker.embedding.client import Client
    from asset_worker.embedding.completion import Completion
    from asset_worker.embedding.errors import (
        AssetDegraded,
        AssetFailed,
        AssetNotFound,
        AssetNotReady,
        AssetTimeout,
        AssetWorkerError,
        BadSettings,
        ClientClosed,
        KeyMissing,
        KeyRefused,
        StateUnusable,
    )

__version__ = "0.1.0"

__all__ = [
    "AssetDegraded",
    "AssetFailed",
    "AssetNotFound",
    "AssetNotReady",
    "AssetTimeout",
    "AssetWorkerError",
    "BadSettings",
    "Client",
    "ClientClosed",
    "Completion",
    "KeyMissing",
    "KeyRefused",
    "Outcome",
    "StateUnusable",
    "__version__",
    "wait",
]

_MODULES = {
    "Client": "embedding.client",
    "Completion": "embedding.completion",
    "Outcome": "domain.assets",
    "wait": "embedding.blocking",
}
"""Where the names are; the others are errors."""


if not TYPE_CHECKING:  # a type checker would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'embedding.errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
