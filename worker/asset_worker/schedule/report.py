"""Reports to people what an adaptive schedule has learned: rows of figures, and plain text to print."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from asset_worker.runtime.text import visible
from asset_worker.schedule.life_table import BINS, EDGES, quantile, survival_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asset_worker.schedule.adaptive import AdaptiveSchedule

_BARS: Final = " ▁▂▃▄▅▆▇█"
_MARK: Final = "▲"
_PERCENTILES: Final = (0.1, 0.5, 0.9, 0.99)


class Row(msgspec.Struct, frozen=True):
    """What was learned of one class, and what it means for a new asset. Durations and ages are seconds."""

    name: str
    """Step, file type and upload method."""
    evidence: float
    """The number of ends seen, with decay."""
    p10: float
    """The duration within which a tenth of all waits end."""
    p50: float
    p90: float
    p99: float
    looks: float
    """The expected number of looks at one asset, the first included."""
    lag: float
    """The expected time from the end to its detection."""
    first_looks: list[float]
    """The ages of the first looks at a new asset."""
    density: list[float]
    """The share of waits that end in each bin of age."""


def rows(schedule: AdaptiveSchedule, *, looks: int = 12) -> list[Row]:
    """Return a row for each class seen, the one with the most ends first. `looks` is the length of `first_looks`."""
    found = []
    for key, evidence in sorted(schedule.evidence().items(), key=lambda each: -each[1]):
        planned = schedule.plan_for(key)
        survival = survival_from(planned.rates)
        p10, p50, p90, p99 = (quantile(share, survival) for share in _PERCENTILES)
        found.append(
            Row(
                name=str(key[0]),
                evidence=evidence,
                p10=p10,
                p50=p50,
                p90=p90,
                p99=p99,
                looks=1 + planned.plan.looks,
                lag=planned.plan.lag,
                first_looks=planned.plan.first_looks(looks),
                density=[start - end for start, end in pairwise(survival)],
            )
        )
    return found


def table(found: Sequence[Row]) -> str:
    """Return the rows as text: a heading, and a line for each row."""
    if not found:
        return "Nothing learned yet: new assets are looked at as by `exponential`."
    names = [visible(row.name) for row in found]
    width = max(len("class"), *map(len, names))
    heads = ("seen", "p10", "p50", "p90", "p99", "looks", "lag")
    lines = ["class".ljust(width) + "".join(head.rjust(8) for head in heads) + "  looks at"]
    for name, row in zip(names, found, strict=True):
        durations = (_seconds(each) for each in (row.p10, row.p50, row.p90, row.p99))
        figures = (f"{row.evidence:.0f}", *durations, f"{row.looks:.1f}", _seconds(row.lag))
        times = " ".join(_seconds(age) for age in row.first_looks)
        lines.append(name.ljust(width) + "".join(figure.rjust(8) for figure in figures) + "  " + times)
    return "\n".join(lines)


def plot(row: Row, *, width: int = 72) -> str:
    """Return the density as bars over a logarithmic scale of age, and marks for the first looks.

    It has at most `width` columns.
    """
    first = next((i for i, share in enumerate(row.density) if share > 0.002), 0)
    last = next((i for i in range(BINS - 1, -1, -1) if row.density[i] > 0.002), BINS - 1)
    bins_each = max(1, -(-(last + 1 - first) // width))
    columns = [sum(row.density[i : i + bins_each]) for i in range(first, last + 1, bins_each)]
    highest = max(columns)
    bars = "".join(_BARS[-(-round(8000 * share / highest) // 1000)] if highest > 0 else " " for share in columns)
    marks = [" "] * len(columns)
    for age in row.first_looks:
        index = next((i for i in range(len(columns)) if age < EDGES[min(first + (i + 1) * bins_each, BINS)]), None)
        if index is not None and age >= EDGES[first]:
            marks[index] = _MARK
    start, end = _seconds(EDGES[first]), _seconds(EDGES[min(first + len(columns) * bins_each, BINS)])
    scale = start + end.rjust(max(len(columns) - len(start), len(end) + 1))
    return "\n".join([f"{visible(row.name)}: {row.evidence:.0f} seen", bars, "".join(marks).rstrip(), scale])


def _seconds(duration: float) -> str:
    if duration < 100:
        return f"{duration:.1f}s"
    if duration < 5970:
        return f"{duration / 60:.0f}m" if duration >= 600 else f"{duration:.0f}s"
    return f"{duration / 3600:.1f}h"
