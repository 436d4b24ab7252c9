"""Lines to submissions.

The law of this layer: an intake reads, and hands over what it read together with how far it has come; it keeps
nothing. The queue keeps both in one transaction, so that after a crash an intake goes on where the last accepted line
ended. When in doubt it reads again: a repeat is dropped by the queue, a skipped line would be a lost asset.
"""

from __future__ import annotations

from typing import Protocol

from asset_worker.domain.submissions import Batch


class BatchReceiver(Protocol):
    """Where intakes hand over what they read."""

    async def room(self) -> int:
        """How many more submissions are taken now; waits until at least one is."""
        ...

    async def accept(self, batch: Batch) -> None:
        """Durable when it returns."""
        ...
