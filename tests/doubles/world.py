"""Assets in virtual time, and an API whose retrieves show them as they are, and whose lists are what a test makes them.

Every answer is recorded, so that a test can compare what was settled with what was shown, and with the truth.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec

from asset_worker.api.errors import ApiError, NotFoundError
from asset_worker.domain.assets import Asset, MalformedAssetError, asset_from
from asset_worker.simulator.lifecycles import Created, Kind, Lifecycle, document

Document = dict[str, Any]
View = Callable[[Sequence[str], float], dict[str, Document | None]]
"""What a list of these IDs shows at a moment, by ID; None: the asset, but not readably. It may raise an `ApiError`."""
EPOCH = 1_000_000.0
"""What `LoopClock` shows at the start of the loop."""


class Truth(msgspec.Struct, frozen=True):
    """One asset, as it is. Instants are in the loop's time."""

    created: Created
    lifecycle: Lifecycle
    born: float
    deleted: float = math.inf

    def at(self, moment: float) -> Document | None:
        """The document; None: there is no such asset, or it is not visible."""
        if not self.born <= moment < self.deleted:
            return None
        return document(self.created, self.lifecycle, moment - self.born)

    @property
    def ready_at(self) -> float:
        """When its status changed from `processing`."""
        return self.born + self.lifecycle.ends_after

    def moments(self) -> list[float]:
        """When its document changes."""
        renditions = [each for each in (self.lifecycle.hls, self.lifecycle.thumbnail) if each is not None]
        later = [self.ready_at + after for each in renditions for after in (each.starts_after, each.ends_after)]
        return [self.born, self.born + self.lifecycle.visible_after, self.ready_at, *later]

    def ever_showed(self, shown: Document | None, until: float) -> bool:
        """Whether this was its document at some moment until then."""
        last = min(until, self.deleted - 0.001)
        return any(self.at(min(each + 0.001, last)) == shown for each in [*self.moments(), until] if each <= until)


class Answer(msgspec.Struct, frozen=True):
    """What one request showed of one asset."""

    number: int
    """In the order of the answers."""
    at: float
    """When the server made it."""
    seen: float
    """When the client had it."""
    is_list: bool
    document: Document | None
    """None: the asset was missing, or could not be read."""


class World:
    """The assets and the API, in the time of the running loop."""

    latest_failure = None
    stalled_for = 0.0
    may_list = True
    lists_are_limited = False
    has_capacity = True

    def __init__(self, random: Random, *, twins: bool = False, delay: Callable[[Random], float] | None = None) -> None:
        """`twins`: all assets of a kind have the same name and age. `delay`: seconds from an answer to its arrival."""
        self.random = random
        self.view: View = self.honest
        self.assets: dict[str, Truth] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.retrieves = 0
        self.lists: list[list[str]] = []
        """The IDs of each list so far."""
        self.retrieve_fails: Callable[[str], ApiError | float | None] = lambda asset_id: None
        """What goes wrong with the retrieve of an asset: an error, or seconds that it takes longer; None: nothing."""
        self._twins = twins
        self._delay = delay or (lambda random: random.uniform(0.02, 0.3))
        self._count = itertools.count()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def add(
        self,
        lifecycle: Lifecycle,
        kind: Kind,
        *,
        born: float,
        deleted: float = math.inf,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Add an asset, and return its ID."""
        asset_id = f"{self.random.getrandbits(96):024x}"
        name = f"file{kind.suffix}" if self._twins else f"file-{len(self.assets)}{kind.suffix}"
        created_at = EPOCH if self._twins else EPOCH + born + self.random.random() / 10
        created = Created(
            asset_id,
            datetime.fromtimestamp(created_at, UTC).isoformat(timespec="milliseconds"),
            name,
            kind.file_type,
            "direct",
            4096 if self._twins else self.random.randrange(10**9),
            kind.duration,
            dict(metadata) if metadata else None,
        )
        self.assets[asset_id] = Truth(created, lifecycle, born, deleted)
        return asset_id

    def honest(self, asset_ids: Sequence[str], moment: float) -> dict[str, Document | None]:
        """The view of a list that shows the truth."""
        shown = {each: self.assets[each].at(moment) for each in asset_ids if each in self.assets}
        return {asset_id: each for asset_id, each in shown.items() if each is not None}

    async def wait_for_capacity(self) -> None:
        pass

    async def retrieve(self, asset_id: str) -> Asset:
        self.retrieves += 1
        match self.retrieve_fails(asset_id):
            case ApiError() as error:
                await asyncio.sleep(self._delay(self.random))
                raise error
            case float(seconds):
                await asyncio.sleep(seconds)
        truth, at = self.assets.get(asset_id), self.now()
        shown = None if truth is None else _copied(truth.at(at))
        await asyncio.sleep(self._delay(self.random))
        self._record(asset_id, at, shown, is_list=False)
        if shown is None:
            raise NotFoundError("404")
        return asset_from(shown)

    async def list_assets(self, asset_ids: Sequence[str]) -> dict[str, Asset | None]:
        self.lists.append(list(asset_ids))
        at = self.now()
        shown = {asset_id: _copied(each) for asset_id, each in self.view(asset_ids, at).items()}
        await asyncio.sleep(self._delay(self.random))
        found = {asset_id: _readable(each) for asset_id, each in shown.items()}
        for asset_id in asset_ids:
            asset = found.get(asset_id)
            self._record(asset_id, at, None if asset is None else asset.document, is_list=True)
        return found

    def _record(self, asset_id: str, at: float, shown: Document | None, *, is_list: bool) -> None:
        answer = Answer(next(self._count), at, self.now(), is_list, _copied(shown))
        self.answers.setdefault(asset_id, []).append(answer)


def _copied(shown: Document | None) -> Document | None:
    """A copy that shares nothing with the document: the fastest way to one."""
    copied: Document | None = _decode(_encode(shown))
    return copied


_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.decode


def _readable(shown: Document | None) -> Asset | None:
    try:
        return asset_from(shown)
    except MalformedAssetError:
        return None


def switched(honest: View, switches: Sequence[tuple[float, View]]) -> View:
    """The honest view until the first moment, then the view of the latest moment so far."""
    moments = [moment for moment, _ in switches]

    def view(asset_ids: Sequence[str], moment: float) -> dict[str, Document | None]:
        place = bisect_right(moments, moment)
        return (switches[place - 1][1] if place else honest)(asset_ids, moment)

    return view
