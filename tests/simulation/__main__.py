"""Runs histories: `python -m tests.simulation --histories 10000`. Exit code 1 if one of them breaks a promise.

Each history follows from its seed: `--seed 4711 --histories 1` runs it again. One that breaks a promise is shrunk and
printed as the Python that makes it, to become a test in `test_regressions.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator

import click

from tests.simulation.history import History, draw_history, run
from tests.simulation.shrinking import shrink

MOST_SHRUNK = 5
"""Histories that are shrunk and printed: what breaks more of them is often the same."""


def judge(history: History) -> list[str]:
    """Run a history. Return what broke; an error of the simulation itself is a break, too."""
    try:
        return run(history)
    except Exception:  # noqa: BLE001 - it must not end the other histories
        return [f"the simulation failed: {traceback.format_exc()}"]


def judge_seed(seed: int) -> tuple[int, list[str], float]:
    """Run the history of a seed. Return the seed, what broke, and the seconds of the processor that it took."""
    began = time.process_time()
    return seed, judge(draw_history(seed)), time.process_time() - began


def judged(seeds: range, processes: int) -> Iterator[tuple[int, list[str], float]]:
    """Yield the judgements about the histories of these seeds, in any order."""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(judge_seed, seeds, chunksize=8)


@click.command()
@click.option("--seed", default=0, show_default=True, help="The seed of the first history.")
@click.option("--histories", default=10_000, show_default=True)
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
def main(seed: int, histories: int, processes: int) -> None:
    """Run histories, and print those that break a promise."""
    broken, took = {}, 0.0
    for done, (each, found, seconds) in enumerate(judged(range(seed, seed + histories), processes), start=1):
        took += seconds
        if found:
            broken[each] = found
            click.echo(f"seed {each}: {found[0]}")
        if done % 1000 == 0:
            click.echo(f"{done} histories, {len(broken)} broken, {took / done:.3f} s of a processor each")
    for each, found in sorted(broken.items())[:MOST_SHRUNK]:
        kind = kind_of(found)
        shortest = shrink(draw_history(each), lambda shorter, kind=kind: kind_of(judge(shorter)) == kind)  # type: ignore[misc]
        click.echo(f"\nseed {each}, shrunk:\n{shortest!r}")
        click.echo("\n".join(judge(shortest)))
    click.echo(f"{histories} histories from seed {seed} on: {len(broken)} broken, {took / histories:.3f} s each")
    sys.exit(bool(broken))


def kind_of(found: list[str]) -> str:
    """Return what kind of break it is: the first words that hold no ID."""
    return (
        " ".join([word for word in found[0].split() if not any(each.isdigit() for each in word)][:4]) if found else ""
    )


if __name__ == "__main__":
    main()
