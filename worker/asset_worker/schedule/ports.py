"""When to look again: pure functions from what is known of a wait to seconds.

A schedule is a callable from a `WaitState` to a delay. Any tenacity wait strategy is one (`waits.from_tenacity`), so
they
compose: `wait_chain`, `+`, `wait_combine` and one's own.
Polling is not retrying: a schedule spaces answers that said "not done yet"; a request that failed has a policy of its
own (`worker.api.retry`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

Phase = Literal["asset", "renditions"]


class WaitState(msgspec.Struct, frozen=True):
    """What a schedule may know about a wait, after a look that found it not done. Durations are seconds."""

    attempt_number: int
    """Looks in this phase so far, from 1: tenacity's word, so that its strategies read it."""
    phase: Phase = "asset"
    """An asset's renditions get a fresh start of the schedule when its status turns `ready`."""
    age: float = 0.0
    """Since the phase began: since acceptance, or since `ready` was first seen."""
    waiting_on: tuple[str, ...] = ("asset",)
    file_type: str | None = None
    method: str | None = None


Schedule = Callable[[WaitState], float]
"""Seconds from a look to the next one."""


class Learner(Protocol):
    """A schedule that learns from looks."""

    def observe(self, look: WaitState, *, since: float, ended: Sequence[str] = ()) -> None:
        """`look.waiting_on` still waited at `look.age`, and `ended` ended since the look before, at age `since`."""
        ...

    def looked_late(self, lateness: float, *, since: float) -> None:
        """A look was made this many seconds after it was due: more are wanted than can be made, if that goes on.

        `since`: seconds since this was told before.
        """
        ...

    def idled(self, seconds: float) -> None:
        """For so long nothing was due, though a request could have been made."""
        ...
