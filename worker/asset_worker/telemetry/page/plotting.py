"""Which plots the status page has, and what they show: a pure function of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from asset_worker.telemetry import words
from asset_worker.telemetry.history import HOUR, SAMPLE_SECONDS, Interval, Sample, intervals
from asset_worker.telemetry.page.plots import Line, Plot, Value, path_of, rounded_up, x_of

AXIS: Final = (HOUR, HOUR / 2, 0.0)
"""The instants that are named below the plots, in seconds before now."""


class Plots(msgspec.Struct, frozen=True):
    """The plots of the last hour."""

    each: Sequence[Plot]
    observed: str
    """For how long the worker has been observed; empty: for the whole hour."""


class _Series(msgspec.Struct, frozen=True):
    name: str
    style: str
    values: Sequence[Value]


def plots_of(samples: Sequence[Sample], *, bounds: Sequence[float]) -> Plots:
    """Return the plots. `bounds` are the upper bounds of the buckets of detection lags, in seconds."""
    present = samples[-1].at if samples else 0.0
    covered = present - samples[0].at if samples else 0.0
    found = intervals(samples, bounds=bounds)

    def series(name: str, style: str, value_of: Callable[[Interval], float | None]) -> _Series:
        return _Series(name, style, [(present - each.end, value_of(each)) for each in found])

    lags = [
        series("p50", "first", lambda each: each.lag_p50),
        series("p95", "second", lambda each: each.lag_p95),
    ]
    completions = series("", "first", lambda each: each.completions)
    requests = series("", "first", lambda each: each.requests)
    pending = _Series("", "first", [(present - each.at, each.pending) for each in samples])
    since = x_of(covered)
    return Plots(
        [
            _plot("lag", "Detection lag", lags, since, _seconds),
            _plot("completions", "Completions per minute", [completions], since, _count),
            _plot("requests", "Requests per minute", [requests], since, _count),
            _plot("pending", "Pending assets", [pending], since, _count),
        ],
        "" if covered >= HOUR - 2 * SAMPLE_SECONDS else words.duration(covered),
    )


def _plot(key: str, title: str, shown: Sequence[_Series], since: float, in_words: Callable[[float], str]) -> Plot:
    present = [value for each in shown for _, value in each.values if value is not None]
    highest = max(present, default=0.0)
    top = rounded_up(highest)
    lines = [Line(each.name, each.style, path_of(each.values, top=top), _latest(each, in_words)) for each in shown]
    latest = ", ".join(f"{each.name} {each.now}".strip() for each in lines)
    summary = (
        f"{title}: now {latest}; at most {in_words(highest)} in the last hour." if present else f"{title}: none yet."
    )
    return Plot(key, title, in_words(top), lines, summary, since)


def _latest(series: _Series, in_words: Callable[[float], str]) -> str:
    """Return the latest value, in words: a lag may be known of earlier intervals alone."""
    latest = next((value for _, value in reversed(series.values) if value is not None), None)
    return "–" if latest is None else in_words(latest)


def _seconds(value: float) -> str:
    return words.precise_duration(value) if value < 9.95 else words.duration(value)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
