"""How many assets a worker claims and gives back, so that a fleet shares them evenly: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

SURPLUS: Final = 1.2
"""A worker that owns more than so many times its fair share, and has done so for a lease, gives the surplus back."""


def fair_share(owned: int, others: Sequence[int], unowned: int) -> int:
    """Return how many assets each of the workers would own if all had the same number.

    Args:
        owned: how many this worker owns.
        others: how many each of the other workers owned when it last said so.
        unowned: how many nobody owns.
    """
    return math.ceil((owned + sum(others) + unowned) / (1 + len(others)))


def to_claim(owned: int, others: Sequence[int], unowned: int, *, room: int, is_urgent: bool) -> int:
    """Return how many assets to claim now.

    Args:
        owned: how many this worker owns.
        others: how many each of the other workers owned when it last said so.
        unowned: how many nobody owns, as far as they were counted.
        room: how many more it may own.
        is_urgent: the first of them has been waiting for long: those who should claim it have no room, or don't know.
    """
    wanted = unowned if is_urgent else fair_share(owned, others, unowned) - owned
    return max(0, min(wanted, unowned, room))


def surplus(owned: int, others: Sequence[int]) -> int:
    """Return how many assets this worker owns beyond its fair share, if that is enough to give them back; else 0."""
    share = fair_share(owned, others, 0)
    return owned - share if owned > SURPLUS * share else 0


LEAST_PORTION: Final = 0.02
"""A worker that owns nothing has this part of an even portion and more: what it accepts next is looked at at once."""


def fair_portion(owned: int, others: Sequence[int]) -> float:
    """Return which portion of the quota is a worker's: that of the assets that it owns, with a floor.

    `owned` is how many this worker owns, `others` how many each of the other workers does.
    """
    total = owned + sum(others)
    count = 1 + len(others)
    floor = LEAST_PORTION / count

    def weight(number: int) -> float:
        return max(number / total, floor) if total else 1.0

    return weight(owned) / (weight(owned) + sum(map(weight, others)))


class Portion:
    """A worker's portion of the quota, from one renewal of its lease to the next.

    At each renewal a worker reads what the others show, and then shows the portion that it asks for: its fair one, as
    far as they leave it. It uses no more than it showed before, than it shows now, and than the others leave. So a
    portion shrinks at once and grows one renewal later, and two that ask at once for the same rest see that before they
    use it: the portions in use never add up to more than 1.
    """

    def __init__(self) -> None:
        self.used = 0.0
        """The portion to use until the next renewal."""
        self.shown = 0.0
        """The one that the others are shown."""

    def renew(self, owned: int, others: Sequence[tuple[int, float]]) -> float:
        """Return the portion to show now.

        `owned` is how many assets this worker owns, `others` how many each of the others does, and what it shows.
        """
        left = max(0.0, 1.0 - sum(portion for _, portion in others))
        shown = min(fair_portion(owned, [each for each, _ in others]), left)
        self.used, self.shown = min(self.shown, shown), shown
        return shown
