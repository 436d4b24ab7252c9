"""Tables from what was measured: `python -m tests.bench.report` prints them and renews those in the documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from click import echo

from tests.bench.fleet.report import estimate_rows, goal_rows, price_rows
from tests.bench.grid import COMPETITORS, MANY, PENDING

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "bench.json"
SHOWN_PENDING = 2000
LAG_BEFORE = 4.2
"""Seconds: the mean lag of the mix without a rate limit, as measured with the last version that priced looks."""
WORKER = {
    ("off", True): 'worker, `poll.batch = "off"`',
    ("confirm", True): 'worker, `poll.batch = "confirm"`',
    ("auto", False): "worker, defaults, nothing learned yet",
    ("auto", True): "worker, defaults",
}
BARS = {"SDK loop, each 5 s": "SDK loop", "exponential, 1 s ×2 to 60 s": "exponential", WORKER["auto", True]: "worker"}


class Target(NamedTuple):
    """One of the targets that were set for the mix with 2,000 pending assets, taught, unless it says otherwise."""

    what: str
    before: str
    goal: str
    measured: str
    is_met: bool


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def ways(found: dict[str, Any], workload: str, pending: int) -> dict[str, dict[str, Any]]:
    """The rows for a workload, by what people call the way."""
    alone = {row["way"]: row for row in _flat(found["competitors"]) if row["workload"] == workload}
    own = {
        WORKER[row["way"], row["taught"]]: row
        for row in found["grid"]
        if (row["workload"], row["pending"]) == (workload, pending) and (row["way"], row["taught"]) in WORKER
    }
    return {name: row for name in (*COMPETITORS, *WORKER.values()) if (row := alone.get(name) or own.get(name))}


def cost_table(found: dict[str, Any]) -> list[str]:
    """Requests for each asset, mean lag and its 95th percentile, by the number of pending assets."""
    counts = (*PENDING, MANY)
    by_count = {count: ways(found, "mix", count) for count in counts}
    rows = [
        [name, *(_cell(by_count[count][name]) if name in by_count[count] else "" for count in counts)]
        for name in by_count[SHOWN_PENDING]
    ]
    return table(["strategy", *(f"{count:,} pending" for count in counts)], rows)


def short_table(found: dict[str, Any]) -> list[str]:
    """The same for `SHOWN_PENDING` alone, in columns."""
    rows = [
        [name, *(f"{row[key]:.1f}" for key in ("requests", "lag", "p95"))]
        for name, row in ways(found, "mix", SHOWN_PENDING).items()
    ]
    return table(["strategy", "requests per asset", "mean lag, s", "p95 lag, s"], rows)


def webhook_table(found: dict[str, Any]) -> list[str]:
    """What deliveries cost, how late they are, and what other receivers change about that."""
    price, alone, beside = (found["webhooks"][name] for name in ("price", "lag", "lag_beside_dead"))
    rows = [
        ["events delivered per CPU second of the worker", f"{price['events_per_cpu_second']:,.0f}", "–"],
        ["from settled to received: median · 99th percentile", _milliseconds(alone), "–"],
        ["the same beside a receiver that never answers", _milliseconds(beside), "–"],
        ["mean with such a receiver / without", f"{beside['ratio']:.2f}", "≤ 1.1"],
        *(
            [
                f"events per second to a receiver that takes 200 ms, `concurrency` {row['concurrency']}",
                f"{row['events_per_second']:.0f}, {row['share']:.2f} of what is possible",
                "≥ 0.8",
            ]
            for row in found["webhooks"]["slow"]
        ),
    ]
    return table(["what", "measured", "goal"], rows)


def fleet_tables(found: dict[str, Any]) -> dict[str, list[str]]:
    """The tables of `docs/fleet-sizing.md`, by their headings."""
    fleet = found["fleet"]
    return {
        "## Measured": table(["what", "goal", "measured", ""], goal_rows(fleet)),
        "## What an asset costs": table(["step", "one at a time", "by twenties", "by thousands"], price_rows(fleet)),
        "## Sizing": table(["what", "estimate", "from"], estimate_rows(fleet)),
    }


def _milliseconds(row: dict[str, Any]) -> str:
    return f"{1000 * row['p50']:.0f} ms · {1000 * row['p99']:.0f} ms"


def bars(found: dict[str, Any]) -> list[str]:
    """Requests for each asset as bars of text."""
    width = max(map(len, BARS.values())) + 2
    shown = {BARS[name]: row["requests"] for name, row in ways(found, "mix", SHOWN_PENDING).items() if name in BARS}
    return [
        "requests per asset",
        *(f"{name.ljust(width)}{'█' * round(float(f'{each:.1f}'))} {each:.1f}" for name, each in shown.items()),
    ]


def targets(found: dict[str, Any]) -> list[Target]:
    """Each target, with the figure and whether it is met."""
    one = dict(found["situations"])
    scarce = {
        (row["case"].partition(" ")[0].rstrip(","), row["way"].partition(",")[0]): row["lag"] for row in found["scarce"]
    }
    cpu = {row["way"]: row["cpu"] for row in found["cpu"]}
    default = ways(found, "mix", SHOWN_PENDING)[WORKER["auto", True]]
    free = one["no rate, auto"]
    cheap = min(
        (row for name, row in one.items() if name.startswith("no rate, ") and name.endswith("looks")),
        key=lambda row: (row["lag"] > LAG_BEFORE, row["requests"]),
    )
    bursts = [one["burst, 1 shapes"], one["burst, 10 shapes"]]
    ratio = {case: scarce[case, "auto"] / scarce[case, "retrieves"] for case in ("burst", "steady")}
    alone = max(value for name, value in one.items() if name.startswith("alone"))
    stuck = {name.removeprefix("stuck, taught "): value for name, value in one.items() if name.startswith("stuck")}
    worst = max(stuck, key=lambda name: stuck[name])
    after, without = one["upload after 60"], one["upload after 0"]
    optimum = max(value for name, value in one.items() if name.startswith("optimum"))
    share = cpu["worker, auto"] / cpu["bare retrieve loop"]

    def both(row: dict[str, Any]) -> str:
        return f"{row['requests']:.2f} · {row['lag']:.2f} s"

    def good(row: dict[str, Any]) -> bool:
        return bool(row["requests"] <= 1.5 and row["lag"] <= 1.0)

    return [
        Target(
            "requests per asset · mean lag, defaults", "1.4 · 4.4 s", "≤ 1.5 · ≤ 1.0 s", both(default), good(default)
        ),
        Target("the same without a rate limit", "1.3 · 4.2 s", "≤ 1.5 · ≤ 1.0 s", both(free), good(free)),
        Target(
            f"requests per asset at the lag of before ({LAG_BEFORE} s), no rate limit",
            "1.3",
            "≤ 0.5",
            both(cheap),
            cheap["requests"] <= 0.5 and cheap["lag"] <= LAG_BEFORE,
        ),
        Target(
            "burst of 400 finished assets, until the last event, 1 and 10 shapes",
            "41 s",
            "≤ 5 s",
            " and ".join(f"{each:.1f} s" for each in bursts),
            max(bursts) <= 5,
        ),
        Target(
            "burst of 2,000 under 60/min, lag / round-robin",
            "0.857",
            "≤ 0.04",
            f"{ratio['burst']:.4f}",
            ratio["burst"] <= 0.04,
        ),
        Target(
            "steady films under 60/min, lag / round-robin",
            "0.032",
            "≤ 0.02",
            f"{ratio['steady']:.4f}",
            ratio["steady"] <= 0.02,
        ),
        Target("one asset alone: looks, at the lag of before", "1 ×", "≤ 1.02 ×", f"{alone:.3f} ×", alone <= 1.02),
        Target(
            "stuck asset after any teaching / untaught",
            "36 ×",
            "≤ 1.5 ×",
            f"{stuck[worst] / stuck['None']:.2f} × ({stuck[worst]} requests, taught {worst})",
            stuck[worst] <= 1.5 * stuck["None"],
        ),
        Target(
            "upload after a finished library / without",
            "19 ×",
            "≤ 1.2 ×",
            f"{after / without:.2f} × ({after:.1f})",
            after <= 1.2 * without,
        ),
        Target(
            "CPU per completed asset, equal lag / bare retrieve loop", "–", "≤ 1/5", f"1/{1 / share:.1f}", share <= 0.2
        ),
        Target("cost against the exact optimum, taught", "1.03 ×", "≤ 1.05 ×", f"{optimum:.3f} ×", optimum <= 1.05),
    ]


def show(found: dict[str, Any]) -> None:
    """Print everything that was measured, and the targets if all of it was."""
    for name, rows in found.items():
        if name == "fleet":
            continue
        echo(f"\n{name}")
        for row in _flat(rows) if isinstance(rows, list) else [rows]:
            echo("  " + "  ".join(_figures(row)))
    if "webhooks" in found:
        echo("\n" + "\n".join(webhook_table(found)))
    if "fleet" in found:
        for heading, lines in fleet_tables(found).items():
            echo("\n" + "\n".join([heading, *lines]))
    if {"grid", "situations", "scarce", "cpu"} <= found.keys() and "auto" in {row["way"] for row in found["grid"]}:
        head = ["target", "before", "goal", "measured", ""]
        rows = [[*each[:4], "met" if each.is_met else "not met"] for each in targets(found)]
        echo("\ntargets\n" + "\n".join(table(head, rows)))


def renew(path: Path, heading: str, lines: list[str], *, begins: str, ends: str | None = None) -> None:
    """Replace the first block after a heading that begins with this text.

    It is as long as its lines begin with it, or reaches to `ends`; the first line of such a block stays.
    """
    text = path.read_text().splitlines()
    start = text.index(heading)
    first = next(place for place in range(start, len(text)) if text[place].startswith(begins))
    if ends is None:
        last = next(place for place in range(first, len(text)) if not text[place].startswith(begins))
    else:
        first += 1
        last = text.index(ends, first)
    path.write_text("\n".join([*text[:first], *lines, *text[last:]]) + "\n")


def main() -> None:
    """Print all tables, and renew those of the documents."""
    found = json.loads(RESULTS.read_text())
    show(found)
    renew(ROOT / "docs/polling.md", "## What it costs", cost_table(found), begins="|")
    renew(ROOT / "docs/webhooks.md", "## Measured", webhook_table(found), begins="|")
    for heading, lines in fleet_tables(found).items():
        renew(ROOT / "docs/fleet-sizing.md", heading, lines, begins="|")
    renew(ROOT / "README.md", "## What polling costs", short_table(found), begins="|")
    renew(ROOT / "README.md", "## What polling costs", bars(found), begins="```text", ends="```")


def _flat(rows: list[Any]) -> list[Any]:
    return [
        each for row in rows for each in (row if isinstance(row, list) and row and isinstance(row[0], dict) else [row])
    ]


def _cell(row: dict[str, Any]) -> str:
    return f"{row['requests']:.2f} · {row['lag']:.1f} ({row['p95']:.1f})"


def _figures(row: Any) -> list[str]:
    if isinstance(row, dict):
        return [f"{key} {_figure(value)}" for key, value in row.items()]
    return [str(row[0]), *(_figures(row[1]) if isinstance(row[1], dict) else [_figure(row[1])])]


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
