"""Looks and detection lag: the adaptive schedule against the usual ones and against the exact optimum.

`python -m tests.bench.lag` prints tables and writes `tests/bench/results/lag.json`. All in virtual time: durations are
quantiles of known distributions, so the figures carry no noise but the schedules' own jitter.
"""

from __future__ import annotations

import json
from functools import partial
from math import sqrt
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from click import echo

from asset_worker.schedule.adaptive import FLOOR, AdaptiveSchedule
from asset_worker.schedule.waits import exponential, fixed, from_tenacity
from tests.bench.scarce import scarce
from tests.bench.workloads import CLIPS, IMAGES, MIXED, AssetClass, Workload
from tests.doubles.optimal_schedule import best_ages, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asset_worker.schedule.ports import Schedule

RESULTS = Path(__file__).parent / "results" / "lag.json"
COMPLETIONS = 500
QUANTILE_STEP = 5
Row = dict[str, Any]


def _even(value: float) -> Schedule:
    return from_tenacity(fixed(interval=value, uniform=lambda: 0.0))


def _growing(initial: float, multiplier: float, maximum: float) -> Schedule:
    return from_tenacity(exponential(initial=initial, multiplier=multiplier, maximum=maximum, uniform=lambda: 0.0))


# Each by a scale of all its delays, 1 as it is known.
COMPETITORS: dict[str, Callable[[float], Schedule]] = {
    "fixed 5 s": lambda scale: _even(5 * scale),
    "exponential 1 s x2 to 60 s": lambda scale: _growing(scale, 2, 60 * scale),
    "exponential 1 s x1.5 to 20 s": lambda scale: _growing(scale, 1.5, 20 * scale),
    "default 2 s x1.5 to 30 s": lambda scale: _growing(2 * scale, 1.5, 30 * scale),
}


def summary(found: list[tuple[float, int, float]]) -> Row:
    """Means and quantiles of (weight, looks, lag)."""
    total = sum(weight for weight, _, _ in found)
    by_lag = sorted((lag, weight) for weight, _, lag in found)

    def quantile(share: float) -> float:
        left = share * total
        for lag, weight in by_lag:
            left -= weight
            if left <= 0:
                return lag
        return by_lag[-1][0]

    return {
        "looks": sum(weight * looks for weight, looks, _ in found) / total,
        "lag": sum(weight * lag for weight, _, lag in found) / total,
        "p50": quantile(0.5),
        "p95": quantile(0.95),
    }


