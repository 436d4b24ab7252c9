"""A pending asset, as a display shows it."""

from __future__ import annotations

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.schedule.forecast import Forecast


class WaitingAsset(msgspec.Struct, frozen=True):
    """One pending asset. Durations are seconds."""

    asset_id: AssetId
    age: float
    """Since acceptance."""
    due_in: float | None
    """Until its next look is due, at least 0; None: a look is in progress."""
    progress: Progress
    left: Forecast | None = None
    """How long the wait still lasts; None: that is not known."""
