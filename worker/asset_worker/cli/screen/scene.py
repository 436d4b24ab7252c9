"""What a display shows at one instant: values, made from the state of the service. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.problems import Problem

ROWS: Final = 10
"""Up to so many assets have a row each; more share one bar."""


class AssetRow(msgspec.Struct, frozen=True):
    """One asset. Durations are seconds. Texts from outside have passed `visible`."""

    asset_id: str
    age: float
    """Since it was accepted, to now or to its end."""
    stage: str = ""
    """What it waits for, in words; the outcome if there is one."""
    filename: str = ""
    file_type: str = ""
    """The MIME type."""
    left: Forecast | None = None
    outcome: str | None = None
    """None: it is pending."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one instant. Durations are seconds."""

    title: str
    elapsed: float
    pending: int = 0
    requests: int = 0
    outcomes: Mapping[str, int] = {}
    """Assets settled so far, by outcome."""
    waiting: Mapping[str, int] = {}
    """Pending assets by what they wait for; empty: they are too many to be counted."""
    assets: Sequence[AssetRow] | None = None
    """The assets, if each has a row."""
    left: Forecast | None = None
    """Until all that is pending has ended, as far as it is known; None: it is not."""
    unforeseen: int = 0
    """Of how many pending assets the end is not known."""
    problems: Sequence[Problem] = ()
    listening_to: Sequence[str] = ()
    """The inputs of a service, in words; nothing: the run ends by itself."""
    is_stopping: bool = False
    now: float = 0.0
    """Seconds since the epoch, UTC."""
    utc_offset: float = 0.0
    """By how many seconds people's clocks are ahead of UTC."""

    @property
    def done(self) -> int:
        """How many assets were settled."""
        return sum(self.outcomes.values())

    @property
    def total(self) -> int:
        """How many assets were settled or are pending."""
        return self.done + self.pending

    @property
    def is_idle(self) -> bool:
        """Whether a service waits for something to do."""
        return bool(self.listening_to) and not self.pending and not self.is_stopping


def shares_rows(*, pending: int, total: int, ends_by_itself: bool) -> bool:
    """Return whether each asset has a row: the whole run is small, or, of a service, what is pending now."""
    return (total if ends_by_itself else pending) <= ROWS


def end_of_all(lefts: Sequence[Forecast | None]) -> Forecast | None:
    """Return when the last of those waits ends of which it is known; None: it is known of none.

    The last of several ends later than any one of them usually does: from four on, the largest `p90` stands for both.
    """
    known = [left for left in lefts if left is not None]
    if not known:
        return None
    longest = max(left.p90 for left in known)
    return Forecast(max(left.p50 for left in known) if len(known) < 4 else longest, longest)
