"""Draws the actions of a history: mostly what happens every day, and faults of every kind in between."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from asset_worker.simulator.lifecycles import Lifecycle
from tests.simulation.actions import (
    FORMATS,
    JUNK,
    Action,
    Append,
    Begin,
    Delete,
    Drift,
    Kill,
    Pause,
    Reload,
    Rotate,
    SetClock,
    StopWorker,
    Submit,
    Tear,
    Upload,
    draw_life,
)
from tests.simulation.disk_faults import DiskSlow, ReceiverFails, draw_disk_fault
from tests.simulation.faults import draw_fault, draw_limits
from tests.simulation.receivers import draw_receiver_fault
from tests.simulation.setup import Setup, receiver

FEWEST, MOST = 4, 26
"""Actions of a history."""
MOST_ASSETS: Final = 6
"""Assets of one action, but for a burst."""
MOST_REPEATS: Final = 3
"""IDs of an action that were submitted before."""


def draw_actions(random: Random, setup: Setup) -> tuple[Action, ...]:
    """Return a random list of actions."""
    weighted = _weighted(setup)
    draws = random.choices(
        [draw for _, draw in weighted], [weight for weight, _ in weighted], k=random.randint(FEWEST, MOST)
    )
    return tuple(draw(random, setup) for draw in draws)


def _after(random: Random) -> float:
    return round(random.choice((0.0, random.uniform(0, 1), random.uniform(0, 5), random.uniform(0, 30))), 3)


def _lasts(random: Random) -> float:
    return round(random.choice((random.uniform(0, 3), random.uniform(1, 30), random.uniform(5, 60))), 3)


def _lives(random: Random) -> tuple[Lifecycle, ...]:
    count = random.randint(1, MOST_ASSETS) if random.random() < 0.97 else random.randint(20, 40)
    return tuple(draw_life(random) for _ in range(count))


def _repeats(random: Random) -> int:
    return random.choice((0, 0, 0, 1, MOST_REPEATS))


def _append(random: Random, _: Setup) -> Action:
    junk = tuple(random.sample(JUNK, random.choice((0, 0, 0, 1, 2))))
    return Append(
        after=_after(random), lives=_lives(random), form=random.choice(FORMATS), junk=junk, repeats=_repeats(random)
    )


def _submit(random: Random, setup: Setup) -> Action:
    lives = _lives(random)[: max(1, setup.max_pending - MOST_REPEATS)]  # more at once would never be accepted
    return Submit(after=_after(random), lives=lives, repeats=_repeats(random))


def _tear(random: Random, _: Setup) -> Action:
    return Tear(
        after=_after(random),
        life=draw_life(random),
        share=round(random.random(), 2),
        rest_after=round(random.uniform(0, 8), 3),
    )


def _rotate(random: Random, _: Setup) -> Action:
    return Rotate(
        after=_after(random), how=random.choice(("rename", "rename", "copytruncate", "events", "events_copy"))
    )


CALLS_SHARE: Final = 0.3
"""The share of kills that come within a call."""


def _kill(random: Random, _: Setup) -> Action:
    return Kill(
        after=_after(random),
        steps=random.randrange(400),
        calls=random.randrange(60) if random.random() < CALLS_SHARE else None,
        down=round(random.choice((0.1, random.uniform(0, 15))), 3),
        power=random.random() < 0.3,
    )


def _receiver(random: Random, setup: Setup) -> Action:
    host = receiver(random.randrange(setup.webhooks))
    return Begin(after=_after(random), fault=ReceiverFails(host, draw_receiver_fault(random)), lasts=_lasts(random))


def _slow_journal(random: Random, _: Setup) -> Action:
    """A kill that follows comes between the steps of what should be one transaction."""
    return Begin(
        after=_after(random), fault=DiskSlow("journal", round(random.uniform(0.2, 3.0), 3)), lasts=_lasts(random)
    )


Draw = Callable[[Random, Setup], Action]


def _weighted(setup: Setup) -> list[tuple[float, Draw]]:
    return [
        (8, _append),
        (2, _tear),
        (4, _rotate),
        (4 * setup.http, _submit),
        (5 * setup.account, lambda random, _: Upload(after=_after(random), lives=_lives(random))),
        (1, lambda random, _: Delete(after=_after(random), number=random.randrange(1000))),
        (9, lambda random, _: Begin(after=_after(random), fault=draw_fault(random), lasts=_lasts(random))),
        (3, lambda random, _: Begin(after=_after(random), fault=draw_limits(random), lasts=_lasts(random))),
        (4, lambda random, _: Begin(after=_after(random), fault=draw_disk_fault(random), lasts=_lasts(random))),
        (1.5, _slow_journal),
        (5 * (setup.webhooks > 0), _receiver),
        (1, lambda random, _: SetClock(after=_after(random), by=random.choice((-86_400.0, -30.0, 2.0, 3_600.0)))),
        (0.5, lambda random, _: Drift(after=_after(random), share=random.choice((-0.01, 0.01)))),
        (1, lambda random, _: Reload(after=_after(random), replaces_key=random.random() < 0.5)),
        (2, lambda random, _: StopWorker(after=_after(random), down=round(random.uniform(0, 15), 3))),
        (5, _kill),
        (3, lambda random, _: Pause(after=round(random.uniform(0, 60), 3))),
    ]
