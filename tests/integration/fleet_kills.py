"""kill -9 and SIGTERM of a fleet's workers at random moments, from one worker to four and back to one, again and again.

Producers submit all the time, by SQL. Events go to a file and to a receiver that fails a third of the time. What a
killed worker owed to a sink goes to that of another worker and may repeat, but never as another event.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from random import Random

from asset_worker.simulator.lifecycles import outcome
from asset_worker.simulator.server import Simulator
from tests.integration.fleets import LEFT, Fleet
from tests.integration.kills import INVALID_SHARE, REPEATED_SHARE, Survived
from tests.integration.processes import Run, eventually
from tests.integration.webhooks import TIMEOUT, Hooks

NAMES = "abcd"
PERIOD = 2 * (len(NAMES) - 1)


def workers_at(step: int) -> int:
    """How many workers run at a step: 1, 2, 3, 4, 3, 2, 1, …"""
    return 1 + (PERIOD // 2 - abs(step % PERIOD - PERIOD // 2))


class Storm:
    """A fleet whose workers are killed, stopped and started."""

    def __init__(self, simulator: Simulator, fleet: Fleet, random: Random, hooks: Hooks) -> None:
        self._simulator = simulator
        self._fleet = fleet
        self._random = random
        self._hooks = hooks
        self._running: dict[str, Run] = {}
        self._ids: list[str] = []
        self._invalid = 0
        self._survived = Survived()

    async def rage(self, *, kills: int, each: int, within: float = 240) -> Survived:
        """Kill a worker `kills` times while `each` assets are submitted; then let one of them finish."""
        survived, random = self._survived, self._random
        survived.assets = kills * each
        began = asyncio.get_running_loop().time()
        for step in range(kills):
            await self._have(workers_at(step))
            name = random.choice(sorted(self._running))
            is_short = step % 3 == 0
            if not is_short:
                await self._running[name].until("worker.started")
            for _ in range(3):
                self._submit(each // 3)
                await asyncio.sleep(random.uniform(0, 0.15 if is_short else 0.5))
            await self._kill(name)
        await self._have(1)
        await self._finish(within)
        survived.seconds = asyncio.get_running_loop().time() - began
        self._check()
        return survived

    async def _have(self, count: int) -> None:
        """Start workers, or end some in order, until so many run."""
        random = self._random
        while len(self._running) < count:
            name = random.choice([each for each in NAMES if each not in self._running])
            self._running[name] = self._fleet.start(name, webhooks=[self._hooks.table(timeout=TIMEOUT)])
        ended = [self._running.pop(name) for name in random.sample(sorted(self._running), len(self._running) - count)]
        for run in ended:
            await run.until("worker.started")
            run.send(signal.SIGTERM)
        for run in ended:
            await self._end(run)

    async def _kill(self, name: str) -> None:
        run = self._running.pop(name)
        if run.process.poll() is not None:
            self._survived.wrong.append(f"a worker ended by itself: {run.stderr[-2000:]}")
        run.send(signal.SIGKILL)
        await run.end()
        self._survived.kills += 1
        self._survived.before_started += not run.logs("worker.started")

    async def _end(self, run: Run) -> None:
        if (code := await run.end()) != 0:
            self._survived.wrong.append(f"exit code {code} after SIGTERM: {run.stderr[-2000:]}")

    def _submit(self, count: int) -> None:
        random = self._random
        new = [self._simulator.store.add() for _ in range(count)]
        self._ids += new
        self._fleet.submit(*new, *(again for again in new if random.random() < REPEATED_SHARE))
        if random.random() < INVALID_SHARE * count:
            self._invalid += 1
            self._fleet.sql('SELECT asset_worker.submit(%s, \'{"deadline": "soon"}\')', f"invalid-{self._invalid}")

    async def _finish(self, within: float) -> None:
        fleet, wanted = self._fleet, len(self._ids) + self._invalid
        with suppress(AssertionError):  # missing events are reported below
            await eventually(lambda: fleet.sql(LEFT) == [(0, 0, 0, 0)] and len(fleet.counts()) >= wanted, within)
        for run in self._running.values():
            run.send(signal.SIGTERM)
        for run in self._running.values():
            await self._end(run)

    def _check(self) -> None:
        fleet, survived, wrong = self._fleet, self._survived, self._survived.wrong
        expected = {one: outcome(self._simulator.store.lifecycle(one)) for one in self._ids}
        events = fleet.events()
        survived.lines = len(events)
        counts = fleet.counts()
        wrong += [f"{each}: {count} different events" for each, count in counts.items() if count > 1]
        outcomes = {event["id"]: event["data"]["outcome"] for event in events if "subject" in event}
        wrong += [
            f"{one}: {outcomes.get(f'{one}.1')} instead of {each}"
            for one, each in expected.items()
            if outcomes.get(f"{one}.1") != each
        ]
        wrong += [f"{each}: never submitted" for each in outcomes.keys() - {f"{one}.1" for one in expected}]
        if (rejected := len(counts.keys() - outcomes.keys())) != self._invalid:
            wrong.append(f"{rejected} submissions rejected instead of {self._invalid}")
        wrong += self._hooks.wrong(fleet)
        settled = fleet.sql("SELECT asset_id, completion FROM asset_worker.settled")
        if sorted(settled) != [(one, 1) for one in sorted(expected)]:
            wrong.append(f"{len(settled)} assets settled, NOT each once")
        if (left := fleet.sql(LEFT)) != [(0, 0, 0, 0)]:
            wrong.append(f"left in the inbox, pending, owed, dead letters: {left}")
