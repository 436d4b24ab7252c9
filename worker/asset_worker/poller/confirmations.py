"""Decides with `ListHealth` which documents of lists are believed, holds assets meanwhile, logs what was learned."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from asset_worker.domain.assets import Asset, AssetId, Expectations, Missing, Observation
from asset_worker.poller.evidence import difference, shape_of
from asset_worker.poller.list_health import OVERDUE_SECONDS, Disagreed, ListHealth, Proven, Step, Treatment
from asset_worker.poller.ports import Api
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.randomness import Uniform

_log = get_logger()

LONGEST_HOLD_SECONDS: Final = 30.0
"""An asset that was held for this time is confirmed for itself, if no confirmation has ended for as long."""
HELD_SHARE: Final = 0.5
"""Nor is it held for more than this share of the time to its deadline. The rest is for the retrieve."""
HELD_AT_MOST: Final = 200
"""While more assets are held, no list is requested: most of what it showed would be held, too. The request that they
wait for goes out sooner without it, and settles up to fifty of them."""
ROOM_SECONDS: Final = 1.0
"""A request waits until fewer are held. If no confirmation has ended for this time, it becomes a retrieve."""


class Confirmations:
    """Which assets that lists show done, or at a step, are believed to be; what the retrieves of others have shown."""

    def __init__(self, api: Api, *, confirm_all: bool, clock: Clock, uniform: Uniform) -> None:
        """`confirm_all`: a retrieve confirms each asset. `uniform` chooses which ones are audited otherwise."""
        self._api = api
        self._confirm_all = confirm_all
        self._clock = clock
        self._health = ListHealth(uniform)
        self._held: dict[AssetId, asyncio.Future[Treatment]] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._ended_at = 0.0
        """When the latest confirmation ended, in monotonic seconds."""
        self.disagreements = 0
        """Retrieves so far that disagreed with a list that showed an asset done."""

    @property
    def proven_shapes(self) -> int:
        """How many shapes are trusted now (`list_health`)."""
        return self._health.proven

    @property
    def may_list(self) -> bool:
        """Whether few enough assets are held for one more list."""
        return self._room.is_set()

    async def wait_for_room(self) -> None:
        """Wait until few enough assets are held for one more list, or until confirmations seem to hang."""
        while not self._room.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(ROOM_SECONDS):
                    await self._room.wait()
            if self._hang_for(ROOM_SECONDS):
                break

    def treat(self, asset_id: AssetId, listed: Asset, *, is_doubtful: bool) -> Treatment:
        """Return what to do with an asset that a list shows in a state that ends its wait, or at a new step.

        If it is to be held, `released` must be called next. `is_doubtful`: a retrieve must confirm it in any case.
        """
        if self._confirm_all:
            return Treatment.CONFIRM
        shape = shape_of(listed)
        if is_doubtful:
            self._health.doubted(asset_id, shape, self._clock.monotonic())
            return Treatment.CONFIRM
        treatment = self._health.shown(asset_id, shape, self._clock.monotonic())
        if treatment is Treatment.HOLD:
            self._held[asset_id] = asyncio.get_running_loop().create_future()
            if len(self._held) > HELD_AT_MOST:
                self._room.clear()
        return treatment

    async def released(self, asset_id: AssetId, listed: Asset, *, within: float) -> Treatment:
        """Wait until a held asset is to be settled or confirmed. Its deadline is `within` seconds away."""
        held, shape = self._held[asset_id], shape_of(listed)
        assert shape is not None
        begun_at = self._clock.monotonic()
        ends_at = begun_at + HELD_SHARE * within
        try:
            while not held.done():
                now = self._clock.monotonic()
                is_stuck = now >= begun_at + LONGEST_HOLD_SECONDS and self._hang_for(LONGEST_HOLD_SECONDS)
                if now >= ends_at or is_stuck:
                    self._health.doubted(asset_id, shape, now)
                    return Treatment.CONFIRM
                await asyncio.wait([held], timeout=min(ends_at - now, OVERDUE_SECONDS))
                if not held.done() and self._hang_for(0.0):
                    self._carry_out(self._health.overdue(shape, self._clock.monotonic()))
            return held.result()
        finally:
            self._health.withdrawn(asset_id, shape)
            del self._held[asset_id]
            if len(self._held) <= HELD_AT_MOST:
                self._room.set()

    def compare(
        self, asset_id: AssetId, listed: Asset, retrieved: Observation | None, expectations: Expectations
    ) -> None:
        """Learn from the retrieve of an asset that was treated. None: none was made, or none that counts as a look."""
        self._ended_at = self._clock.monotonic()
        if not isinstance(retrieved, Asset | Missing):
            self._carry_out(self._health.not_compared(asset_id, self._clock.monotonic()))
            return
        why = difference(listed, retrieved, expectations)
        step = self._health.compared(asset_id, self._clock.monotonic(), agreed=why is None)
        if why is not None:
            self.disagreements += 1
        _log_change(asset_id, step.change, why)
        self._carry_out(step)

    def _hang_for(self, seconds: float) -> bool:
        """Return whether no confirmation has ended for so long. While requests queue, that is the only reason."""
        return self._api.has_capacity and self._clock.monotonic() >= self._ended_at + seconds

    def _carry_out(self, step: Step) -> None:
        for treatment, asset_ids in ((Treatment.SETTLE, step.settle), (Treatment.CONFIRM, step.confirm)):
            for asset_id in asset_ids:
                self._held[asset_id].set_result(treatment)


def _log_change(asset_id: AssetId, change: Proven | Disagreed | None, why: str | None) -> None:
    match change:
        case None:
            pass
        case Proven(shape, confirmations):
            _log.info("api.list_proven", shape=str(shape), confirmations=confirmations)
        case Disagreed(shape, needed, None):
            _log.warning("api.list_disagreed", asset_id=asset_id, why=why, shape=str(shape), needed=needed)
        case Disagreed(shape, needed, tuple(unaudited)):
            _log.error(
                "api.list_contradicted",
                asset_id=asset_id,
                why=why,
                shape=str(shape),
                needed=needed,
                asset_ids=list(unaudited),
            )
