"""What an intake needs: a receiver for the batches that it reads."""

from __future__ import annotations

from typing import Protocol

from asset_worker.domain.submissions import Batch


class BatchReceiver(Protocol):
    """Accepts what intakes read."""

    async def room(self) -> int:
        """How many submissions may be handed over now. Waits until there is room for one."""
        ...

    async def accept(self, batch: Batch) -> None:
        """Take a batch; it is durable when this returns."""
        ...
