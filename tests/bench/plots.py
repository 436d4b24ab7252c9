"""Draws what the benchmarks have measured: `python -m tests.bench.plots` writes PNGs beside their JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"
MARKS = {"adaptive": "o-", "exact optimum": "k--", "fixed": "s:", "exponential": "^:", "default": "v:"}


def lag(rows: list[dict[str, Any]]) -> None:
    """Mean detection lag over looks per asset: down and left is better."""
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    figure, axes = plt.subplots(1, len(workloads), figsize=(5 * len(workloads), 4.2))
    for axis, workload in zip(axes, workloads, strict=True):
        ways: dict[str, list[tuple[float, float]]] = {}
        usual = ""
        for row in rows:
            name = row["schedule"]
            usual = usual if name.startswith("  ") else name
            if row["workload"] == workload and "max 300 s" not in name:
                ways.setdefault(_family(name.strip(), usual), []).append((row["looks"], row["lag"]))
        for way, points in sorted(ways.items()):
            style = next((mark for name, mark in MARKS.items() if way.startswith(name)), ".:")
            axis.plot(*zip(*sorted(points), strict=True), style, label=way, markersize=4, linewidth=1)
        axis.set(title=workload, xlabel="looks per asset", xscale="log", yscale="log")
        axis.grid(which="both", alpha=0.2)
    axes[0].set_ylabel("mean detection lag, seconds")
    axes[-1].legend(fontsize=7)
    _save(figure, "lag.png")


def scarce(rows: list[dict[str, Any]]) -> None:
    """Mean lag when sixty requests a minute have to do for two thousand assets."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure, axes = plt.subplots(1, len(cases), figsize=(7 * len(cases), 3))
    for axis, case in zip(axes, cases, strict=True):
        found = [row for row in rows if row["case"] == case]
        bars = axis.barh([row["way"] for row in found], [row["lag"] for row in found])
        axis.bar_label(bars, fmt="%.0f s", fontsize=7)
        axis.invert_yaxis()
        axis.set(title=case, xlabel="mean detection lag, seconds")
        axis.tick_params(axis="y", labelsize=7)
    _save(figure, "scarce.png")


def batches(rows: list[dict[str, Any]]) -> None:
    """Requests for each asset, by what they are for."""
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    figure, axes = plt.subplots(1, len(workloads), figsize=(5.5 * len(workloads), 2.4))
    for axis, workload in zip(axes, workloads, strict=True):
        found = [row for row in rows if row["workload"] == workload]
        ways = [row["way"] for row in found]
        looking, confirming = ([row[part] / row["assets"] for row in found] for part in ("looking", "confirming"))
        axis.barh(ways, looking, label="to look")
        bars = axis.barh(ways, confirming, left=looking, label="to confirm an end that a list has shown")
        axis.bar_label(
            bars, [f"{row['requests'] / row['assets']:.2f}, lag {row['lag']:.1f} s" for row in found], fontsize=7
        )
        axis.invert_yaxis()
        axis.set(title=workload, xlabel="requests for each asset", xlim=(0, 1.45 * max(looking)))
    axes[-1].legend(fontsize=7)
    _save(figure, "batches.png")


def costs(found: dict[str, dict[str, float]]) -> None:
    """Looks per CPU second, and memory for each pending asset."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 2.6))
    titles = {"requests": "looks per CPU second", "memory": "resident bytes for each pending asset"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        bars = axis.barh(list(found[name]), list(found[name].values()))
        axis.bar_label(bars, fmt="%.0f", fontsize=7)
        axis.invert_yaxis()
        axis.set(title=title)
    _save(figure, "costs.png")


def _family(name: str, usual: str) -> str:
    """One line in the plot for a schedule at all its scales; `usual` is the one that a scaled one belongs to."""
    if "optimum" in name:
        return "exact optimum"
    return "adaptive" if name.startswith("adaptive") else usual


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(RESULTS / name, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Draw all there is."""
    mpl.use("Agg")
    found = json.loads((RESULTS / "lag.json").read_text())
    lag(found["lag"])
    scarce(found["scarce"])
    batches(json.loads((RESULTS / "batches.json").read_text()))
    costs(json.loads((RESULTS / "costs.json").read_text()))


if __name__ == "__main__":
    main()
