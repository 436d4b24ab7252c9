"""kill -9 at random moments: no event is lost, none is repeated."""

from __future__ import annotations

import signal
from random import Random

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.holding import change, waiting
from tests.integration.kills import survive
from tests.integration.processes import eventually


async def test_the_exit_code_covers_the_whole_run_also_after_a_kill(serve, worker):
    """One asset fails before the kill, the other is ready after it. A later run has nothing to do."""
    simulator = await serve()
    [later] = waiting(simulator, 1)
    worker.submit(simulator.store.add(Lifecycle(0, "failed")), later)
    killed = worker.run("--once", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: killed.stderr)
    killed.send(signal.SIGKILL)
    await killed.end()
    change(simulator, later)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 1
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0


async def test_a_run_with_once_that_a_signal_ends_dies_of_it(serve, worker):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()), simulator.store.add(Lifecycle(3600)))
    run = worker.run("--once", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == -signal.SIGTERM


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1])
async def test_twenty_kills_while_six_hundred_assets_are_processed(serve, worker, seed):
    """`python -m tests.integration.soak --kills 1000` is the long form."""
    simulator = await serve(time_scale=300, seed=seed)
    survived = await survive(simulator, worker, kills=20, random=Random(seed))
    assert survived.wrong == []
    assert (survived.kills, survived.assets) == (20, 600)
