"""Reports to people what an adaptive schedule has learned: rows of figures, and plain text to print."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from asset_worker.runtime.text import visible
from asset_worker.schedule.life_table import BINS, EDGES, quantile, survival_bounds, survival_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asset_worker.schedule.adaptive import AdaptiveSchedule
    from asset_worker.schedule.classes import AssetClass

_BARS: Final = " ▁▂▃▄▅▆▇█"
_MARK: Final = "▲"
_PERCENTILES: Final = (0.1, 0.5, 0.9, 0.99)


Interval = tuple[float, float | None]
"""The lower and the upper bound of a duration, in seconds."""


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
    p50_interval: Interval
    """Between these two, the true value lies with a probability of 95 %; None: so few ends were seen that there is no
    upper bound."""
    p90_interval: Interval
    p99_interval: Interval
    looks: float
    """The expected number of looks at one asset, the first included."""
    requests: float
    """The expected number of requests for them, at what a look costs now."""
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
        lower, upper = survival_bounds(planned.rates, schedule.waits_of(key[0]))
        p50_interval, p90_interval, p99_interval = (
            _interval(share, lower, upper, planned.seen_until) for share in _PERCENTILES[1:]
        )
        p10, p50, p90, p99 = (quantile(share, survival) for share in _PERCENTILES)
        found.append(
            Row(
                name=str(key[0]),
                evidence=evidence,
                p10=p10,
                p50=p50,
                p90=p90,
                p99=p99,
                p50_interval=p50_interval,
                p90_interval=p90_interval,
                p99_interval=p99_interval,
                looks=1 + planned.plan.looks,
                requests=(1 + planned.plan.looks) * schedule.requests_per_look,
                lag=planned.plan.lag,
                first_looks=planned.plan.first_looks(looks),
                density=[start - end for start, end in pairwise(survival)],
            )
        )
    return found


class Brief(msgspec.Struct, frozen=True):
    """What was learned of one class, in short. Durations are seconds."""

    name: str
    """Step, file type and upload method."""
    evidence: float
    """The number of ends seen, with decay."""
    p50: float
    """The duration within which half of all waits end."""
    p90: float
    p99: float
    looks: float | None
    """The expected number of looks at one asset, the first included; None: no plan was needed yet."""
    lag: float | None
    """The expected time from the end to its detection; None: no plan was needed yet."""


def briefs(schedule: AdaptiveSchedule, *, most: int) -> list[Brief]:
    """Return the classes with the most ends, at most `most`. Nothing is planned for that: it is quick at any time."""
    most_seen = sorted(schedule.evidence().items(), key=lambda each: -each[1])[:most]
    return [_brief(schedule, key, evidence) for key, evidence in most_seen if evidence > 0]


def _brief(schedule: AdaptiveSchedule, key: tuple[AssetClass, ...], evidence: float) -> Brief:
    estimate, planned = schedule.estimate_of(key[0]), schedule.present_plan(key)
    return Brief(
        str(key[0]),
        evidence,
        quantile(0.5, estimate.survival),
        estimate.p90,
        estimate.p99,
        None if planned is None else 1 + planned.looks,
        None if planned is None else planned.lag,
    )


def table(found: Sequence[Row]) -> str:
    """Return the rows as text: a heading, and a line for each row."""
    if not found:
        return "Nothing learned yet: new assets are looked at as by `exponential`."
    heads = ["class", "seen", "p50", "p90", "p99", "looks", "requests", "lag", "looks at"]
    lines = [heads]
    for row in found:
        percentiles = ((row.p50, row.p50_interval), (row.p90, row.p90_interval), (row.p99, row.p99_interval))
        lines.append(
            [
                visible(row.name),
                f"{row.evidence:.0f}",
                *(f"{seconds_text(value)} {_interval_text(interval)}" for value, interval in percentiles),
                f"{row.looks:.1f}",
                f"{row.requests:.2f}",
                seconds_text(row.lag),
                " ".join(seconds_text(age) for age in row.first_looks),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:-1], widths[1:-1]), line[-1]]) for line in lines
    )


def plot(row: Row, *, width: int = 72) -> str:
    """Return the density as bars over a logarithmic scale of age, and marks for the first looks.

    It has at most `width` columns.
    """
    first = next((i for i, share in enumerate(row.density) if share > 0.002), 0)
    last = next((i for i in range(BINS - 1, -1, -1) if row.density[i] > 0.002), BINS - 1)
    bins_each = -(-(last + 1 - first) // width)
    columns = [sum(row.density[i : i + bins_each]) for i in range(first, last + 1, bins_each)]
    highest = max(columns)
    bars = "".join(_BARS[-(-round(8000 * share / highest) // 1000)] if highest > 0 else " " for share in columns)
    marks = [" "] * len(columns)
    for age in row.first_looks:
        index = next((i for i in range(len(columns)) if age < EDGES[min(first + (i + 1) * bins_each, BINS)]), None)
        if index is not None and age >= EDGES[first]:
            marks[index] = _MARK
    start, end = seconds_text(EDGES[first]), seconds_text(EDGES[min(first + len(columns) * bins_each, BINS)])
    scale = start + end.rjust(max(len(columns) - len(start), len(end) + 1))
    return "\n".join([f"{visible(row.name)}: {row.evidence:.0f} seen", bars, "".join(marks).rstrip(), scale])


def _interval(share: float, lower: Sequence[float], upper: Sequence[float], seen_until: float) -> Interval:
    """Return the interval of a percentile. Beyond the ages at which waits were seen, nothing shows an upper bound."""
    highest = quantile(share, upper)
    return quantile(share, lower), highest if highest < seen_until else None


def _interval_text(interval: Interval) -> str:
    low, high = interval
    return f"({seconds_text(low)} or more)" if high is None else f"({seconds_text(low)}-{seconds_text(high)})"


def seconds_text(duration: float) -> str:
    """Return a duration for people, such as `1.5s`, `12m` or `2.0h`."""
    if duration < 100:
        return f"{duration:.1f}s"
    if duration < 5970:
        return f"{duration / 60:.0f}m" if duration >= 600 else f"{duration:.0f}s"
    return f"{duration / 3600:.1f}h"
