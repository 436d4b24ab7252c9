"""Logs, for people, what has changed about an asset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import LastSeen
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.runtime.log import get_logger

_log = get_logger()

STATUSES: Final = frozenset({"processing", "ready", "failed", "missing"})
"""The documented statuses of an asset, and `missing` for one that the API does not show."""
MAX_UNKNOWN: Final = 1000
"""Unknown values that are logged at most, once each. They are kept in memory, which endless new ones must not fill."""


class Changes:
    """Logs `asset.changed`, and `api.unknown_status` once for each value."""

    def __init__(self) -> None:
        self._unknown: set[str] = set()

    def log(self, asset_id: AssetId, before: LastSeen | None, after: LastSeen | None) -> None:
        """Log the differences between two looks. None: the API had never answered about the asset."""
        if after is None or after == before:
            return
        for what, old, new, is_known in _compare(before, after):
            if old != new:
                _log.debug("asset.changed", **{"asset_id": asset_id, "what": what, "from": old, "to": new})
            if new is not None and not is_known:
                self._log_unknown(asset_id, what, new)

    def _log_unknown(self, asset_id: AssetId, what: str, value: str) -> None:
        text = f"{what}={value}"
        if text not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(text)
            _log.warning("api.unknown_status", asset_id=asset_id, what=what, value=value)


def _compare(before: LastSeen | None, after: LastSeen) -> Iterator[tuple[str, str | None, str | None, bool]]:
    """Yield name, old status, new status, and whether the new one is documented: the asset, then each rendition."""
    old = None if before is None else before.status
    yield "status", old, after.status, after.status in STATUSES
    for name, rendition in RENDITIONS.items():
        old = None if before is None else before.renditions.get(name)
        new = after.renditions.get(name)
        yield name, old, new, new is None or rendition.is_known(new)
