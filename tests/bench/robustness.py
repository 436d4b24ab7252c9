"""(d) What it costs, and how late ends are noticed, when assets or lists are not as they were."""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple

from asset_worker.domain.assets import Expectations
from asset_worker.settings.tree import Poll
from tests.bench.workloads import MIX, TWO_SPEEDS, taught
from tests.bench.world import BATCH, NO_DEADLINE, Row, World, summary
from tests.doubles.virtual_time import run_virtually

ASSETS = 2000
PER_SECOND = 10
OLD_SECONDS = 86_400.0

SCENARIOS = {
    "as taught": "the mix",
    "stuck": "a tenth never ends (four hours)",
    "two speeds": "two speeds in each class",
    "10 × slower": "all take ten times as long as before",
    "10 × faster": "all take a tenth of the time",
    "finished before": "half were done before they were submitted",
    "lists 2 s late": "",
    "lists 5 s late": "",
    "lists 30 s late": "",
}
LIST_LAG = {"lists 2 s late": 2.0, "lists 5 s late": 5.0, "lists 30 s late": 30.0}
PACE = {"10 × slower": 10.0, "10 × faster": 0.1}


class Scenario(NamedTuple):
    name: str
    batch: str
    is_taught: bool


def scenarios() -> list[Scenario]:
    """All measurements."""
    ways = [(batch, True) for batch in BATCH[1:]] + [(BATCH[-1], False)]
    return [Scenario(name, *way) for name in SCENARIOS for way in ways]


def measure_scenario(scenario: Scenario) -> Row:
    """Requests for each asset, and the lag of those that end."""
    found: Row = run_virtually(_measure(scenario))
    return {"scenario": scenario.name, "way": scenario.batch, "taught": scenario.is_taught, **found}


async def _measure(scenario: Scenario) -> Row:
    random = Random(5)
    name = scenario.name
    workload = TWO_SPEEDS if name == "two speeds" else MIX
    world = World(
        Poll(batch=scenario.batch),
        taught(workload) if scenario.is_taught else None,
        expectations=Expectations() if name == "stuck" else NO_DEADLINE,
        list_lag=LIST_LAG.get(name, 0.0),
    )
    async with world.running():
        for number in range(ASSETS):
            asset_class, duration = workload.draw(random)
            is_odd = number % 10 == 0 if name == "stuck" else number % 2 == 0
            world.add(
                asset_class,
                math.inf if name == "stuck" and is_odd else duration * PACE.get(name, 1.0),
                created_ago=OLD_SECONDS if name == "finished before" and is_odd else 0.0,
            )
            await world.until_time((number + 1) / PER_SECOND)
        await world.until(lambda: len(world.ended) == ASSETS)
        false = sum((outcome == "ready") != (each.known_from < math.inf) for each, _, outcome in world.ended)
        early = sum(at < each.known_from for each, at, _ in world.ended if each.known_from < math.inf)
        return {"requests": world.requests / ASSETS, **summary(world.lags()), "false_outcomes": false + early}
