"""What is known of an asset that was submitted: that it is pending, how its last wait ended, or both."""

from __future__ import annotations

import msgspec

from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Options


class PendingState(msgspec.Struct, frozen=True):
    """An asset that is pending."""

    accepted_at: float
    """When it was accepted, in steady time."""
    completion: int
    """The number of the completion that its wait leads to."""
    progress: Progress
    due_in: float | None
    """Seconds until its next look is due, at least 0; None: a look is in progress."""
    options: Options | None = None
    """What its submission asked for; None: nothing of its own."""


class SettledState(msgspec.Struct, frozen=True):
    """How the last wait for an asset ended. Instants are in steady time."""

    completion: int
    """How often the asset was settled."""
    outcome: str
    accepted_at: float
    completed_at: float
    event: bytes | None
    """The body of its completion event; None: it is not kept, or not any more."""


class AssetState(msgspec.Struct, frozen=True):
    """What is known of an asset: both if it was submitted again after a completion, neither if it is unknown."""

    pending: PendingState | None = None
    settled: SettledState | None = None


def combined(pending: PendingState | None, settled: SettledState | None) -> AssetState:
    """Return both as one state. `settled` was read after `pending`: perhaps it is the end of that same wait."""
    if pending is not None and settled is not None and settled.completion >= pending.completion:
        return AssetState(settled=settled)
    return AssetState(pending, settled)
