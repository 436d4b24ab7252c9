"""What looks have shown of assets, as far as a display needs it: file names, and how waits ended."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from asset_worker.cli.screen.scene import ROWS, AssetRow
from asset_worker.domain.assets import Asset, AssetId, Observation
from asset_worker.poller.decide import Defer, Settle
from asset_worker.queue.ports import Lease
from asset_worker.runtime.text import clip, visible

NAMES: Final = 1_000
"""File names that are kept: those of the assets that were looked at last. Names are shown of ten assets at most."""
LONGEST_NAME: Final = 255
"""Characters of a file name that are kept."""


class Seen:
    """Remembers what is shown of few assets, in little memory however many there are."""

    def __init__(self) -> None:
        self._names: OrderedDict[AssetId, str] = OrderedDict()
        self.ended: list[AssetRow] = []
        """The assets whose wait has ended, in that order; not all of them if there are more than have a row."""

    def name_of(self, asset_id: AssetId) -> str:
        """Return the file name, to be shown; empty: it is not known."""
        return self._names.get(asset_id, "")

    def observe(self, lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        """Take in a look (`poller.observing`)."""
        asset_id = lease.submission.asset_id
        if isinstance(observation, Asset) and isinstance(name := observation.document.get("filename"), str):
            self._names[asset_id] = visible(clip(name, LONGEST_NAME))
            self._names.move_to_end(asset_id)
            if len(self._names) > NAMES:
                self._names.popitem(last=False)
        if isinstance(step, Settle) and len(self.ended) <= ROWS:
            last_seen = step.progress.last_seen
            self.ended.append(
                AssetRow(
                    asset_id,
                    age=lease.age,
                    filename=self.name_of(asset_id),
                    file_type=visible((last_seen and last_seen.file_type) or ""),
                    outcome=step.verdict.outcome.value,
                )
            )
