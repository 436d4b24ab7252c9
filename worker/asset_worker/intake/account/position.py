"""The positions of the two readers in the list of assets, as they are stored: pure.

Both are stored under the address of the API. All instants but `began` are `created_at` of assets: they are by the
server's clock, in seconds since the epoch, UTC. The field names are in journals: don't rename them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from asset_worker.intake.account.filters import Filters

T = TypeVar("T", bound="Position | Backlog")

BEFORE_ALL: Final = -1e12
"""Earlier than any asset: tens of thousands of years before the epoch."""


class Earlier(msgspec.Struct, frozen=True):
    """The filters of an earlier run, which go on to apply to the assets of its time."""

    filters: Filters
    until: float


class Position(msgspec.Struct, frozen=True):
    """How far the follower has come."""

    began: float
    """When following began, in steady time: stored before the first request."""
    start: float | None = None
    """The same by the server's clock; None: it has not answered yet."""
    checkpoint: float = BEFORE_ALL
    """The newest asset of the last whole walk, but not later than the server's clock then."""
    floor: float = BEFORE_ALL
    """Walks end here. Everything that was created later has been read, or is in a gap, or may still appear."""
    known: Mapping[str, float] = {}
    """The assets from the floor on that were handed over, and when they were created. Settlements are kept for days;
    these IDs show after a month that the assets are not new."""
    filters: Filters = Filters()
    earlier: Earlier | None = None
    seen_until: float = BEFORE_ALL
    """Until when `filters` have applied: to the last page, or to the stop."""
    version: int = 1


class Gap(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of the list that has not been read, both ends included."""

    low: float
    high: float
    index: int = 0
    """How many assets were listed from the newest one to about `high`, when that was set."""
    total: int | None = None
    """How many assets the list had then; None: unknown."""
    ids: tuple[str, ...] = ()
    """The assets of the page that was read last."""


class Backlog(msgspec.Struct, frozen=True):
    """What the backfill has not read, the newest part first. The oldest part is all that was there before the start."""

    gaps: tuple[Gap, ...]
    version: int = 1


def decode(stored: bytes | None, kind: type[T]) -> T | None:
    """Return a stored position; None: there is none, or it can't be read by this version."""
    if stored is None:
        return None
    try:
        position = msgspec.json.decode(stored, type=kind)
    except msgspec.DecodeError:
        return None
    return position if position.version == 1 else None


def merged(gaps: Sequence[Gap], new: Gap) -> tuple[Gap, ...]:
    """Return the gaps with a new one. Those that overlap become one, which is read from its upper end again."""
    touching = [gap for gap in gaps if gap.low < new.high and new.low < gap.high]
    others = [gap for gap in gaps if gap not in touching]
    top = max([new, *touching], key=_high)
    whole = msgspec.structs.replace(top, low=min(gap.low for gap in [new, *touching]))
    return tuple(sorted([*others, whole], key=_high, reverse=True))


def _high(gap: Gap) -> float:
    return gap.high
