"""What workers with one key tell each other about its rate limits."""

from __future__ import annotations

from typing import Protocol

import msgspec


class LearnedRate(msgspec.Struct, frozen=True):
    """A rate that the server accepts, learned from refusals that no reported quota explains."""

    rate: float
    """Requests per second, of all workers together."""
    age: float
    """Seconds since it was learned."""


class SharedLimits(Protocol):
    """The limits of this process, of which others with the same key use a part."""

    def share(self, portion: float, learned: LearnedRate | None, *, until: float) -> LearnedRate | None:
        """Use this portion (more than 0, at most 1) of all limits from now on, and nothing after `until`.

        `until` is in steady time: by then, or else the others use that portion, this must have been called again.
        `learned` is what another worker has learned last; None: nothing. Return what is known here, which may be that.
        """
        ...
