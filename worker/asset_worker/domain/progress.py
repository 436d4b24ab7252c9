"""How far the wait for one asset has come: what a queue keeps between two looks."""

from __future__ import annotations

import msgspec


class LastSeen(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the API last told of an asset, in brief. Few differ, so many pending assets share one."""

    status: str
    """The API's status, or `missing` while it answers 404."""
    hls: str | None = None
    thumbnail: str | None = None
    file_type: str | None = None
    method: str | None = None
    was: str | None = None
    """The status that an asset had before it was missing; None: it was never seen."""


class Progress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How far the wait for one asset has come. Instants are seconds since the epoch, UTC."""

    polls: int = 0
    phase_polls: int = 0
    """Looks since the schedule last started afresh."""
    last_seen: LastSeen | None = msgspec.field(default=None, name="sighting")
    waiting_on: tuple[str, ...] = ()
    ready_at: float | None = None
    """When `ready` was first seen."""
    missing_at: float | None = None
    """When an asset that had been seen was first found missing; None again once it is back."""
    waiting_at: float | None = None
    """When it was last seen not to be done."""
