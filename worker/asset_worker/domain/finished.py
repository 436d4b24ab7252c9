"""An asset whose wait has ended, as people are shown it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from asset_worker.domain.assets import AssetId


class FinishedAsset(msgspec.Struct, frozen=True):
    """An asset whose wait has ended. Its texts come from outside: without secrets, cut, and otherwise as they came."""

    asset_id: AssetId
    filename: str
    """Empty: it is not known."""
    outcome: str
    reason: str | None
    at: float
    """When the wait ended, in seconds since the epoch, UTC."""
    took: float
    """Seconds from its acceptance to the end of the wait."""
    addresses: Mapping[str, str] = {}
    """Where its renditions are, by their names, as the API gave them: any text."""
