"""The simulator's assets, in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any

import msgspec

from asset_worker.simulator.lifecycles import Created, Kind, Lifecycle, document, draw, draw_kind, kind_of

TYPES = {"image": "image/", "video": "video/", "audio": "audio/"}
"""Prefixes of the MIME types that the filter `asset_types` selects; every other type is a `document`."""


class _StoredAsset(msgspec.Struct, frozen=True):
    created: Created
    lifecycle: Lifecycle
    began_at: float
    """When the lifecycle began, in seconds of the store's clock."""


class Store:
    """Assets by ID. `clock` returns simulated seconds since an arbitrary start."""

    def __init__(self, random: Random, clock: Callable[[], float]) -> None:
        self._random = random
        self._clock = clock
        self._assets: dict[str, _StoredAsset] = {}

    def __len__(self) -> int:
        return len(self._assets)

    def upload(
        self,
        *,
        filename: str,
        file_type: str,
        method: str,
        size: int,
        enable_hls: bool = True,
        enable_thumbnail: bool = True,
        user_metadata: dict[str, Any] | None = None,
    ) -> str:
        """Add the asset of an uploaded file, with a random lifecycle for its kind. Return the asset's ID."""
        kind = kind_of(file_type, size)
        lifecycle = draw(kind, self._random, enable_hls=enable_hls, enable_thumbnail=enable_thumbnail)
        return self._add(
            lifecycle,
            filename=filename,
            file_type=file_type,
            method=method,
            size=size,
            duration=kind.duration,
            user_metadata=user_metadata,
        )

    def add(self, lifecycle: Lifecycle | None = None, *, kind: Kind | None = None) -> str:
        """Add an asset and return its ID. A kind or a lifecycle that is not given is drawn at random."""
        kind = kind or draw_kind(self._random)
        lifecycle = lifecycle or draw(kind, self._random)
        return self._add(
            lifecycle,
            filename=f"file-{len(self._assets) + 1}{kind.suffix}",
            file_type=kind.file_type,
            method="direct",
            size=self._random.randrange(1_000, 100_000_000),
            duration=kind.duration,
        )

    def _add(self, lifecycle: Lifecycle, **about: Any) -> str:
        asset_id = f"{self._random.getrandbits(96):024x}"
        created_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._assets[asset_id] = _StoredAsset(Created(asset_id, created_at, **about), lifecycle, self._clock())
        return asset_id

    def lifecycle(self, asset_id: str) -> Lifecycle:
        """Return the lifecycle of an asset.

        Raises:
            KeyError: there is no such asset.
        """
        return self._assets[asset_id].lifecycle

    def seconds_since_done(self, asset_id: str) -> float:
        """Return the simulated seconds since an asset and its renditions have ended; negative: they have not yet.

        Raises:
            KeyError: there is no such asset.
        """
        stored = self._assets[asset_id]
        lifecycle = stored.lifecycle
        renditions = (lifecycle.hls, lifecycle.thumbnail) if lifecycle.ends_in == "ready" else ()
        last = max((each.ends_after for each in renditions if each is not None), default=0.0)
        return self._clock() - stored.began_at - lifecycle.ends_after - last

    def as_created(self, asset_id: str) -> dict[str, Any]:
        """Return the asset as the answer to its creation shows it: processing, even if it is not visible yet."""
        stored = self._assets[asset_id]
        young = msgspec.structs.replace(stored.lifecycle, visible_after=0.0, ends_after=math.inf)
        return document(stored.created, young, 0.0) or {}

    def view(self, asset_id: str, *, ago: float = 0.0) -> dict[str, Any] | None:
        """Return the asset as the API showed it `ago` simulated seconds before now; None: it is not visible."""
        stored = self._assets.get(asset_id)
        if stored is None:
            return None
        age = self._clock() - stored.began_at
        if ago:  # a stale answer shows an older state, but nothing vanishes from it
            age = max(age - ago, min(age, stored.lifecycle.visible_after))
        return document(stored.created, stored.lifecycle, age)

    def delete(self, asset_id: str) -> bool:
        """Remove an asset. Return whether there was one."""
        return self._assets.pop(asset_id, None) is not None

    def page(
        self,
        *,
        page: int,
        page_limit: int,
        asset_ids: Sequence[str] = (),
        asset_types: Sequence[str] = (),
        filename: str = "",
        ago: float = 0.0,
    ) -> tuple[list[dict[str, Any]], int]:
        """Return a page of the assets that pass the filters, newest first, and the number of all that pass.

        Pages are counted from 1; `ago` is as in `view`.
        """
        wanted = set(asset_ids)
        ids: Iterable[str] = reversed(self._assets)
        if wanted:
            ids = sorted(wanted & self._assets.keys(), key=lambda each: self._assets[each].began_at, reverse=True)
        found = [
            asset
            for asset in (self.view(asset_id, ago=ago) for asset_id in ids)
            if asset is not None and _passes(asset, asset_types, filename)
        ]
        return list(islice(found, (page - 1) * page_limit, page * page_limit)), len(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)


def _passes(asset: dict[str, Any], asset_types: Sequence[str], filename: str) -> bool:
    if filename and filename.lower() not in asset["filename"].lower():
        return False
    if not asset_types:
        return True
    family = next((name for name, prefix in TYPES.items() if asset["file_type"].startswith(prefix)), "document")
    return family in asset_types
