"""Tables of what a fleet costs, and the estimate that they lead to."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tests.bench.workloads import MIX

Fleet = dict[str, Any]
"""The figures of the section `fleet`."""

DAY: Final = 86_400
ASSETS_A_DAY: Final = 100e6
ORGANISATIONS: Final = 1_000
WORKERS_EACH: Final = 2
DAYS_KEPT: Final = 7
"""A settlement is kept for so long, with the default dedupe window."""
COMMITS_EACH: Final = 7
"""Submitted, accepted, progress, settled; looked at by the sink, delivered; and one read of the inbox."""
STEPS: Final = ("submitted", "accepted from SQL", "progress", "settled", "delivered")
FROM_FILE: Final = ("accepted", "settled", "delivered")
NAMES: Final = {
    "submitted": "submitted in SQL, by the producer",
    "accepted from SQL": "accepted from the inbox",
    "accepted": "accepted from a file",
    "progress": "progress saved",
    "settled": "settled, with its event",
    "delivered": "delivered to a webhook",
    "delivered to a file": "delivered to a file or stdout",
}


class Goal(NamedTuple):
    """A target, what was measured, and whether it is met; None: it has no goal."""

    what: str
    goal: str
    measured: str
    is_met: bool | None


def goals(fleet: Fleet) -> list[Goal]:
    """Each target of a fleet, and what else is compared."""
    rates, ratios = fleet["rates"], fleet["rates"]["ratios"]
    told = [row for row in fleet["limits"] if row["style"] != "none"]
    untold = [row for row in fleet["limits"] if row["style"] == "none"]
    statements = rates["fleet"]["statements_per_look"]
    claimed, left = rates["claimed"], rates["taken_over"]

    def against(what: str, name: str, least: float, figure: str) -> Goal:
        measured = f"{ratios[name]:.3f} ({rates['fleet'][name]:,.0f} / {rates['local'][name]:,.0f}{figure})"
        return Goal(what, f"≥ {least}", measured, ratios[name] >= least)

    def limited(what: str, rows: list[Any], most: float, refused: float) -> Goal:
        ratio, worst = [row["ratio"] for row in rows], max(row["refused"] for row in rows)
        is_met = min(ratio) >= 0.95 and max(ratio) <= most and worst < refused
        measured = f"{min(ratio):.3f}–{max(ratio):.3f} · {100 * worst:.1f} %"
        return Goal(what, f"0.95–{most:.2f} · < {100 * refused:.0f} %", measured, is_met)

    return [
        against("looks per CPU second, by lists, against the local engine", "per_cpu_second", 0.9, ""),
        Goal(
            "a look's turn in the queue alone, per CPU second, against the local engine",
            "–",
            f"{ratios['turns']:.3f} ({rates['fleet']['turns']:,.0f} / {rates['local']['turns']:,.0f})",
            is_met=None,
        ),
        Goal("statements per look", "0", f"{statements:.4f}", statements < 0.001),
        against("accepted per second, by thousands, against the local engine", "accepted", 0.3, ""),
        against("settled per second, by twenties, against the local engine", "settled", 0.2, ""),
        *(
            _requests(fleet, is_taught=taught, has_rate=rate)
            for taught, rate in ((True, False), (False, False), (True, True))
        ),
        limited("4 workers, told quota: accepted / our share · refused", told, 1.01, 0.01),
        limited("4 workers, limit not told: accepted / one worker's · refused", untold, 1.10, 0.03),
        Goal(
            "claimed in a second, of a million · seconds to take over 240,000 (to free them)",
            "–",
            f"{claimed['per_second']:,.0f} · {left['seconds']:.1f} ({left['freed']:.1f})",
            is_met=None,
        ),
    ]


def _requests(fleet: Fleet, *, is_taught: bool, has_rate: bool) -> Goal:
    """The worst of the seeds decides."""
    rows = {
        (row["workers"], row["seed"]): row
        for row in fleet["requests"]
        if (row["is_taught"], row["has_rate"]) == (is_taught, has_rate)
    }
    seeds = sorted({seed for _, seed in rows})
    ratios, lags = ([rows[3, seed][name] / rows[1, seed][name] for seed in seeds] for name in ("requests", "lag"))
    kind = ("taught" if is_taught else "nothing learned") + (", default rate" if has_rate else ", no rate limit")
    what = f"requests, 3 workers against 1, 2,000 pending, {kind} · mean lag"
    measured = f"{_span(ratios)} · {_span(lags)}"
    return Goal(what, "≤ 1.15 · –", measured, max(ratios) <= 1.15)


def _span(values: list[float]) -> str:
    return f"{min(values):.3f}–{max(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def goal_rows(fleet: Fleet) -> list[list[str]]:
    """Rows of the table of targets."""
    verdicts = {True: "met", False: "not met", None: "–"}
    return [[*each[:3], verdicts[each.is_met]] for each in goals(fleet)]


def price_rows(fleet: Fleet) -> list[list[str]]:
    """Rows of the table of steps: for each size of groups, µs of the database, µs of the worker, and bytes."""
    groups = sorted({row["group"] for row in fleet["price"]})
    of = {(row["group"], row["step"]): row for row in fleet["price"]}
    rows = [[shown, *(_price([of[group, step]]) for group in groups)] for step, shown in NAMES.items()]
    return [
        *rows,
        ["an asset from a file to a webhook", *(_price([of[g, each] for each in FROM_FILE]) for g in groups)],
    ]


def _price(rows: list[Any]) -> str:
    names = ("database_us", "worker_us", "wal_bytes")
    return " · ".join(f"{sum(row[name] for row in rows):,.0f}" for name in names)


def estimate_rows(fleet: Fleet) -> list[list[str]]:
    """Rows of the estimate: what, how much, and where it comes from."""
    of = {(row["group"], row["step"]): row for row in fleet["price"]}
    idle, rate, workers = fleet["idle"], ASSETS_A_DAY / DAY, ORGANISATIONS * WORKERS_EACH
    alone = next(row for row in fleet["requests"] if row["workers"] == 1 and row["is_taught"])
    more = max(0.0, alone["progress"] - 1)

    def each(name: str) -> float:
        return float(sum(of[1, step][name] for step in STEPS) + more * of[20, "progress"][name])

    pending = rate * MIX.mean
    cores, idle_cores = rate * each("database_us") / 1e6, workers * idle["database_ms_per_second"] / 1e3
    wal = rate * each("wal_bytes") + workers * idle["wal_bytes_per_second"]
    kept = of[1_000, "settled"]["bytes_kept"]
    commits, idle_commits = rate * COMMITS_EACH, workers * idle["transactions_per_second"]
    connections = workers * idle["connections"]
    worker_cores = workers * idle["worker_ms_per_second"] / 1e3 + rate * each("worker_us") / 1e6
    memory = workers * idle["worker_bytes"] / 1e9
    return [
        [
            "assets · pending, of each organisation",
            f"{rate / ORGANISATIONS:.2f}/s · {pending / ORGANISATIONS:,.0f}",
            f"100 million / 86,400 s / 1,000 · the mix of the benchmarks takes {MIX.mean:.0f} s",
        ],
        [
            "worker processes · their memory",
            f"{workers:,} · {memory:,.0f} GB",
            f"two each · {idle['worker_bytes'] / 1e6:.0f} MB, and {idle['bytes_each']:.0f} bytes for a pending asset",
        ],
        [
            "CPU of the workers",
            f"{worker_cores:.0f} cores",
            f"{idle['worker_ms_per_second']:.1f} ms/s each while idle, and the steps; without requests",
        ],
        [
            "CPU of the database, assets",
            f"{cores:.1f} cores",
            f"{each('database_us') / 1e3:.2f} ms each: the steps alone, progress {alone['progress']:.1f} times",
        ],
        [
            "CPU of the database, idle workers",
            f"{idle_cores:.1f} cores",
            f"{idle['database_ms_per_second']:.2f} ms/s each: claims and inbox four times a second, leases",
        ],
        [
            "write-ahead log",
            f"{wal / 1e6:.1f} MB/s, {wal * DAY / 1e12:.2f} TB a day",
            f"{each('wal_bytes') / 1e3:.1f} kB an asset, {idle['wal_bytes_per_second']:.0f} bytes/s an idle worker",
        ],
        [
            "commits",
            f"{commits:,.0f}/s that write or read for assets, {idle_commits:,.0f}/s of idle workers",
            f"{COMMITS_EACH} an asset, counted in the code; {idle['transactions_per_second']:.1f}/s a worker",
        ],
        [
            "disk",
            f"{DAYS_KEPT * ASSETS_A_DAY * kept / 1e9:,.0f} GB",
            f"settlements of {DAYS_KEPT} days at {kept:.0f} bytes with their indexes; all else is small",
        ],
        [
            "connections without a pooler",
            f"{connections:,.0f}, {connections * idle['backend_bytes'] / 1e9:.0f} GB and more",
            f"{idle['connections']:.0f} a worker, {idle['backend_bytes'] / 1e6:.1f} MB each while idle",
        ],
        [
            "a pooler's connection that has served all",
            f"{ORGANISATIONS * idle['schema_bytes'] / 1e6:,.0f} MB",
            f"it caches the tables of each schema that it has served: {idle['schema_bytes'] / 1e3:.0f} kB",
        ],
    ]
