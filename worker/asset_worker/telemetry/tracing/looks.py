"""What looks have changed, kept in memory until the span of the asset is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asset_worker.domain.progress import LastSeen
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.telemetry.tracing.spans import SpanEvent, changed

MOST_ASSETS: Final = 10_000
"""Assets whose changes are kept, those that changed last: some ten megabytes."""
MOST_CHANGES: Final = 32
"""Changes that are kept of one asset, the first ones: four statuses change a few times each."""


class SeenChanges:
    """The changes that looks have shown, by the ID of the event that ends the wait: `<asset>.<completion>`."""

    def __init__(self) -> None:
        self._changes: dict[str, list[SpanEvent]] = {}

    def looked(self, event_id: str, before: LastSeen | None, after: LastSeen | None, *, at: float) -> None:
        """Keep what a look has changed. None: the API had never answered. `at`: seconds since the epoch, UTC."""
        if after is None or after == before:
            return
        kept = self._changes.pop(event_id, [])
        nanoseconds = round(at * 1e9)
        for what, old, new in _differences(before, after):
            if len(kept) < MOST_CHANGES:
                kept.append(changed(what, old, new, at=nanoseconds))
        self._changes[event_id] = kept
        if len(self._changes) > MOST_ASSETS:
            del self._changes[next(iter(self._changes))]

    def of(self, event_id: str) -> Sequence[SpanEvent]:
        """Return the changes that are kept of an asset."""
        return tuple(self._changes.get(event_id, ()))

    def forget(self, event_id: str) -> None:
        """Keep nothing more of an asset."""
        self._changes.pop(event_id, None)


def _differences(before: LastSeen | None, after: LastSeen) -> Sequence[tuple[str, str | None, str | None]]:
    """Return name, old status and new status of the asset and of each rendition that has changed."""
    old = before or LastSeen("")
    pairs = [
        ("status", old.status or None, after.status),
        *((name, old.renditions.get(name), after.renditions.get(name)) for name in RENDITIONS),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]
