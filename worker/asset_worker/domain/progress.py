"""The progress of the wait for one asset: what a queue keeps between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec


class LastSeen(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A summary of what the API last said about an asset."""

    status: str
    """The API's status, or `missing` while it answers 404."""
    renditions: Mapping[str, str] = {}
    """The status of each rendition that the API showed, by name."""
    file_type: str | None = None
    """The MIME type."""
    method: str | None = None
    """How the asset was created: `direct`, `url` and others."""
    was: str | None = None
    """The status that a missing asset had before; None: it was never seen, or is not missing."""

    def shared(self) -> LastSeen:
        """Return an equal value that all pending assets in this state share, so that a million take little memory."""
        return _shared(self.status, tuple(self.renditions.items()), self.file_type, self.method, self.was)


@lru_cache(maxsize=512)
def _shared(
    status: str, renditions: tuple[tuple[str, str], ...], file_type: str | None, method: str | None, was: str | None
) -> LastSeen:
    return LastSeen(status, dict(renditions), file_type, method, was)


class Progress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How far the wait for one asset has come. Instants are in steady time (`runtime.steady_time`)."""

    polls: int = 0
    """Looks so far."""
    phase_polls: int = 0
    """Looks since the schedule last started again."""
    last_seen: LastSeen | None = None
    """None: the API has never answered about this asset."""
    waiting_on: tuple[str, ...] = ()
    """What the last look found not done (`Waiting.on`)."""
    ready_at: float | None = None
    """When `ready` was first seen; None: never, or it was taken back."""
    ready_is_certain: bool = False
    """Whether a retrieve has shown `ready`. A list alone may show it too early, and a deadline is counted from it."""
    missing_at: float | None = None
    """When the asset was first found missing after it had been seen; None again once it is back."""
    waiting_at: float | None = None
    """When a look last found it not done; None: never."""
    announced: tuple[str, ...] = ()
    """The transitions that were reported: each at most once in a wait, even if the state is taken back."""
    identity: int | None = None
    """A hash of what never changes about the asset, as the last look that saw it showed it; None: no look saw it."""
    head_start: float = 0.0
    """Seconds from the asset's creation to its acceptance; negative: it was accepted first. 0 while nobody has seen it,
    and for a new asset: the two are about the same time."""

    def shows_more_than(self, before: Progress) -> bool:
        """Return whether the looks since `before` have seen anything new, and were not only counted."""
        return (
            self.waiting_on != before.waiting_on
            or self.last_seen != before.last_seen
            or self.ready_at != before.ready_at
            or self.ready_is_certain != before.ready_is_certain
            or self.missing_at != before.missing_at
            or self.announced != before.announced
            or self.identity != before.identity
            or self.head_start != before.head_start
        )

    def not_after(self, now: float) -> Progress:
        """Return the same progress, with `now` in place of every instant that is later."""
        late = {
            name: now
            for name, instant in (
                ("ready_at", self.ready_at),
                ("missing_at", self.missing_at),
                ("waiting_at", self.waiting_at),
            )
            if instant is not None and instant > now
        }
        return msgspec.structs.replace(self, **late) if late else self
