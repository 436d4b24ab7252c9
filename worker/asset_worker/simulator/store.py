"""The simulator's assets, in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import msgspec

from asset_worker.simulator.clock import written
from asset_worker.simulator.lifecycles import Created, Kind, Lifecycle, document, draw, draw_kind, kind_of
from asset_worker.simulator.listing import Filter, Listing, StoredAsset


class Store:
    """Assets by ID.

    `clock` returns seconds since the epoch. It stamps `created_at`; lifecycles go by it, `time_scale` times as fast.
    """

    def __init__(self, random: Random, clock: Callable[[], float], *, time_scale: float = 1.0) -> None:
        self._random = random
        self._clock = clock
        self._time_scale = time_scale
        self._assets: dict[str, StoredAsset] = {}
        self._listing = Listing()
        self._added = 0

    def __len__(self) -> int:
        return len(self._assets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

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

    def add(
        self,
        lifecycle: Lifecycle | None = None,
        *,
        kind: Kind | None = None,
        age: float = 0.0,
        created_at: float | None = None,
        visible_after: float | None = None,
        filename: str | None = None,
        user_metadata: dict[str, Any] | None = None,
    ) -> str:
        """Add an asset and return its ID. A kind or a lifecycle that is not given is drawn at random.

        Args:
            lifecycle: how it changes.
            kind: what file it is.
            age: seconds of the server's clock since its creation, when its lifecycle began.
            created_at: what it says of its creation, if that is not true: seconds since the epoch.
            visible_after: replaces that of the lifecycle.
            filename: its name; None: one that no other has.
            user_metadata: what the user has set.
        """
        kind = kind or draw_kind(self._random)
        lifecycle = lifecycle or draw(kind, self._random)
        if visible_after is not None:
            lifecycle = msgspec.structs.replace(lifecycle, visible_after=visible_after)
        return self._add(
            lifecycle,
            age=age,
            created_at=created_at,
            filename=filename or f"file-{self._added + 1}{kind.suffix}",
            file_type=kind.file_type,
            method="direct",
            size=self._random.randrange(1_000, 100_000_000),
            duration=kind.duration,
            user_metadata=user_metadata,
        )

    def _add(self, lifecycle: Lifecycle, *, age: float = 0.0, created_at: float | None = None, **about: Any) -> str:
        asset_id = f"{self._random.getrandbits(96):024x}"
        began_at = self._clock() - age
        stamp = began_at if created_at is None else created_at
        self._put(Created(asset_id, written(stamp), **about), lifecycle, self._added, stamp, began_at)
        self._added += 1
        return asset_id

    def _put(self, created: Created, lifecycle: Lifecycle, number: int, created_at: float, began_at: float) -> None:
        visible_at = began_at + lifecycle.visible_after / self._time_scale
        asset = StoredAsset(created, lifecycle, number, created_at, began_at, visible_at)
        self._assets[created.id] = asset
        self._listing.add(asset)

    def change(self, asset_id: str, lifecycle: Lifecycle) -> None:
        """Give an asset another lifecycle, which begins now.

        Raises:
            KeyError: there is no such asset.
        """
        known = self._assets[asset_id]
        self._listing.remove(known)
        self._put(known.created, lifecycle, known.number, known.created_at, self._clock())

    def lifecycle(self, asset_id: str) -> Lifecycle:
        """Return the lifecycle of an asset.

        Raises:
            KeyError: there is no such asset.
        """
        return self._assets[asset_id].lifecycle

    def visible_at(self, asset_id: str) -> float:
        """Return from when on answers show an asset, in seconds of the server's clock.

        Raises:
            KeyError: there is no such asset.
        """
        return self._assets[asset_id].visible_at

    def seconds_since_done(self, asset_id: str) -> float:
        """Return the simulated seconds since an asset and its renditions have ended; negative: they have not yet.

        Raises:
            KeyError: there is no such asset.
        """
        stored = self._assets[asset_id]
        lifecycle = stored.lifecycle
        renditions = (lifecycle.hls, lifecycle.thumbnail) if lifecycle.ends_in == "ready" else ()
        last = max((each.ends_after for each in renditions if each is not None), default=0.0)
        return self._age(stored) - lifecycle.ends_after - last

    def as_created(self, asset_id: str) -> dict[str, Any]:
        """Return the asset as the answer to its creation shows it: processing, even if it is not visible yet."""
        stored = self._assets[asset_id]
        young = msgspec.structs.replace(stored.lifecycle, visible_after=0.0, ends_after=math.inf)
        return document(stored.created, young, 0.0) or {}

    def view(self, asset_id: str, *, ago: float = 0.0) -> dict[str, Any] | None:
        """Return the asset as the API showed it `ago` simulated seconds before now; None: it is not visible."""
        stored = self._assets.get(asset_id)
        if stored is None or self._clock() < stored.visible_at:
            return None
        return self._shown(stored, ago)

    def delete(self, asset_id: str) -> bool:
        """Remove an asset. Return whether there was one."""
        stored = self._assets.pop(asset_id, None)
        if stored is not None:
            self._listing.remove(stored)
        return stored is not None

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
        wanted, now = Filter(frozenset(asset_types), filename.lower()), self._clock()
        if asset_ids:
            named = [self._assets[each] for each in set(asset_ids) if each in self._assets]
            visible = [each for each in named if each.visible_at <= now and wanted.passes(each.created)]
            visible.sort(key=lambda asset: asset.order, reverse=True)
            found, total = visible[(page - 1) * page_limit : page * page_limit], len(visible)
        else:
            found, total = self._listing.page(wanted, page=page, page_limit=page_limit, now=now)
        return [self._shown(asset, ago) for asset in found], total

    def _age(self, stored: StoredAsset) -> float:
        return (self._clock() - stored.began_at) * self._time_scale

    def _shown(self, stored: StoredAsset, ago: float) -> dict[str, Any]:
        """Return the document of a visible asset: its state may be an earlier or a later one, but it is there."""
        age = max(self._age(stored) - ago, stored.lifecycle.visible_after)
        return document(stored.created, stored.lifecycle, age) or {}
