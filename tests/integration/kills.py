"""kill -9 at random moments while assets pass, and what must be true in the end."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from contextlib import suppress
from random import Random

import msgspec

from asset_worker.simulator.lifecycles import outcome
from asset_worker.simulator.server import Simulator
from tests.integration.processes import Worker, eventually

ASSETS_A_KILL = 30
WORTHLESS_SHARE = 0.01
"""Of the lines: those that hold no asset, each of which is an event of its own."""
REPEATED_SHARE = 0.05
"""Of the assets: those that are submitted a second time."""


class Survived(msgspec.Struct):
    """How it went."""

    kills: int = 0
    before_started: int = 0
    """Kills that fell into a start, before `worker.started`."""
    assets: int = 0
    lines: int = 0
    seconds: float = 0.0
    wrong: list[str] = []
    """What may not be. Empty: nothing was lost, told twice or told wrongly."""


async def survive(simulator: Simulator, worker: Worker, *, kills: int, random: Random, within: float = 120) -> Survived:
    """Kill the worker that often, starting it again at once; then let it finish.

    A third of the lives are short and counted from the process's start, the others from its readiness: so both the
    start and the work see their share of kills, on a fast machine and on a slow one.
    """
    survived = Survived(assets=kills * ASSETS_A_KILL)
    began = asyncio.get_running_loop().time()
    ids, worthless = [], 0
    for number in range(kills):
        run = worker.run(base_url=simulator.base_url)
        is_short = number % 3 == 0
        if not is_short:
            await run.until("worker.started")
        for _ in range(3):
            new = [simulator.store.add() for _ in range(ASSETS_A_KILL // 3)]
            ids += new
            lines = [*new, *(each for each in new if random.random() < REPEATED_SHARE)]
            if random.random() < WORTHLESS_SHARE * len(lines):
                worthless += 1
                lines.append(f"no asset {worthless}")
            worker.submit(*lines)
            await asyncio.sleep(random.uniform(0, 0.15 if is_short else 0.3))
        if run.process.poll() is not None:
            survived.wrong.append(f"life {number} ended by itself: {run.stderr[-2000:]}")
        run.send(signal.SIGKILL)
        await run.end()
        survived.kills += 1
        survived.before_started += not run.logs("worker.started")

    run = worker.run(base_url=simulator.base_url)
    wanted = len(ids) + worthless
    with suppress(AssertionError):  # what is missing is told below
        await eventually(
            lambda: worker.events_file.exists() and worker.events_file.read_bytes().count(b"\n") >= wanted, within
        )
    run.send(signal.SIGTERM)
    if (code := await run.end()) != 0:
        survived.wrong.append(f"the last run's exit code is {code}: {run.stderr[-2000:]}")
    survived.seconds = asyncio.get_running_loop().time() - began
    _judge(survived, worker, {each: outcome(simulator.store.lifecycle(each)) for each in ids}, worthless)
    return survived


def _judge(survived: Survived, worker: Worker, expected: dict[str, str | None], worthless: int) -> None:
    lines = worker.events_file.read_bytes().splitlines()
    survived.lines = len(lines)
    events = [json.loads(line) for line in lines]
    ids = Counter(event["id"] for event in events)
    told = {event["subject"]: event["data"]["outcome"] for event in events if "subject" in event}
    rejected = [event["data"]["line"] for event in events if "subject" not in event]
    wrong = survived.wrong
    wrong += [f"{each}: {count} times" for each, count in ids.items() if count > 1]
    wrong += [f"{each}: its event is not the first" for each in told if f"{each}.1" not in ids]
    wrong += [f"{each}: {told.get(each)} instead of {one}" for each, one in expected.items() if told.get(each) != one]
    wrong += [f"{each}: never submitted" for each in told.keys() - expected.keys()]
    if sorted(rejected) != sorted(f"no asset {number}" for number in range(1, worthless + 1)):
        wrong.append(f"{len(rejected)} lines rejected instead of {worthless}: {sorted(rejected)[:20]}")
