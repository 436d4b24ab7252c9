"""How long a pending asset still takes, as the real commands show it."""

from __future__ import annotations

import asyncio
import json
import signal

from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.integration.processes import eventually
from tests.integration.test_submissions import client_of, start


async def test_the_time_left_is_shown_once_twenty_of_a_class_have_ended(serve, worker):
    simulator = await serve()

    def add(ready: float) -> str:
        asset_id: str = simulator.store.add(Lifecycle(ready, hls=Rendition(1.5)), kind=KINDS["clip"])
        return asset_id

    run = start(worker, simulator.base_url)
    client = await client_of(run)
    await client.post(*(add(1.5 + number / 24) for number in range(24)))
    await eventually(lambda: len(worker.events()) == 24)
    run.send(signal.SIGTERM)
    assert await run.end() == 0, run.stderr

    run = start(worker, simulator.base_url)
    client = await client_of(run)
    slow = add(3600)
    assert (await client.post(slow))[0] == 202
    left: list[dict[str, float] | None] = []
    async with asyncio.timeout(30):
        while left[-1:] != [None] or not any(left):  # in the end it is slower than all that were seen
            left.append((await client.get(slow))[1]["expected_left"])
            await asyncio.sleep(0.05)
    known = [each for each in left if each is not None]
    assert all(each["p50"] <= each["p90"] < 8 for each in known), known
    assert known[0]["p90"] > 1, known
    assert known[-1]["p90"] < known[0]["p90"], known

    reports: list[object] = []
    async with asyncio.timeout(30):
        while not any(reports):
            assert (await client.post(add(3600)))[0] == 202
            command = worker.start("status", "--state-dir", worker.state, "--json")
            assert await command.end() == 0
            reports += [each["expected_left"] for each in json.loads(command.stdout)["pending"]]
