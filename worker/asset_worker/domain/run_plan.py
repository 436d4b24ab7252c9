"""What a run of the worker is to do, and how it ends."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from asset_worker.domain.assets import AssetId


class Exit(IntEnum):
    """Exit codes: a contract with scripts."""

    DONE = 0
    NOT_READY = 1
    USAGE = 2
    KEY_REFUSED = 3


class RunPlan(msgspec.Struct, frozen=True):
    """What a run is to do, and when it is done."""

    asset_ids: tuple[AssetId, ...] = ()
    """Watch these, besides what the intakes bring."""
    once: bool = False
    """Read the queue file to its end and no further."""
    keeps_state: bool = True
    """False: all in memory, and a deadline ends a wait even where the API gives no answer."""
    ends_by_itself: bool = False
    """End when all inputs have ended and nothing is pending; a service goes on until a signal comes."""
    key_refused_limit: float | None = None
    """Give up when the key has been refused for this many seconds; None: never."""
