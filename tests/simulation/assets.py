"""The assets of a simulated world: what is true of each, and when."""

from __future__ import annotations

import math
import re
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final
from zlib import crc32

import msgspec

from asset_worker.simulator.clock import written
from asset_worker.simulator.lifecycles import KINDS, Created, FailureRates, Kind, Lifecycle, Rendition, draw
from asset_worker.simulator.listing import ALL, Filter
from tests.doubles.truth_check import end_of
from tests.doubles.world import Document, Truth

_ASSET_ID: Final = re.compile("[0-9a-f]{24}")
MOMENT: Final = 1e-6
"""Seconds: nothing changes within them."""


def draw_asset_id(random: Random) -> str:
    """Return a random ID, as the API makes them."""
    return f"{random.getrandbits(96):024x}"


def is_asset_id(text: str) -> bool:
    """Return whether the API takes this for an ID: others are malformed."""
    return _ASSET_ID.fullmatch(text) is not None


def draw_lifecycle(random: Random, kind: str) -> Lifecycle:
    """Return a random lifecycle of a kind: mostly usual ones, and all that ends late, badly or never."""
    rates = FailureRates(failed=0.1, hls_error=0.1, thumbnail_error=0.05, late_visible=0.1)
    usual = draw(KINDS[kind], random, failure_rates=rates)
    change = msgspec.structs.replace
    match random.choices(range(8), [80, 4, 4, 3, 3, 2, 2, 2])[0]:
        case 1:
            return change(usual, ends_after=math.inf)
        case 2 if usual.hls is not None:
            return change(usual, hls=Rendition(math.inf))
        case 3 if usual.thumbnail is not None:
            return change(usual, thumbnail=Rendition(random.choice((math.inf, 4_000.0)), starts_after=5.0))
        case 4:
            return change(usual, visible_after=random.uniform(5, 300))
        case 5:
            return change(usual, visible_after=math.inf)
        case 6:
            return change(usual, ends_in="archived")
        case 7:
            return change(usual, hls=None, thumbnail=None)
        case _:
            return usual


class _Asset:
    """An asset, with the documents that it ever has."""

    __slots__ = ("_documents", "_moments", "truth")

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self._moments = sorted({each for each in truth.moments() if math.isfinite(each)})
        self._documents: dict[int, Document | None] = {}

    def at(self, moment: float) -> Document | None:
        """Return the document at a moment. It is shared: it must not be changed."""
        if moment >= self.truth.deleted:
            return None
        phase = bisect_right(self._moments, moment)
        if phase not in self._documents:
            # In the middle of the phase: at its edges, the sum and the difference of instants are rounded.
            begin, end = ([-math.inf, *self._moments, math.inf])[phase : phase + 2]
            middle = (begin + end) / 2 if math.isfinite(begin + end) else begin + 1.0
            self._documents[phase] = self.truth.at(middle)
        return self._documents[phase]

    def phases(self) -> Sequence[float]:
        """Return when its document may change."""
        deleted = self.truth.deleted
        return [each for each in self._moments if each < deleted] + ([deleted] if math.isfinite(deleted) else [])


class Account:
    """All assets. Instants are in the loop's time."""

    def __init__(self) -> None:
        self.assets: dict[str, Truth] = {}
        """Those that there are or were, by their IDs."""
        self._found: dict[str, _Asset] = {}
        self._newest_last: list[tuple[float, int, _Asset]] = []

    def add(
        self,
        asset_id: str,
        kind: Kind,
        lifecycle: Lifecycle,
        *,
        born: float,
        created_at: float,
        filename: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Add an asset. `created_at` is what it says of its creation, in seconds since the epoch."""
        assert asset_id not in self.assets
        created = Created(
            asset_id,
            written(created_at),
            filename or f"{asset_id[-6:]}{kind.suffix}",
            kind.file_type,
            "direct",
            crc32(asset_id.encode()),
            kind.duration,
            dict(metadata) if metadata else None,
        )
        self._put(Truth(created, lifecycle, born))
        insort(self._newest_last, (created_at, len(self.assets), self._found[asset_id]), key=lambda each: each[:2])

    def delete(self, asset_id: str, moment: float) -> None:
        """Delete an asset, if there is one."""
        if (truth := self.assets.get(asset_id)) is not None and moment < truth.deleted:
            self._put(msgspec.structs.replace(truth, deleted=moment))

    def at(self, asset_id: str, moment: float) -> Document | None:
        """Return the document of an asset; None: there is none, or it is not visible."""
        found = self._found.get(asset_id)
        return None if found is None else found.at(moment)

    def all_visible_at(self) -> float:
        """Return when the last of the assets became visible that ever do; before all time: there is none."""
        moments = (each.born + each.lifecycle.visible_after for each in self.assets.values())
        return max((each for each in moments if math.isfinite(each)), default=-math.inf)

    def timeline(self, asset_id: str, wait_for: Mapping[str, str]) -> list[tuple[float, str]]:
        """Return what a waiter would be told of an asset, without deadlines, and from when on.

        It is `missing` (404), `waiting`, or an outcome: `ready`, `degraded`, `failed`. The last one stays for ever.
        """
        found = self._found.get(asset_id)
        timeline = [(-math.inf, "missing")]
        for moment in [] if found is None else found.phases():
            document = self.at(asset_id, moment + MOMENT)
            end = end_of(document, wait_for)
            word = "missing" if document is None else "waiting" if end is None else end[0]
            if word != timeline[-1][1]:
                timeline.append((moment, word))
        return timeline

    def newest_first(self, moment: float, wanted: Filter = ALL) -> list[Document]:
        """Return the documents of all visible assets that pass the filter."""
        shown = (
            found.at(moment)
            for _, _, found in reversed(self._newest_last)
            if wanted is ALL or wanted.passes(found.truth.created)
        )
        return [each for each in shown if each is not None]

    def order(self, asset_id: str) -> tuple[str, str]:
        """Return what lists are sorted by, the highest first."""
        return self.assets[asset_id].created.created_at, asset_id

    def _put(self, truth: Truth) -> None:
        asset_id = truth.created.id
        self.assets[asset_id] = truth
        if (found := self._found.get(asset_id)) is None:
            self._found[asset_id] = _Asset(truth)
        else:
            found.truth = truth
