"""What one run of the worker does, and when and how it ends."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from asset_worker.domain.assets import AssetId


class Exit(IntEnum):
    """Exit codes: a contract with scripts."""

    DONE = 0
    """Every asset became ready; of a service: a signal stopped it."""
    NOT_READY = 1
    """At least one asset did not become ready, or an unexpected error ended the run."""
    USAGE = 2
    """The command line or the settings can't be used."""
    KEY_REFUSED = 3
    """The API refuses the key."""


class RunPlan(msgspec.Struct, frozen=True):
    """What a run does, and when it is done."""

    asset_ids: tuple[AssetId, ...] = ()
    """Watch these, besides what the intakes bring."""
    once: bool = False
    """Read the queue file to its end and no further."""
    keeps_state: bool = True
    """False: keep everything in memory, and let a deadline end a wait even when no request was answered."""
    ends_by_itself: bool = False
    """End when all inputs have ended and nothing is pending. False, for a service: go on until a signal comes."""
    key_refused_limit: float | None = None
    """Give up when the key has been refused for this many seconds; None: never."""
