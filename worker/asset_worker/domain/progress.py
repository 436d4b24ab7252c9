"""How far the wait for one asset has come: what a queue keeps between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec


class LastSeen(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the API last said of an asset, in brief."""

    status: str
    """The API's status, or `missing` while it answers 404."""
    renditions: Mapping[str, str] = {}
    """The status of each rendition that the API showed, by name."""
    file_type: str | None = None
    """The MIME type."""
    method: str | None = None
    """How the asset was created: `direct`, `url` and others."""
    was: str | None = None
    """The status that the asset had before it was missing; None: it was never seen."""

    def shared(self) -> LastSeen:
        """An equal value that all pending assets in this state can hold: a million of them then take little memory."""
        return _shared(self.status, tuple(self.renditions.items()), self.file_type, self.method, self.was)


@lru_cache(maxsize=512)
def _shared(
    status: str, renditions: tuple[tuple[str, str], ...], file_type: str | None, method: str | None, was: str | None
) -> LastSeen:
    return LastSeen(status, dict(renditions), file_type, method, was)


class Progress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How far the wait for one asset has come. Instants are seconds since the epoch, UTC."""

    polls: int = 0
    """Looks so far."""
    phase_polls: int = 0
    """Looks since the schedule last started afresh."""
    last_seen: LastSeen | None = None
    """None: the API has never answered about this asset."""
    waiting_on: tuple[str, ...] = ()
    """What the last look found not done (`Waiting.on`)."""
    ready_at: float | None = None
    """When `ready` was first seen."""
    missing_at: float | None = None
    """When an asset that had been seen was first found missing; None again once it is back."""
    waiting_at: float | None = None
    """When it was last seen not to be done."""
