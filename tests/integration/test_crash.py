"""kill -9 at random moments: nothing lost, nothing told twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from random import Random

import pytest

from tests.integration.processes import eventually
from worker.simulator.lifecycles import Lifecycle, outcome

ASSETS = 600


async def test_the_exit_code_tells_of_the_whole_job_also_after_a_kill(serve, worker):
    """One asset fails before the kill, the other is ready after it. The next run is another job, with nothing to do."""
    simulator = await serve(time_scale=10)
    worker.submit(simulator.store.add(Lifecycle(1, "failed")), simulator.store.add(Lifecycle(60)))
    killed = worker.run("--once", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: killed.stderr)
    killed.send(signal.SIGKILL)
    await killed.end()
    assert await worker.run("--once", base_url=simulator.base_url).end() == 1
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1])
async def test_twenty_kills_while_six_hundred_assets_pass(serve, worker, seed):
    """Lines go on being appended while the worker is down; the events file repeats nothing."""
    random = Random(seed)
    simulator = await serve(time_scale=300, seed=seed)
    ids = [simulator.store.add() for _ in range(ASSETS)]
    left = list(ids)
    # The kills fall into the whole run, from the first start of a process to the last asset.
    for kill in range(20):
        run = worker.run(base_url=simulator.base_url)
        for _ in range(3):
            share = max(1, len(left) // (20 - kill) // 3)
            worker.submit(*left[:share])
            del left[:share]
            await asyncio.sleep(random.uniform(0, 0.5))
        run.send(signal.SIGKILL)
        await run.end()
    worker.submit(*left)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) >= ASSETS, within=120, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0

    lines = worker.events_file.read_bytes().splitlines()
    assert len(lines) == len(set(lines)), "a line is repeated"
    events = [json.loads(line) for line in lines]
    assert {event["subject"]: event["data"]["outcome"] for event in events} == {
        asset_id: outcome(simulator.store.lifecycle(asset_id)) for asset_id in ids
    }
    assert Counter(event["id"] for event in events) == Counter(f"{asset_id}.1" for asset_id in ids)
