"""Runs random histories with each planted fault until one finds it. Exit code 1 if one of the faults is not found."""

from __future__ import annotations

import multiprocessing
import os
import sys
from functools import partial
from typing import Final

import click

from tests.simulation.__main__ import judge
from tests.simulation.history import draw_history
from tests.simulation.planted import FAULTS

LONGEST_SECONDS: Final = 60.0
"""A history that takes longer never ends: the fault lets the worker spin."""
SHOWN: Final = 120
"""Characters of a violation."""


def judge_seed(name: str, seed: int) -> list[str]:
    """Run the history of a seed with a fault. Return what broke, unless it breaks without the fault, too."""
    history = draw_history(seed)
    with FAULTS[name].plant():
        found = judge(history)
    return found if not FAULTS[name].is_in(found) or not judge(history) else []


def find(name: str, seeds: range, processes: int) -> tuple[int | None, str]:
    """Return how many histories it takes to find a fault, None: it is not found; and what was found first, in words."""
    other = ""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        judgements = pool.imap(partial(judge_seed, name), seeds)
        for number in range(1, len(seeds) + 1):
            try:
                found = judgements.next(timeout=LONGEST_SECONDS)
            except multiprocessing.TimeoutError:
                return None, f"the history {seeds[number - 1]} does not end"
            if FAULTS[name].is_in(found):
                return number, next(each for each in found if FAULTS[name].is_in([each]))
            other = other or next(iter(found), "")
    return None, other


@click.command()
@click.option("--name", "names", multiple=True, type=click.Choice([*FAULTS]), help="A fault; all, if none is given.")
@click.option("--seed", default=0, show_default=True, help="The seed of the first history.")
@click.option("--histories", default=2_000, show_default=True, help="At most so many with each fault.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
def main(names: tuple[str, ...], seed: int, histories: int, processes: int) -> None:
    """Show how many random histories it takes to find each planted fault."""
    missed = 0
    for name in names or FAULTS:
        count, words = find(name, range(seed, seed + histories), processes)
        missed += count is None
        click.echo(
            f"{name:<34}{'not found' if count is None else count:>10}  {words.splitlines()[0][:150] if words else ''}"
        )
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
