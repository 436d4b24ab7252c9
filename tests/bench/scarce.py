"""Detection lag when requests are scarce: 60 a minute with 2,000 assets pending, in virtual time.

One request a second. Either each second retrieves the next asset, round-robin; or a list request shows the 50
assets that are due first, and each asset that it shows done is confirmed by one retrieve, before any other list.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any

from click import echo

from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import WaitState
from tests.bench.workloads import FEATURES, MIXED, AssetClass, Workload
from tests.doubles.optimal_schedule import watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asset_worker.schedule.ports import Schedule

PENDING = 2000
BATCH = 50
Arrival = tuple[float, AssetClass, float]
Run = tuple[list[tuple[float, float]], int]
"""(accepted, lag) of each detected asset, and looks made."""


def steady(workload: Workload, span: float, random: Random) -> list[Arrival]:
    """Arrivals, in seconds, that keep about `PENDING` assets unfinished; those there at the start are under way."""
    rate = PENDING / workload.mean
    arrivals = []
    time = -4 * workload.mean
    while time < span:
        time += random.expovariate(rate)
        asset_class, duration = workload.draw(random)
        if time + duration > 0:
            arrivals.append((time, asset_class, time + duration))
    return arrivals


def burst(workload: Workload, random: Random) -> list[Arrival]:
    """All at once."""
    drawn = [workload.draw(random) for _ in range(PENDING)]
    return [(0.0, asset_class, duration) for asset_class, duration in drawn]


def round_robin(arrivals: list[Arrival], span: float) -> Run:
    """One retrieve a second, in turn."""
    waiting: deque[Arrival] = deque()
    coming = deque(arrivals)
    found = []
    looks = 0
    now = 0.0
    while now < span and (waiting or coming):
        while coming and coming[0][0] <= now:
            waiting.append(coming.popleft())
        if waiting:
            accepted, asset_class, end = waiting.popleft()
            looks += 1
            if end <= now:
                found.append((accepted, now - end))
            else:
                waiting.append((accepted, asset_class, end))
        now += 1
    return found, looks


def batched(arrivals: list[Arrival], span: float, schedule: Schedule, *, confirm: bool = True) -> Run:
    """Lists of those due first, and a retrieve for each that is shown done."""
    due: list[tuple[float, int, int]] = []  # when, asset, looks so far
    doubtful: deque[int] = deque()
    coming = deque(enumerate(arrivals))
    found: list[tuple[float, float]] = []
    looks, now = 0, 0.0
    while now < span and (due or coming or doubtful):
        while coming and coming[0][1][0] <= now:
            index, (accepted, _, _) = coming.popleft()
            heappush(due, (max(accepted, 0.0), index, 0))
        now += 1
        if doubtful:
            accepted, _, end = arrivals[doubtful.popleft()]
            found.append((accepted, now - end))
            continue
        if isinstance(schedule, AdaptiveSchedule) and due and due[0][2]:
            schedule.looked_late(now - due[0][0], since=1.0)
        for _ in range(min(BATCH, len(due))):
            _, index, seen = heappop(due)
            accepted, asset_class, end = arrivals[index]
            looks += 1
            if end <= now:
                if confirm:
                    doubtful.append(index)
                else:
                    found.append((accepted, now - end))
                continue
            look = WaitState(
                attempt_number=seen + 1, age=now - accepted, file_type=asset_class.file_type, method=asset_class.method
            )
            heappush(due, (now + schedule(look), index, seen + 1))
    return found, looks


def taught(workload: Workload, *, maximum: float = 30, looks: float | None = None) -> AdaptiveSchedule:
    """A schedule that has seen 500 assets of the workload."""
    random = Random(1)
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=maximum, looks=looks, uniform=random.random)
    for _ in range(500):
        asset_class, duration = workload.draw(random)
        watch(schedule, duration, learner=schedule, file_type=asset_class.file_type, method=asset_class.method)
    return schedule


def ways(workload: Workload, arrivals: list[Arrival], span: float) -> Iterator[tuple[str, Run]]:
    """Each way of spending the requests, and what it found."""
    yield "retrieves, round-robin", round_robin(arrivals, span)
    yield "batches in turn, confirmed", batched(arrivals, span, lambda _: 30.0)
    yield "batches, adaptive, confirmed", batched(arrivals, span, taught(workload))
    wide = taught(workload, maximum=600, looks=60)
    yield "batches, adaptive up to 600 s, confirmed", batched(arrivals, span, wide)
    yield "batches, adaptive, list believed", batched(arrivals, span, taught(workload), confirm=False)
    yield "bound: perfect foresight, one retrieve each", at_best(arrivals)


def scarce() -> list[dict[str, Any]]:
    """Prints and returns the lag of each way, steadily and for a burst."""
    rows: list[dict[str, Any]] = []
    cases = (
        ("steady", FEATURES, steady(FEATURES, 16000, Random(2)), 16000.0),
        ("burst", MIXED, burst(MIXED, Random(2)), 40000.0),
    )
    echo(f"\n(d) 60 requests a minute, {PENDING} pending: mean lag, seconds")
    for case, workload, arrivals, span in cases:
        first = None
        for name, (found, looks) in ways(workload, arrivals, span):
            # Steadily: those accepted since the start, when what was there then has been sorted out.
            lags = sorted(lag for accepted, lag in found if case == "burst" or accepted > 0)
            mean = sum(lags) / len(lags)
            first = first or mean
            row = {
                "case": f"{case}: {workload.name}",
                "way": name,
                "detected": len(lags),
                "lag": mean,
                "p50": lags[len(lags) // 2],
                "p95": lags[int(len(lags) * 0.95)],
                "looks": looks,
            }
            rows.append(row)
            echo(
                f"{row['case']:40}{name:42}{mean:9.1f}  p50 {row['p50']:7.1f}  p95 {row['p95']:7.1f}"
                f"  x {mean / first:.3f}  ({len(lags)} detected, {looks} looks)"
            )
    return rows


def at_best(arrivals: list[Arrival]) -> Run:
    """The best that one retrieve a second can do: every end is known at once."""
    found = []
    now = 0.0
    for accepted, _, end in sorted(arrivals, key=lambda arrival: arrival[2]):
        now = max(now + 1, end)
        found.append((accepted, now - end))
    return found, len(found)
