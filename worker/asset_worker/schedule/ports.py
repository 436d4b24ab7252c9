"""The interfaces of a schedule: its argument, its result, and how it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

Phase = Literal["asset", "renditions"]


class WaitState(msgspec.Struct, frozen=True):
    """A wait after a look that found it not done: everything a schedule may depend on. Durations are seconds."""

    attempt_number: int
    """Looks in this phase so far, from 1. The name is tenacity's, so that its strategies can read it."""
    phase: Phase = "asset"
    """The schedule starts again for the renditions when the asset's status turns `ready`."""
    age: float = 0.0
    """Seconds since the phase began: since acceptance, or since `ready` was first seen."""
    waiting_on: tuple[str, ...] = ("asset",)
    """The steps that are not done: `asset`, `visibility`, `answer`, or names of renditions."""
    file_type: str | None = None
    """MIME type, as the API reports it; None: not known."""
    method: str | None = None
    """Upload method, as the API reports it; None: not known."""
    head_start: float = 0.0
    """Seconds from the asset's creation to its acceptance; negative: it was accepted first. 0: as if it were new."""


class Renditions(msgspec.Struct, frozen=True):
    """The renditions of an asset, by name, around the look that found the asset itself ended."""

    shown: tuple[str, ...]
    """Those that the look before showed, while the asset was processing."""
    left: tuple[str, ...]
    """Those that this look showed unfinished."""


Schedule = Callable[[WaitState], float]
"""Takes the wait after a look, and returns the seconds until the next one."""


SlowAfter = Callable[[WaitState], float | None]
"""Takes the wait after a look, and returns the age, in seconds, past which it is slower than 99 % of its class; None:
too few of the class were seen to know that."""


def never_known(look: WaitState) -> None:
    """Return None, as a `SlowAfter` of schedules that don't learn."""
    del look


class Learner(Protocol):
    """A schedule that learns from looks."""

    @property
    def backlog_factor(self) -> float:
        """By how much it stretches delays because more looks are due than can be made; 1: it doesn't."""
        ...

    def observe(
        self, look: WaitState, *, since: float, ended: Sequence[str] = (), renditions: Renditions | None = None
    ) -> None:
        """Learn from one look, at age `look.age`: `ended` are the steps that have ended since age `since`.

        Ages are in seconds; the steps in `look.waiting_on` have not ended. `renditions`: if the asset itself has ended.
        """
        ...

    def requested(self, looks: int) -> None:
        """Learn that one request looked at this many assets. Requests that only confirm or check are not reported."""
        ...

    def chance_of_end(self, look: WaitState, *, within: float) -> float:
        """Return the chance that a wait that went on `within` seconds ago has ended by now, at age `look.age`.

        0: nothing is known about how long such a wait takes.
        """
        ...

    def looked_late(self, lateness: float, *, since: float) -> None:
        """Learn that a look was made `lateness` seconds after it was due, `since` seconds after the last such report.

        Several late looks in a row mean that more looks are due than can be made.
        """
        ...

    def idled(self, seconds: float) -> None:
        """Learn that no look was due for this many seconds, although a request could have been made."""
        ...
