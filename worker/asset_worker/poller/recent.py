"""Remembers what looks have shown lately: file names, and how waits ended. For displays: it is lost at the end."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from asset_worker.domain.assets import Asset, AssetId, Observation
from asset_worker.domain.finished import FinishedAsset
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.poller.decide import Defer, Settle
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.text import clip

NAMES: Final = 1_000
"""File names that are kept: those of the assets that were looked at last. Names are shown of few assets."""
LONGEST_NAME: Final = 255
"""Characters of a file name that are kept."""
FINISHED: Final = 50
"""Assets that are kept whose wait has ended."""
LONGEST_REASON: Final = 500
"""Characters of a reason that are kept; the event has all of it."""
LONGEST_ADDRESS: Final = 2_048
"""Characters of an address. A longer one is not kept: a part of it would lead nowhere."""


class FileNames:
    """The file names of the assets that were looked at last."""

    def __init__(self) -> None:
        self._names: OrderedDict[AssetId, str] = OrderedDict()

    def name_of(self, asset_id: AssetId) -> str:
        """Return the file name as the API gave it, cut; empty: it is not known."""
        return self._names.get(asset_id, "")

    def observe(self, lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        """Take in a look (`poller.observing`)."""
        del step
        if isinstance(observation, Asset) and isinstance(name := observation.document.get("filename"), str):
            asset_id = lease.submission.asset_id
            self._names[asset_id] = clip(name, LONGEST_NAME)
            self._names.move_to_end(asset_id)
            if len(self._names) > NAMES:
                self._names.popitem(last=False)


class Recent(FileNames):
    """File names, and the assets whose wait has ended lately."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._finished: deque[FinishedAsset] = deque(maxlen=FINISHED)

    @property
    def finished(self) -> tuple[FinishedAsset, ...]:
        """The assets whose wait has ended lately, the latest first."""
        return tuple(reversed(self._finished))

    def observe(self, lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        """Take in a look (`poller.observing`)."""
        super().observe(lease, observation, step)
        if not isinstance(step, Settle):
            return
        reason = step.verdict.reason
        self._finished.append(
            FinishedAsset(
                lease.submission.asset_id,
                filename=self.name_of(lease.submission.asset_id),
                outcome=step.verdict.outcome.value,
                reason=None if reason is None else clip(reason, LONGEST_REASON),
                at=self._clock.now(),
                took=self._clock.steady() - lease.accepted_at,
                addresses=dict(_addresses_in(observation.document)) if isinstance(observation, Asset) else {},
            )
        )


def _addresses_in(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, rendition in RENDITIONS.items():
        shown = document.get(name)
        address = shown.get(rendition.address) if rendition.address and isinstance(shown, dict) else None
        if isinstance(address, str) and len(address) <= LONGEST_ADDRESS:
            yield name, address
