"""How a wait ended, as the Python API returns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from asset_worker.domain.assets import Outcome
from asset_worker.embedding.errors import AssetDegraded, AssetFailed, AssetNotFound, AssetNotReady, AssetTimeout

_ERRORS: Final[Mapping[Outcome, type[AssetNotReady]]] = {
    Outcome.FAILED: AssetFailed,
    Outcome.DEGRADED: AssetDegraded,
    Outcome.NOT_FOUND: AssetNotFound,
    Outcome.TIMED_OUT: AssetTimeout,
}


@dataclass(frozen=True)
class Completion:
    """How the wait for one asset ended. Times are in UTC."""

    asset_id: str
    """The asset."""
    outcome: Outcome
    """`ready`, `degraded`, `failed`, `not_found` or `timed_out`: a text, as in the events of the command."""
    reason: str | None
    """Why it is not `ready`, for people; None: it is."""
    renditions: Mapping[str, str | None]
    """The status of each rendition (`hls`, `thumbnail`); None: the API doesn't show it."""
    asset: dict[str, Any] | None
    """The asset as the API described it last, unknown fields included; None: it never did."""
    metadata: dict[str, Any]
    """What was given to the wait as `metadata`."""
    submitted_at: datetime
    """When the wait began."""
    ready_at: datetime | None
    """When the asset's status was first seen to be `ready`; None: it was not."""
    completed_at: datetime
    """When the wait ended."""
    last_seen_waiting_at: datetime | None
    """When the asset was last seen not to be done; None: the first look found it done, or nothing."""
    polls: int
    """How often the API was asked, answers in lists included."""
    id: str = field(repr=False)
    """The event's ID: the same if the same completion is returned twice, as after a crash of a durable client."""
    event: dict[str, Any] = field(repr=False)
    """The whole completion event, as the command emits it (CloudEvents 1.0)."""

    @property
    def is_ready(self) -> bool:
        """Whether the asset is ready, with all renditions that were awaited."""
        return self.outcome is Outcome.READY

    def raise_for_outcome(self) -> Self:
        """Return this completion if the asset is ready.

        Raises:
            AssetFailed, AssetDegraded, AssetNotFound, AssetTimeout: it is not; each is an `AssetNotReady`, and has this
                completion as its `completion`.
        """
        if (error := _ERRORS.get(self.outcome)) is not None:
            raise error(self)
        return self


def completion_of(body: bytes) -> Completion:
    """Return what a completion event says."""
    event = msgspec.json.decode(body)
    data = event["data"]
    return Completion(
        asset_id=data["asset_id"],
        outcome=Outcome(data["outcome"]),
        reason=data["reason"],
        renditions=data["renditions"],
        asset=data["asset"],
        metadata=data["submission"]["metadata"],
        submitted_at=datetime.fromisoformat(data["submitted_at"]),
        ready_at=_instant(data["ready_at"]),
        completed_at=datetime.fromisoformat(data["completed_at"]),
        last_seen_waiting_at=_instant(data["last_seen_waiting_at"]),
        polls=data["polls"],
        id=event["id"],
        event=event,
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
