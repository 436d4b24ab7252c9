"""The stand-in's assets."""

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
"""What the filter `asset_types` means; a `document` is all else."""


class _Kept(msgspec.Struct, frozen=True):
    created: Created
    lifecycle: Lifecycle
    at: float


class Store:
    """Assets by ID. The clock tells (simulated) seconds since some start."""

    def __init__(self, random: Random, clock: Callable[[], float]) -> None:
        self._random = random
        self._clock = clock
        self._assets: dict[str, _Kept] = {}

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
        """Take in an uploaded file; its asset's ID. What becomes of it is drawn by its kind."""
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
        """Add an asset of a kind, else of one drawn from the mix, that goes this way, else a drawn one; its ID."""
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
        self._assets[asset_id] = _Kept(Created(asset_id, created_at, **about), lifecycle, self._clock())
        return asset_id

    def lifecycle(self, asset_id: str) -> Lifecycle:
        return self._assets[asset_id].lifecycle

    def done_since(self, asset_id: str) -> float:
        """For how many (simulated) seconds all of an asset has been done; negative: it isn't yet."""
        kept = self._assets[asset_id]
        way = kept.lifecycle
        renditions = (way.hls, way.thumbnail) if way.ends_in == "ready" else ()
        last = max((each.ends_after for each in renditions if each is not None), default=0.0)
        return self._clock() - kept.at - way.ends_after - last

    def as_created(self, asset_id: str) -> dict[str, Any]:
        """The asset as the answer to its creation tells it: processing, and shown even while reads don't show it."""
        kept = self._assets[asset_id]
        young = msgspec.structs.replace(kept.lifecycle, visible_after=0.0, ends_after=math.inf)
        return document(kept.created, young, 0.0) or {}

    def view(self, asset_id: str, *, ago: float = 0.0) -> dict[str, Any] | None:
        """The asset as the API tells it, now or some seconds ago; None: there is no such asset to be seen."""
        kept = self._assets.get(asset_id)
        if kept is None:
            return None
        age = self._clock() - kept.at
        if ago:  # a stale answer shows an older state, but nothing vanishes from it
            age = max(age - ago, min(age, kept.lifecycle.visible_after))
        return document(kept.created, kept.lifecycle, age)

    def delete(self, asset_id: str) -> bool:
        """Whether there was such an asset."""
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
        """One page of the assets that the filters let through, newest first, and how many they are in all."""
        wanted = set(asset_ids)
        ids: Iterable[str] = reversed(self._assets)
        if wanted:
            ids = sorted(wanted & self._assets.keys(), key=lambda each: self._assets[each].at, reverse=True)
        shown = [
            told
            for told in (self.view(asset_id, ago=ago) for asset_id in ids)
            if told is not None and _passes(told, asset_types, filename)
        ]
        return list(islice(shown, (page - 1) * page_limit, page * page_limit)), len(shown)

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)


def _passes(told: dict[str, Any], asset_types: Sequence[str], filename: str) -> bool:
    if filename and filename.lower() not in told["filename"].lower():
        return False
    if not asset_types:
        return True
    family = next((name for name, prefix in TYPES.items() if told["file_type"].startswith(prefix)), "document")
    return family in asset_types
