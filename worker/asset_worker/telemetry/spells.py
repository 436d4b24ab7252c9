"""Spells: which of many equal reports are logged, so that what others cause can't fill the log. Pure."""

from __future__ import annotations

from typing import Final

QUIET_SECONDS: Final = 60.0
"""A spell is over when nothing of its kind was reported for this long."""
MOST_KINDS: Final = 100
"""Kinds that are remembered; beyond that, the one that was reported longest ago is forgotten."""


class Spells:
    """Lets the first report of each spell pass. Times are seconds on any clock that never goes back."""

    def __init__(self) -> None:
        self._spells: dict[str, tuple[float, int]] = {}
        """By kind: when it was reported last, and how many reports of its present spell did not pass."""

    def report(self, kind: str, now: float) -> int | None:
        """Return None if the report belongs to a spell that was logged already.

        If it begins a spell, return how many reports of the spell before it did not pass.
        """
        last, held_back = self._spells.pop(kind, (-QUIET_SECONDS, 0))
        begins = now - last >= QUIET_SECONDS
        self._spells[kind] = (now, 0 if begins else held_back + 1)
        if len(self._spells) > MOST_KINDS:
            del self._spells[next(iter(self._spells))]
        return held_back if begins else None
