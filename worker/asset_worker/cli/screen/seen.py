"""What looks have shown of assets, as far as a display needs it: file names, and how waits ended."""

from __future__ import annotations

from asset_worker.cli.screen.scene import ROWS, AssetRow
from asset_worker.domain.assets import AssetId, Observation
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.recent import FileNames
from asset_worker.queue.ports import Lease
from asset_worker.runtime.text import visible


class Seen(FileNames):
    """Remembers what is shown of few assets, in little memory however many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[AssetRow] = []
        """The assets whose wait has ended, in that order; not all of them if there are more than have a row."""

    def name_of(self, asset_id: AssetId) -> str:
        """Return the file name, to be shown; empty: it is not known."""
        return visible(super().name_of(asset_id))

    def observe(self, lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        """Take in a look (`poller.observing`)."""
        super().observe(lease, observation, step)
        if isinstance(step, Settle) and len(self.ended) <= ROWS:
            last_seen = step.progress.last_seen
            asset_id = lease.submission.asset_id
            self.ended.append(
                AssetRow(
                    asset_id,
                    age=lease.age,
                    filename=self.name_of(asset_id),
                    file_type=visible((last_seen and last_seen.file_type) or ""),
                    outcome=step.verdict.outcome.value,
                )
            )
