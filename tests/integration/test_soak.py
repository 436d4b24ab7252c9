"""The long life, cut short, and whether it would tell; `python -m tests.integration.soak` knows closer bounds."""

from __future__ import annotations

import asyncio
import signal

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually
from tests.integration.soak import Bounds, Sample, grown, live

SHORT = Bounds(memory=1000, descriptors=30, journal=400)
"""The process still warms up, and what was settled is younger than what is pruned."""


@pytest.mark.timeout(400)
async def test_a_short_life_adds_little_for_each_asset_and_loses_none(worker):
    life = await live(3_000, 15, worker, bounds=SHORT, every=0.5)
    assert life.wrong == [], "\n".join(life.told)


def samples(**each):
    """Of a life at rest, but for what grows by so much for each asset."""
    rest = {"memory": 60_000_000, "descriptors": 40, "journal": 2_000_000, "log": 16_000_000}
    return [
        Sample(assets, **{name: int(value + each.get(name, 0) * assets) for name, value in rest.items()})
        for assets in range(0, 100_000, 1000)
    ]


@pytest.mark.parametrize(
    ("grows", "says"),
    [
        ({}, []),
        ({"memory": 150}, ["memory grows"]),
        ({"journal": 100}, ["journal grows"]),
        ({"descriptors": 0.001}, ["descriptors"]),
        ({"log": 1000}, ["log grew"]),
    ],
    ids=str,
)
def test_a_long_life_tells_what_grows(grows, says):
    _, wrong = grown(samples(**grows), Bounds())
    assert len(wrong) == len(says)
    assert all(each in line for each, line in zip(says, wrong, strict=True))


async def test_an_event_loop_that_is_held_up_is_told_of(serve, worker):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    while not run.logs("worker.lagging"):  # between two of its glances at the clock it notices nothing
        run.send(signal.SIGSTOP)
        await asyncio.sleep(1.5)
        run.send(signal.SIGCONT)
        await asyncio.sleep(0.6)
    assert run.logs("worker.lagging")[0]["lag"] > 0.25
