"""The simulator's visible assets in the order of a list, so that a page costs what is on it and not what there is.

An asset enters the list at the moment at which it becomes visible, at the place that its `created_at` gives it: one
that appears late does so below newer ones.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from typing import Final

import msgspec

from asset_worker.simulator.lifecycles import Created, Lifecycle

TYPES: Final = {"image": "image/", "video": "video/", "audio": "audio/"}
"""Prefixes of the MIME types that the filter `asset_types` selects; every other type is a `document`."""
MOST_FILTERS: Final = 16
"""Filters whose results are kept; the one that was made first is forgotten first."""


class StoredAsset(msgspec.Struct, frozen=True):
    """An asset. Instants are in seconds of the server's clock."""

    created: Created
    lifecycle: Lifecycle
    number: int
    """How many were added before it."""
    created_at: float
    """What its `created_at` says, unrounded."""
    began_at: float
    """When the lifecycle began."""
    visible_at: float
    """From when on answers show it."""

    @property
    def order(self) -> tuple[float, int]:
        """What lists are sorted by, the highest first."""
        return self.created_at, self.number


class Filter(msgspec.Struct, frozen=True):
    """Which assets a list is about."""

    types: frozenset[str] = frozenset()
    """Values of `asset_types`; empty: all."""
    filename: str = ""
    """A part of the name, in lower case."""

    def passes(self, created: Created) -> bool:
        """Return whether the list is about this asset."""
        if self.filename not in created.filename.lower():
            return False
        if not self.types:
            return True
        family = next((name for name, prefix in TYPES.items() if created.file_type.startswith(prefix)), "document")
        return family in self.types


ALL: Final = Filter()


class Listing:
    """The visible assets, the oldest first, all of them and those that pass each filter that was asked for."""

    def __init__(self) -> None:
        self._found: dict[Filter, list[StoredAsset]] = {ALL: []}
        self._hidden: dict[int, StoredAsset] = {}
        """Assets that are not visible yet, by their number."""
        self._appearances: list[tuple[float, int]] = []
        """A heap of when they become visible, and their numbers. Some may have been removed or changed meanwhile."""

    def add(self, asset: StoredAsset) -> None:
        """Add an asset, which is shown from its `visible_at` on."""
        self._hidden[asset.number] = asset
        heapq.heappush(self._appearances, (asset.visible_at, asset.number))

    def remove(self, asset: StoredAsset) -> None:
        """Remove an asset that was added."""
        if self._hidden.pop(asset.number, None) is not None:
            return
        for wanted, found in self._found.items():
            if wanted.passes(asset.created):
                del found[bisect_left(found, asset.order, key=_order)]

    def page(self, wanted: Filter, *, page: int, page_limit: int, now: float) -> tuple[list[StoredAsset], int]:
        """Return a page, newest first, and the number of assets on all pages. Pages are counted from 1."""
        while self._appearances and self._appearances[0][0] <= now:
            _, number = heapq.heappop(self._appearances)
            asset = self._hidden.get(number)
            if asset is not None and asset.visible_at <= now:
                self._show(self._hidden.pop(number))
        found = self._found_by(wanted)
        end = max(0, len(found) - (page - 1) * page_limit)
        return found[max(0, end - page_limit) : end][::-1], len(found)

    def _show(self, asset: StoredAsset) -> None:
        for wanted, found in self._found.items():
            if not wanted.passes(asset.created):
                continue
            if found and found[-1].order > asset.order:
                found.insert(bisect_left(found, asset.order, key=_order), asset)
            else:
                found.append(asset)

    def _found_by(self, wanted: Filter) -> list[StoredAsset]:
        if wanted not in self._found:
            if len(self._found) > MOST_FILTERS:
                del self._found[next(known for known in self._found if known != ALL)]
            self._found[wanted] = [asset for asset in self._found[ALL] if wanted.passes(asset.created)]
        return self._found[wanted]


def _order(asset: StoredAsset) -> tuple[float, int]:
    return asset.order
