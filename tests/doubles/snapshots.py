"""The worker at an instant, as telemetry and commands are shown it."""

from __future__ import annotations

from typing import Any

import msgspec

from asset_worker.telemetry.snapshot import Snapshot

NOTHING = Snapshot(
    pending=0,
    due=0,
    oldest_pending_age=0.0,
    looks=0,
    requests=0,
    refusals=0,
    retries=0,
    completions={},
    outbox_depth=0,
)


def snapshot(**state: Any) -> Snapshot:
    """With these fields; all others as they are before anything has happened."""
    return msgspec.structs.replace(NOTHING, **state)
