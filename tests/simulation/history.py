"""A history: a setup and a list of actions, drawn from a seed, run in a world of its own, and judged."""

from __future__ import annotations

import math
import random as global_random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec

from tests.simulation.actions import Action
from tests.simulation.draws import draw_actions
from tests.simulation.model import violations
from tests.simulation.seams import surrounded
from tests.simulation.setup import Setup, draw_setup
from tests.simulation.world import ASK_SECONDS, World

LONGEST_ASKED = 600.0
"""The longest wait that a receiver asks for in a history: it is obeyed after the fault, too."""
REQUESTS_OF_ASSET = 6
"""How often an asset is asked about at most while its turn comes slowly."""
STOP_SECONDS = 120.0


class History(msgspec.Struct, frozen=True):
    """What happens in a world, from its beginning to its end."""

    setup: Setup
    actions: tuple[Action, ...]
    seed: int = 0
    """Decides what the actions leave to chance, such as latencies and IDs."""


def draw_history(seed: int) -> History:
    """Return the history of a seed."""
    random = Random(seed)
    setup = draw_setup(random)
    return History(setup, draw_actions(random, setup), seed)


def run(history: History, *, look: Callable[[World], None] = lambda _: None) -> list[str]:
    """Let a history happen. Return what of the worker's promises was broken. `look` is called at its end."""
    with _directory() as directory, _seeded(history.seed):
        world = World(history.setup, history.seed, directory)
        try:
            with surrounded(world):
                world.start()
                for action in history.actions:
                    world.loop.run_for(action.after)
                    action.apply(world)
                world.calm_down()
                ends_at = world.loop.time() + patience(history.setup, len(world.api.account.assets))
                while not world.is_settled and world.loop.time() < ends_at:
                    world.loop.run_for(ASK_SECONDS)
                    world.is_settled = world.is_done()
                world.has_ended = world.end(within=STOP_SECONDS)
                look(world)
                return violations(world, history.actions)
        finally:
            world.close()


def patience(setup: Setup, assets: int) -> float:
    """Return how many seconds after the last fault everything may take to be settled and delivered.

    There is room for `max_pending` assets at once, and each may take until its deadlines.
    """
    rounds = math.ceil(assets / setup.max_pending)
    requests = REQUESTS_OF_ASSET * assets / (setup.requests_per_second or math.inf)
    return rounds * (setup.deadline + setup.rendition_deadline) + requests + sum(setup.retry) + LONGEST_ASKED


@contextmanager
def _directory() -> Iterator[Path]:
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="asset-worker-simulation-", dir=shm if shm.is_dir() else None))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let the program's own chance follow from the seed."""
    before = global_random.getstate()
    global_random.seed(seed)
    try:
        yield
    finally:
        global_random.setstate(before)
