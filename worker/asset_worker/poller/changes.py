"""Telling what has changed about an asset: in the log, for people."""

from __future__ import annotations

from typing import Final

import structlog

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import LastSeen

_log = structlog.get_logger()

STATUSES: Final = frozenset({"processing", "ready", "failed", "missing"})
"""The API's own, and ours for an asset that it doesn't show."""
RENDITION_STATUSES: Final = frozenset({"pending", "processing", "ready", "error"})
MOST_UNKNOWN: Final = 1000
"""Values told, once each. An API that sends ever new ones must not fill the memory with them."""


class Changes:
    """Logs `asset.changed`, and `api.unknown_status` once for each value."""

    def __init__(self) -> None:
        self._unknown: set[str] = set()

    def tell(self, asset_id: AssetId, before: LastSeen | None, after: LastSeen | None) -> None:
        """What a look has shown, against the look before; None: nothing was ever told."""
        if after is None or after == before:
            return
        for what, known in (("status", STATUSES), ("hls", RENDITION_STATUSES), ("thumbnail", RENDITION_STATUSES)):
            old, new = before and getattr(before, what), getattr(after, what)
            if old != new:
                _log.info("asset.changed", **{"asset_id": asset_id, "what": what, "from": old, "to": new})
            if new is not None and new not in known:
                self._tell_unknown(asset_id, what, new)

    def _tell_unknown(self, asset_id: AssetId, what: str, value: str) -> None:
        text = f"{what}={value}"
        if text not in self._unknown and len(self._unknown) < MOST_UNKNOWN:
            self._unknown.add(text)
            _log.warning("api.unknown_status", asset_id=asset_id, what=what, value=value)
