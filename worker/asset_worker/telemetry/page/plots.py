"""Plots of the last hour, as the paths of an SVG picture: pure functions of values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor, log10
from typing import Final

import msgspec

from asset_worker.telemetry.history import HOUR, SAMPLE_SECONDS

WIDTH: Final = 600
HEIGHT: Final = 100
_LONGEST_STEP: Final = 3 * SAMPLE_SECONDS
"""Seconds between two values that are still joined. After a longer silence, such as a suspend, there is a gap."""
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)

Value = tuple[float, float | None]
"""Seconds before now, and the value then; None: there was none."""


class Line(msgspec.Struct, frozen=True):
    """One line of a plot."""

    name: str
    style: str
    """Its class in the style sheet."""
    path: str
    """Empty: there are no values."""
    now: str
    """The latest value, in words."""


class Plot(msgspec.Struct, frozen=True):
    """One plot."""

    key: str
    title: str
    top: str
    """The value at the upper edge, in words."""
    lines: Sequence[Line]
    summary: str
    """What it shows, in a sentence, for those who don't see it."""
    since: float
    """From here on (x) there was a worker to observe."""


def rounded_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20 … at or above the value; at least 1."""
    if value <= 1:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next((step * power for step in _STEPS if step * power >= value), ceil(value))


def path_of(values: Iterable[Value], *, top: float) -> str:
    """Return the SVG path through the values, the oldest first; with gaps where there are none."""
    return " ".join(_segments(values, top))


def x_of(ago: float) -> float:
    """Return the horizontal place of an instant, in seconds before now."""
    return round(WIDTH * (1 - min(max(ago / HOUR, 0.0), 1.0)), 1)


def _segments(values: Iterable[Value], top: float) -> Iterator[str]:
    before: float | None = None
    for ago, value in values:
        if value is None:
            before = None
            continue
        place = f"{x_of(ago):g} {round(HEIGHT * (1 - min(value / top, 1.0)), 1):g}"
        # A line of no length is a dot where the line has round ends: a value between two gaps is seen, too.
        joined = before is not None and before - ago <= _LONGEST_STEP
        yield f"L{place}" if joined else f"M{place} h0"
        before = ago
