"""kill -9 at random moments while assets are processed, and what must be true in the end.

Events go to a file, and with `hooks` also to a receiver that fails, and that answers 410 in one run of ten until it is
resumed; secrets are rotated meanwhile.
"""

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
from tests.integration.webhooks import TIMEOUT, Hooks

ASSETS_PER_KILL = 30
INVALID_SHARE = 0.01
"""The share of lines without an asset; each makes an event of its own."""
REPEATED_SHARE = 0.05
"""The share of assets that are submitted a second time."""


class Survived(msgspec.Struct):
    """The result of a series of kills."""

    kills: int = 0
    before_started: int = 0
    """Kills during a start, before `worker.started`."""
    assets: int = 0
    lines: int = 0
    seconds: float = 0.0
    wrong: list[str] = []
    """Broken promises. Empty: no event was lost, repeated or wrong."""


async def survive(
    simulator: Simulator,
    worker: Worker,
    *,
    kills: int,
    random: Random,
    within: float = 120,
    each: int = ASSETS_PER_KILL,
    hooks: Hooks | None = None,
) -> Survived:
    """Kill the worker `kills` times, starting it again each time; then let it finish.

    A third of the runs are short and timed from the start of the process, the others from `worker.started`. So kills
    hit both the start and the work, on a fast machine and on a slow one. `each`: assets for each kill.
    """
    survived = Survived(assets=kills * each)
    webhooks = [hooks.table(timeout=TIMEOUT)] if hooks else []
    began = asyncio.get_running_loop().time()
    ids, invalid = [], 0
    for number in range(kills):
        if hooks:
            hooks.rotate()
        run = worker.run(base_url=simulator.base_url, webhooks=webhooks)
        is_short = number % 3 == 0
        if not is_short:
            await run.until("worker.started")
        for batch in range(3):
            new = [simulator.store.add() for _ in range(each // 3)]
            ids += new
            lines = [*new, *(again for again in new if random.random() < REPEATED_SHARE)]
            if random.random() < INVALID_SHARE * len(lines):
                invalid += 1
                lines.append(f"no asset {invalid}")
            worker.submit(*lines)
            if hooks and batch == 0 and number % 10 == 1:
                await hooks.refuse_once(run)
            await asyncio.sleep(random.uniform(0, 0.15 if is_short else 0.3))
        if run.process.poll() is not None:
            survived.wrong.append(f"run {number} ended by itself: {run.stderr[-2000:]}")
        run.send(signal.SIGKILL)
        await run.end()
        survived.kills += 1
        survived.before_started += not run.logs("worker.started")

    run = worker.run(base_url=simulator.base_url, webhooks=webhooks)
    wanted = len(ids) + invalid
    with suppress(AssertionError):  # missing events are reported below
        await eventually(
            lambda: worker.events_file.exists() and worker.events_file.read_bytes().count(b"\n") >= wanted, within
        )
        await eventually(lambda: hooks is None or hooks.receiver.deliveries.accepted >= wanted, within)
    run.send(signal.SIGTERM)
    if (code := await run.end()) != 0:
        survived.wrong.append(f"the last run's exit code is {code}: {run.stderr[-2000:]}")
    survived.seconds = asyncio.get_running_loop().time() - began
    _check(survived, worker, {one: outcome(simulator.store.lifecycle(one)) for one in ids}, invalid)
    if hooks:
        survived.wrong += hooks.wrong(worker)
    return survived


def _check(survived: Survived, worker: Worker, expected: dict[str, str | None], invalid: int) -> None:
    lines = worker.events_file.read_bytes().splitlines()
    survived.lines = len(lines)
    events = [json.loads(line) for line in lines]
    ids = Counter(event["id"] for event in events)
    outcomes = {event["subject"]: event["data"]["outcome"] for event in events if "subject" in event}
    rejected = [event["data"]["line"] for event in events if "subject" not in event]
    wrong = survived.wrong
    wrong += [f"{each}: {count} times" for each, count in ids.items() if count > 1]
    wrong += [f"{each}: its event is not the first" for each in outcomes if f"{each}.1" not in ids]
    wrong += [
        f"{each}: {outcomes.get(each)} instead of {one}" for each, one in expected.items() if outcomes.get(each) != one
    ]
    wrong += [f"{each}: never submitted" for each in outcomes.keys() - expected.keys()]
    if sorted(rejected) != sorted(f"no asset {number}" for number in range(1, invalid + 1)):
        wrong.append(f"{len(rejected)} lines rejected instead of {invalid}: {sorted(rejected)[:20]}")