def _assets(workload: Workload) -> Iterator[tuple[AssetClass, float]]:
    for asset_class in workload.classes:
        for duration in asset_class.durations.quantiles[QUANTILE_STEP // 2 :: QUANTILE_STEP]:
            yield asset_class, duration


def measure(schedule: Schedule, workload: Workload) -> Row:
    """What a schedule does on a workload."""
    return summary(
        [
            (asset_class.share, *watch(schedule, duration, file_type=asset_class.file_type, method=asset_class.method))
            for asset_class, duration in _assets(workload)
        ]
    )


def measure_scaled(workload: Workload, scaled: Callable[[float], Schedule], scale: float) -> Row:
    """What a competitor does with all its delays scaled."""
    return measure(scaled(scale), workload)


def measure_best(workload: Workload, ceiling: float, price: float) -> Row:
    """What the exact optimum does at this price of a look, each class of assets with its own best looks."""
    found = []
    for asset_class in workload.classes:
        ages = best_ages(asset_class.durations, price, floor=FLOOR, ceiling=ceiling)
        for duration in asset_class.durations.quantiles[QUANTILE_STEP // 2 :: QUANTILE_STEP]:
            index = next(i for i, age in enumerate(ages) if age >= duration)
            found.append((asset_class.share, index + 1, ages[index] - duration))
    return summary(found)


def taught(workload: Workload, *, maximum: float = 30, looks: float | None = None, seed: int = 1) -> AdaptiveSchedule:
    """A schedule that has seen `COMPLETIONS` assets of the workload."""
    random = Random(seed)
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=maximum, looks=looks, uniform=random.random)
    for _ in range(COMPLETIONS):
        asset_class, duration = workload.draw(random)
        watch(schedule, duration, learner=schedule, file_type=asset_class.file_type, method=asset_class.method)
    return schedule


def matched(run: Callable[[float], Row], goal: float, *, by: str, low: float, high: float) -> Row:
    """The row of `run` at the scale between `low` and `high` where `by` is closest to `goal`.

    Looks fall and lag grows with the scale.
    """
    falling = by == "looks"
    closest = None
    for _ in range(12):
        middle = sqrt(low * high)
        row = run(middle)
        if closest is None or abs(row[by] - goal) < abs(closest[by] - goal):
            closest = row
        if (row[by] > goal) == falling:
            low = middle
        else:
            high = middle
    assert closest is not None
    return closest


def at_price(schedule: AdaptiveSchedule, workload: Workload) -> Callable[[float], Row]:
    """What a taught schedule does with another price of a look."""

    def run(price: float) -> Row:
        schedule.price = price
        return measure(schedule, workload)

    return run


PRICES = {"low": 0.005, "high": 500.0}


def compare(workload: Workload) -> list[Row]:
    """All schedules on one workload: as they stand, and the adaptive one at equal requests and at equal lag."""
    rows: list[Row] = []

    def note(name: str, row: Row, **more: Any) -> Row:
        rows.append({"workload": workload.name, "schedule": name, **row, **more})
        return row

    adaptive = taught(workload)
    own = note("adaptive (looks: auto)", measure(adaptive, workload), price=adaptive.price)
    price = adaptive.price
    best = note("  exact optimum at its price", measure_best(workload, 30, price), price=price)
    rows[-2]["cost_ratio"] = (price * own["looks"] + own["lag"]) / (price * best["looks"] + best["lag"])
    for looks in (4, 8, 16):
        knob = taught(workload, looks=looks)
        note(f"adaptive (looks: {looks})", measure(knob, workload), price=knob.price)
    wide = taught(workload, maximum=300)
    variants = {"max 30 s": (at_price(adaptive, workload), 30.0), "max 300 s": (at_price(wide, workload), 300.0)}
    for name, scaled in COMPETITORS.items():
        row = note(name, measure(scaled(1), workload))
        for variant, (run, ceiling) in variants.items():
            equal = matched(run, row["looks"], by="looks", **PRICES)
            note(f"  adaptive, {variant}, equal requests", equal, lag_ratio=equal["lag"] / row["lag"])
            bound = matched(partial(measure_best, workload, ceiling), row["looks"], by="looks", **PRICES)
            note(f"  optimum, {variant}, equal requests", bound, lag_ratio=bound["lag"] / row["lag"])
            equal = matched(run, row["lag"], by="lag", **PRICES)
            note(f"  adaptive, {variant}, equal lag", equal, looks_ratio=equal["looks"] / row["looks"])
        tuned = matched(partial(measure_scaled, workload, scaled), own["looks"], by="looks", low=0.05, high=50)
        note("  scaled to adaptive's requests", tuned, lag_ratio=own["lag"] / tuned["lag"])
    return rows


def show(rows: list[Row]) -> None:
    """Prints rows as a table."""
    echo(f"{'':44}{'looks':>8}{'mean lag':>10}{'p50':>8}{'p95':>8}  ratio")
    for row in rows:
        ratios = [
            f"{key.split('_')[0]} x {row[key]:.2f}" for key in ("lag_ratio", "looks_ratio", "cost_ratio") if key in row
        ]
        figures = f"{row['looks']:8.2f}{row['lag']:10.2f}{row['p50']:8.2f}{row['p95']:8.2f}"
        echo(f"{row['schedule']:44}{figures}  {' '.join(ratios)}")


def main() -> None:
    """Runs (c) and (d)."""
    results: list[Row] = []
    for workload in (IMAGES, CLIPS, MIXED):
        echo(f"\n(c) {workload.name}: mean duration {workload.mean:.1f} s, after {COMPLETIONS} completions")
        rows = compare(workload)
        show(rows)
        results += rows
    limited = scarce()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"lag": results, "scarce": limited}, indent=1))
    echo(f"\n{RESULTS}")


if __name__ == "__main__":
    main()
