"""How far lists are behind retrieves: a value that is updated with each audit and each list.

A list that lags contradicts nothing that was seen before, and every end that it shows is confirmed: it only shows ends
late. So now and then an asset that a list shows as waiting is retrieved as well, the one that is likeliest to have
ended. If the retrieve shows a later state, the asset's ID is added to the next lists until one of them shows that
state, too. The time in between is a lower bound of the lag.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Final

import msgspec

from asset_worker.domain.assets import Asset, AssetId
from asset_worker.domain.progress import LastSeen
from asset_worker.poller.evidence import is_older, last_seen_in

MOST_SECONDS: Final = 3.0
"""Lists that are further behind than this are not used. A retrieve for each look costs more, but shows ends sooner."""
MEASUREMENTS: Final = 3
"""The median of so many latest measurements decides, so that a single late list decides nothing."""
AUDIT_SHARE: Final = 0.05
"""In this share of lists, one asset is audited."""
SUSPICIOUS_SHARE: Final = 0.5
"""The same, when the latest measurement was too long and others must confirm it."""


class _Follower(msgspec.Struct):
    """An asset whose state a retrieve has shown, and no list yet."""

    seen: LastSeen
    retrieved_at: float
    behind: float = 0.0
    """Seconds from the retrieve to the latest list that did not show its state."""


class ListLag:
    """Which assets lists have yet to show as retrieves did, and how long that took lately."""

    def __init__(self) -> None:
        self._followed: dict[AssetId, _Follower] = {}
        self._measured: deque[float] = deque(maxlen=MEASUREMENTS)

    @property
    def audit_share(self) -> float:
        """The share of lists in which one asset is to be audited now."""
        return SUSPICIOUS_SHARE if self._measured and self._measured[-1] > MOST_SECONDS else AUDIT_SHARE

    @property
    def followed(self) -> tuple[AssetId, ...]:
        """The assets that the next list is to show, too: at most `MEASUREMENTS`."""
        return tuple(self._followed)

    def behind(self, asset_id: AssetId, retrieved: Asset, now: float) -> None:
        """Record that a retrieve was answered with a later state of an asset than the list before it showed."""
        if len(self._followed) < MEASUREMENTS:
            self._followed[asset_id] = _Follower(last_seen_in(retrieved), now)

    def listed(self, shown: Mapping[AssetId, Asset | None], asked_at: float) -> float | None:
        """Record what a list that was requested at `asked_at` shows of the assets that it was asked for.

        None in `shown`: it leaves the asset out, or shows it in a way that can't be read.

        Returns:
            By how many seconds lists are behind, if that is too much, and forgets all measurements. Otherwise None.
        """
        for asset_id, follower in list(self._followed.items()):
            if asset_id not in shown:
                continue  # the list was requested before the retrieve was answered, or had no room for it
            asset = shown[asset_id]
            if asset is None:  # it is gone, or can't be read: that is no lag
                del self._followed[asset_id]
                continue
            is_behind = is_older(last_seen_in(asset), follower.seen)
            if is_behind:
                follower.behind = max(asked_at - follower.retrieved_at, 0.0)
            if not is_behind or follower.behind > MOST_SECONDS:
                del self._followed[asset_id]
                self._measured.append(follower.behind)
        if len(self._measured) < MEASUREMENTS or (lag := median(self._measured)) <= MOST_SECONDS:
            return None
        self._followed.clear()
        self._measured.clear()
        return lag
