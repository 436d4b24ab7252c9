"""Draws what was measured: `python -m tests.bench.plots` writes three PNGs beside the figures."""

from __future__ import annotations

import json
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

from tests.bench.grid import COMPETITORS, MANY, PENDING
from tests.bench.report import RESULTS, WORKER, ways
from tests.bench.workloads import WORKLOADS

STYLES = dict(zip((*COMPETITORS, *WORKER.values()), ("ks", "kD", "o:", "o--", "^-.", "^-"), strict=True))


def grid(found: dict[str, Any]) -> None:
    """Mean lag over requests for each asset, for some numbers of pending assets: down and left is better."""
    figure, axes = plt.subplots(1, len(WORKLOADS), figsize=(5 * len(WORKLOADS), 4.4))
    for axis, workload in zip(axes, WORKLOADS, strict=True):
        points: dict[str, list[tuple[int, float, float]]] = {}
        for count in (*PENDING, MANY):
            for way, row in ways(found, workload, count).items():
                points.setdefault(way, []).append((count, row["requests"], row["lag"]))
        for way, style in STYLES.items():
            shown = [each for each in points.get(way, []) if way not in COMPETITORS or each[0] == 1]
            requests, lags = ([each[part] for each in shown] for part in (1, 2))
            axis.plot(requests, lags, style, label=way, markersize=4, linewidth=1)
            if way not in COMPETITORS:
                for count, at, lag in shown:
                    axis.annotate(f"{count:,}", (at, lag), fontsize=6, xytext=(3, 3), textcoords="offset points")
        axis.set(title=workload, xlabel="requests per asset", xscale="log", yscale="log")
        axis.grid(which="both", alpha=0.2)
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("mean lag, seconds")
    axes[-1].legend(fontsize=6)
    _save(figure, "lag.png")


def hard_times(found: dict[str, Any]) -> None:
    """The lag when requests are scarce; requests and lag when assets or lists are not as they were."""
    figure, axes = plt.subplots(1, 3, figsize=(17, 4.4))
    labels = [f"{row['case']}: {row['way']}" for row in found["scarce"]]
    _bars(axes[0], labels, [row["lag"] for row in found["scarce"]], "%.1f s")
    axes[0].set(title="sixty requests a minute: mean lag, seconds", xscale="log")
    rows = found["robustness"]
    names = [_name(row) for row in rows]
    _bars(axes[1], names, [row["requests"] for row in rows], "%.2f")
    axes[1].set(title="requests per asset")
    _bars(axes[2], names, [row["lag"] for row in rows], "%.1f s")
    axes[2].set(title="mean lag, seconds")
    axes[2].set_yticklabels([])
    _save(figure, "scarce.png")


def costs(found: dict[str, Any]) -> None:
    """CPU for each completed asset at equal lag, and memory for each pending one."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 2.4))
    names = [f"{row['way']} (lag {row['lag']:.1f} s)" for row in found["cpu"]]
    _bars(axes[0], names, [1000 * row["cpu"] for row in found["cpu"]], "%.1f ms")
    axes[0].set(title="CPU for each completed asset, ms")
    memory = found["bytes_each"]
    _bars(axes[1], [name.replace("_", " ") for name in memory], list(memory.values()), "%.0f")
    axes[1].set(title="resident bytes for each pending asset")
    _save(figure, "costs.png")


def _name(row: dict[str, Any]) -> str:
    return f"{row['scenario']}: {row['way']}" + ("" if row["taught"] else ", untaught")


def _bars(axis: Any, names: list[str], values: list[float], label: str) -> None:
    axis.bar_label(axis.barh(names, values), fmt=label, fontsize=7)
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=7)
    axis.margins(x=0.15)


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(RESULTS.parent / name, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Draw all there is."""
    mpl.use("Agg")
    found = json.loads(RESULTS.read_text())
    grid(found)
    hard_times(found)
    costs(found)


if __name__ == "__main__":
    main()
