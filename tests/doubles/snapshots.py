"""The worker at an instant, as telemetry and commands are shown it."""

from __future__ import annotations

from typing import Any

from asset_worker.telemetry.snapshot import Snapshot

NOTHING = Snapshot()
"""Before anything has happened."""


def snapshot(**state: Any) -> Snapshot:
    """A snapshot with these fields; all others as before anything has happened."""
    return Snapshot(**state)
