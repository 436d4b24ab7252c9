"""An account that changes while the real command follows it, and is killed between pages: what must be true in the end.

The simulator runs in the process of the test. So a test knows when which page is read, and can change the list, or kill
the worker, at exactly that moment.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import msgspec

from asset_worker.simulator.lifecycles import FailureRates, draw, draw_kind, outcome
from asset_worker.simulator.server import Simulator
from tests.integration.processes import Run, Worker, eventually

OVERLAP = 3.0
"""Seconds, as in `account.overlap`: assets appear late by less than that."""
LATEST = OVERLAP / 2
"""Seconds by which assets appear late. The rest is left to a busy machine."""
FOLLOWING = {
    "ACCOUNT__INTERVAL": "0.2",
    "ACCOUNT__OVERLAP": str(OVERLAP),
    "QUEUE__DEDUPE_WINDOW": "0.1",
}
"""An asset that is found again after its completion must not be a new one, however short the window of repeats is."""
PUNCTUAL = FailureRates(late_visible=0)


def follow(
    worker: Worker, base_url: str, *arguments: Any, webhooks: Sequence[Mapping[str, Any]] = (), **options: Any
) -> Run:
    """Start `asset-worker run --account` without a queue file.

    Events go to the worker's events file and to `webhooks`, which are tables of the setting `events.sinks`.
    """
    options["EVENTS__SINKS"] = json.dumps([str(worker.events_file), *webhooks])
    where = ("--account", "--state-dir", worker.state)
    return worker.start("run", *where, *arguments, base_url=base_url, **(FOLLOWING | options))


async def until_events(worker: Worker, run: Run, *asset_ids: str, within: float = 60) -> None:
    """Wait until each of these assets has an event."""

    def have_all() -> bool:
        file = worker.events_file
        if not file.exists() or file.read_bytes().count(b"\n") < len(asset_ids):
            return False
        return not set(asset_ids) - {event["subject"] for event in worker.events()}

    await eventually(have_all, within, lambda: run.stderr)


def add(simulator: Simulator, random: Random, **options: Any) -> str:
    """Add an asset of a random kind, which is visible at once unless the options say otherwise."""
    kind = draw_kind(random)
    return simulator.store.add(draw(kind, random, failure_rates=PUNCTUAL), kind=kind, **options)


def add_older(simulator: Simulator, count: int, *, youngest: float = 1e5, oldest: float = 1e7) -> list[str]:
    """Add assets that were there before, evenly spread over these ages in seconds; returns their IDs, the oldest first.

    The default ages are those of assets that are done.
    """
    random = Random(count)
    step = (oldest - youngest) / max(1, count - 1)
    return [add(simulator, random, age=oldest - number * step) for number in range(count)]


async def until_followed(simulator: Simulator, run: Run) -> None:
    """Wait for the first request: what is uploaded from then on belongs to `since = "start"`."""
    await eventually(lambda: simulator.stats.pages[1], otherwise=lambda: run.stderr)


class PageHook:
    """Acts when certain pages are read: before the server looks at its list to answer."""

    def __init__(self, simulator: Simulator) -> None:
        self._actions: list[tuple[int, Callable[[], None]]] = []
        self._page = simulator.store.page
        simulator.store.page = self._read

    def on(self, page: int, action: Callable[[], None]) -> None:
        """Act once, when this page is read the next time."""
        self._actions.append((page, action))

    def clear(self) -> None:
        """Forget the actions that are still to come."""
        self._actions = []

    def _read(self, **parameters: Any) -> Any:
        if not parameters.get("asset_ids"):
            due = [entry for entry in self._actions if entry[0] == parameters["page"]]
            self._actions = [entry for entry in self._actions if entry not in due]
            for _, action in due:
                action()
        return self._page(**parameters)


class Weathered(msgspec.Struct):
    """The result of a storm."""

    kills: int = 0
    between_pages: int = 0
    """Kills while a walk was under way."""
    uploads: int = 0
    deleted: int = 0
    late: int = 0
    events: int = 0
    pages: int = 0
    seconds: float = 0.0
    wrong: list[str] = []
    """Broken promises. Empty: nothing was missed, nothing came twice."""

    @property
    def summary(self) -> str:
        """What happened, on one line."""
        return (
            f"{self.kills} kills survived, {self.between_pages} of them between two pages; {self.uploads} uploads, "
            f"{self.late} of them visible late, {self.deleted} deletions; {self.pages} pages, {self.events} events, "
            f"{self.seconds:.0f} s"
        )


class Storm:
    """Uploads, deletions and late appearances, in bursts and while walks are under way, and a worker that is killed."""

    def __init__(self, simulator: Simulator, worker: Worker, random: Random, **settings: str) -> None:
        self._simulator, self._worker, self._random = simulator, worker, random
        self._settings = settings
        self._hook = PageHook(simulator)
        self._uploads: list[str] = []
        self._deleted: set[str] = set()
        self._older = list(simulator.store)
        """Assets that were there before: none of them may have an event."""
        self._result = Weathered()

    async def rage(self, *, kills: int, burst: int, within: float = 60) -> Weathered:
        """Kill the worker `kills` times, with up to `burst` uploads before each; then let it finish."""
        began = asyncio.get_running_loop().time()
        run = follow(self._worker, self._simulator.base_url, **self._settings)
        await until_followed(self._simulator, run)
        for number in range(kills):
            if number:
                run = follow(self._worker, self._simulator.base_url, **self._settings)
            await self._one_life(run, burst if number % 2 == 0 else self._random.randint(0, burst))
        run = follow(self._worker, self._simulator.base_url, **self._settings)
        with suppress(AssertionError):  # what is missing is reported below
            await until_events(self._worker, run, *self._wanted(), within=within)
        await self._until_walked_again()
        run.send(signal.SIGTERM)
        if (code := await run.end()) != 0:
            self._result.wrong.append(f"the last run's exit code is {code}: {run.stderr[-2000:]}")
        return self._judge(asyncio.get_running_loop().time() - began)

    async def _one_life(self, run: Run, burst: int) -> None:
        """Change the list while one worker follows it, and kill that worker."""
        random, simulator = self._random, self._simulator
        killed = asyncio.Event()

        def kill() -> None:
            if run.process.poll() is not None:
                self._result.wrong.append(f"it ended by itself: {run.stderr[-2000:]}")
            run.send(signal.SIGKILL)
            killed.set()

        def kill_between_pages() -> None:
            self._result.between_pages += 1
            asyncio.get_running_loop().call_later(random.uniform(0, 0.06), kill)

        changes = [self._upload_some, self._delete_new, self._delete_older, self._upload_late]
        for page in random.sample(range(1, burst // 50 + 2), k=min(3, burst // 50 + 1)):
            self._hook.on(page, partial(self._several, random.choices(changes, k=2)))
        self._burst(burst)
        await asyncio.sleep(random.uniform(0, 0.4))
        self._several(random.choices(changes, k=2))
        if random.random() < 0.3:
            kill()
        else:
            self._hook.on(random.randint(1, max(1, burst // 50)), kill_between_pages)
            self._upload_some()
            # A worker that reads less deep than the chosen page is killed all the same.
            with suppress(TimeoutError):
                await asyncio.wait_for(killed.wait(), 5)
        if not killed.is_set():
            kill()
        await run.end()
        self._hook.clear()
        self._result.kills += 1
        assert simulator.stats.unknown_paths == []

    def _several(self, changes: list[Callable[[], None]]) -> None:
        for change in changes:
            change()

    def _burst(self, count: int) -> None:
        """Uploads within one interval, many of them with the same `created_at`."""
        stamp = self._simulator.clock.now()
        for _ in range(count):
            self._upload(created_at=stamp if self._random.random() < 0.7 else None)

    def _upload_some(self) -> None:
        for _ in range(self._random.randint(1, 60)):
            self._upload()

    def _upload_late(self) -> None:
        """Uploads that appear below newer ones: some seconds after their creation."""
        for _ in range(self._random.randint(1, 20)):
            self._result.late += 1
            delay = self._random.uniform(0, LATEST)
            self._upload(visible_after=delay * self._simulator.options.time_scale)

    def _upload(self, **options: Any) -> None:
        self._uploads.append(add(self._simulator, self._random, **options))

    def _delete_new(self) -> None:
        """Delete some of the newest assets: all that is below moves up."""
        for asset_id in self._random.sample(self._uploads[-200:], k=min(5, len(self._uploads))):
            self._delete(asset_id)

    def _delete_older(self) -> None:
        """Delete a page of assets, from among the newest of those that were there before."""
        for _ in range(min(self._random.randint(1, 50), len(self._older))):
            self._delete(self._older.pop())

    def _delete(self, asset_id: str) -> None:
        if asset_id not in self._deleted:
            self._result.deleted += 1
            self._deleted.add(asset_id)
            self._simulator.store.delete(asset_id)

    def _wanted(self) -> set[str]:
        """The assets that must have an event. One that was deleted may have one."""
        return set(self._uploads) - self._deleted

    async def _until_walked_again(self) -> None:
        """Wait for the walk that comes when the overlap has passed: it finds all of the last assets again."""
        await asyncio.sleep(OVERLAP + 0.5)
        pages = self._simulator.stats.pages[1]
        with suppress(AssertionError):
            await eventually(lambda: self._simulator.stats.pages[1] >= pages + 3, 10)

    def _judge(self, seconds: float) -> Weathered:
        result, store = self._result, self._simulator.store
        lines = self._worker.events_file.read_bytes().splitlines()
        events = [json.loads(line) for line in lines]
        found = {event["subject"]: event["data"] for event in events}
        counts = Counter(event["subject"] for event in events)
        wanted = self._wanted()
        missed = wanted - found.keys()
        result.wrong += [f"{len(missed)} missed, such as {sorted(missed)[:3]}"] if missed else []
        result.wrong += [f"{each}: {count} events" for each, count in counts.items() if count > 1]
        result.wrong += [f"{each}: nobody uploaded it" for each in found.keys() - set(self._uploads)]
        result.wrong += [
            f"{each}: {found[each]['outcome']}"
            for each in wanted & found.keys()
            if found[each]["outcome"] != outcome(store.lifecycle(each))
        ]
        result.wrong += [
            f"{each}: {data['submission']}" for each, data in found.items() if data["submission"]["source"] != "account"
        ]
        result.uploads, result.events, result.seconds = len(self._uploads), len(events), seconds
        result.pages = self._simulator.stats.pages.total()
        return result
