"""Runs the benchmarks on all cores: `python -m tests.bench [section …]`.

The sections are grid (a), scarce (b), cpu (c), robustness (d), rates, targets, webhooks, account and fleet. Without an
argument all of them run. What was measured takes the place of the same sections in `results/bench.json`, from which
`tests.bench.report` makes tables and plots.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from click import echo

from tests.bench import account, cpu, grid, rates, report, robustness, scarce, targets, webhooks
from tests.bench.fleet import limits, real_time, requests
from tests.bench.workloads import WORKLOADS


def virtual(pool: ProcessPoolExecutor, sections: list[str]) -> dict[str, list[Future[Any]]]:
    """Start the sections in virtual time, those that take longest first."""
    started: dict[str, list[Future[Any]]] = {}
    if "grid" in sections:
        started["grid"] = [pool.submit(grid.measure, cell) for cell in grid.cells()]
        started["competitors"] = [pool.submit(grid.compete, workload) for workload in WORKLOADS]
    if "robustness" in sections:
        started["robustness"] = [pool.submit(robustness.measure_scenario, each) for each in robustness.scenarios()]
    if "scarce" in sections:
        started["scarce"] = [pool.submit(scarce.measure_scarce, each) for each in scarce.cases()]
    if "targets" in sections:
        started["situations"] = [pool.submit(targets.measure_situation, name) for name in targets.SITUATIONS]
    if "fleet" in sections:
        started["requests"] = [pool.submit(requests.measure_requests, each) for each in requests.cases()]
        started["limits"] = [pool.submit(limits.measure_limit, each) for each in limits.cases()]
    return started


def main() -> None:
    """Run, print, and write what was measured."""
    began = time.monotonic()
    chosen = sys.argv[1:]
    sections = chosen or ["grid", "robustness", "scarce", "targets", "cpu", "rates", "webhooks", "account", "fleet"]
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(2) as pool:
        for name, futures in virtual(pool, sections).items():
            found[name] = [future.result() for future in futures]
            echo(f"{name}: {time.monotonic() - began:.0f} s", err=True)
    if "cpu" in sections:
        found["cpu"] = cpu.compare()
    if "rates" in sections:
        found["looks_per_cpu_second"] = rates.looks_per_cpu_second()
        found["bytes_each"] = rates.memory()
    if "webhooks" in sections:
        found["webhooks"] = webhooks.measure()
    if "fleet" in sections:
        found["fleet"] = {**real_time.measure(), **{name: found.pop(name) for name in ("requests", "limits")}}
    if "account" in sections:
        found["account"] = account.measure()
    echo(f"{time.monotonic() - began:.0f} s in all", err=True)
    report.RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(report.RESULTS.read_text()) if chosen and report.RESULTS.exists() else {}
    report.RESULTS.write_text(json.dumps(kept | found, indent=1, ensure_ascii=False) + "\n")
    report.show(found)


if __name__ == "__main__":
    main()
