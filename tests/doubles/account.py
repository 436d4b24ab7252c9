"""An account whose assets come and go, the queue as the intake of the account uses it, and runs that may crash."""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asset_worker.domain.assets import Asset, asset_from
from asset_worker.domain.listings import PAGE_LENGTH, NoPage, Page
from asset_worker.domain.submissions import Batch
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.intake import AccountIntake
from asset_worker.intake.account.ports import Account
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock

SERVER_AHEAD = 5_000.0
"""How far the server's clock is ahead of the worker's."""


@dataclass
class Uploaded:
    """An asset of the account."""

    id: str
    created_at: float
    visible_at: float
    document: dict[str, Any]


class FakeAccount:
    """The list of all assets, newest first. `LoopClock` is the worker's clock; the server's is ahead of it."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.assets: dict[str, Uploaded] = {}
        self._in_order: list[Uploaded] = []
        self._all_visible_at = -math.inf
        self.requested: list[int] = []
        """The number of each page so far."""
        self.requested_at: list[float] = []
        self.before_page: Callable[[int], NoPage | None] = lambda number: None
        """Called before each answer; may change the account, or return what is answered instead of the page."""
        self.latency = 0.1
        """Seconds until a page is answered."""
        self.has_date = True
        self.has_total = True
        self.count = 0

    def server_now(self) -> float:
        return self.clock.now() - self.clock.stepped + SERVER_AHEAD

    def upload(self, *, age: float = 0.0, appears_in: float = 0.0, resolution: float = 0.001, **document: Any) -> str:
        """Add an asset that was created `age` seconds ago, and is listed in some seconds. Return its ID."""
        self.count += 1
        created_at = math.floor((self.server_now() - age) / resolution) * resolution
        shown = datetime.fromtimestamp(created_at, UTC).isoformat(timespec="milliseconds")
        asset_id = f"{self.count:024x}"
        full = {"_id": asset_id, "status": "processing", "created_at": shown} | document
        visible_at = self.server_now() - max(age, 0.0) + appears_in
        self.assets[asset_id] = Uploaded(asset_id, created_at, visible_at, full)
        insort(self._in_order, self.assets[asset_id], key=lambda each: (-each.created_at, -int(each.id, 16)))
        self._all_visible_at = max(self._all_visible_at, visible_at)
        return asset_id

    def delete(self, asset_id: str) -> None:
        self._in_order.remove(self.assets.pop(asset_id))

    def listed(self) -> Sequence[Uploaded]:
        """What is listed now, in its order."""
        now = self.server_now()
        if now >= self._all_visible_at:
            return self._in_order
        return [each for each in self._in_order if each.visible_at <= now]

    async def page(self, number: int, *, types: Sequence[str], filename: str) -> Page | NoPage:
        self.requested.append(number)
        self.requested_at.append(self.clock.monotonic())
        await asyncio.sleep(self.latency)
        if (failure := self.before_page(number)) is not None:
            return failure
        shown = self.listed()
        if types:
            shown = [each for each in shown if each.document.get("file_type") in types]
        start = (number - 1) * PAGE_LENGTH
        assets = tuple(asset_from(each.document) for each in shown[start : start + PAGE_LENGTH])
        return Page(
            assets,
            0,
            len(shown) if self.has_total else None,
            float(math.floor(self.server_now())) if self.has_date else None,
        )

    async def wait_for_capacity(self) -> None:
        await asyncio.sleep(0)


class KeptQueue:
    """The queue, as far as the intake uses it: it keeps what it accepted, over crashes, but may forget settlements."""

    def __init__(self) -> None:
        self.positions: dict[str, bytes] = {}
        self.accepted: Counter[str] = Counter()
        self.known: set[str] = set()
        """Assets that are pending, or whose settlement is kept."""
        self.batches: list[Batch] = []
        self.shown_assets: list[tuple[float, list[str]]] = []
        self.crash_in: int | None = None
        """After so many more batches nothing more is durable."""
        self.crashed = asyncio.Event()
        self._was_shown = asyncio.Event()
        self.has_room = asyncio.Event()
        self.has_room.set()

    def forget_settlements(self) -> None:
        """A month has passed, in which everything was settled."""
        self.known.clear()

    async def room(self) -> int:
        await self.has_room.wait()
        return 100

    async def accept(self, batch: Batch) -> None:
        assert not batch.accepts_settled
        await asyncio.sleep(0.01)
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crashed.set()
                await asyncio.sleep(1e9)
        self.batches.append(batch)
        for submission in batch.submissions:
            assert submission.source == "account"
            if submission.asset_id not in self.known:
                self.known.add(submission.asset_id)
                self.accepted[submission.asset_id] += 1
        if batch.position is not None:
            self.positions[batch.intake] = batch.position

    def shown(self, assets: Sequence[Asset], *, asked_at: float) -> None:
        self.shown_assets.append((asked_at, [asset.id for asset in assets]))
        self._was_shown.set()

    async def next_shown(self) -> None:
        """Wait until the next page is shown."""
        self._was_shown.clear()
        await self._was_shown.wait()


def intake_of(
    account: FakeAccount,
    queue: KeptQueue,
    *,
    once: bool = False,
    since: float | None = None,
    overlap: float = 120.0,
    filters: Filters | None = None,
    patience: float = math.inf,
    interval: float = 10.0,
) -> AccountIntake:
    followed = Account(
        pages=account,
        viewer=queue,
        address="https://api.example",
        interval=interval,
        overlap=overlap,
        since=since,
        filters=filters or Filters(),
        patience=patience,
    )
    return AccountIntake(followed, queue, account.clock, stored=dict(queue.positions), once=once)


async def run_for(intake: AccountIntake, seconds: float) -> None:
    """Let the intake run, and stop it in order. It ends at once."""
    stop = Stop()
    running = asyncio.ensure_future(intake.run(stop))
    await asyncio.wait([running], timeout=seconds)
    stop.set("test")
    async with asyncio.timeout(0.5):
        await running


async def run_until_crash(intake: AccountIntake, queue: KeptQueue, *, within: float) -> None:
    """Let the intake run until the queue crashes, or for some seconds, and kill it."""
    running = asyncio.ensure_future(intake.run(Stop()))
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await queue.crashed.wait()
    running.cancel()
    await asyncio.wait([running])
    queue.crash_in = None
    queue.crashed.clear()


class Running:
    """An intake that runs until the end of the block."""

    def __init__(self, account, queue, **options):
        self.intake = intake_of(account, queue, **options)
        self.stop = Stop()

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.intake.run(self.stop))
        await asyncio.sleep(5)
        return self.intake

    async def __aexit__(self, *_):
        self.stop.set("test")
        async with asyncio.timeout(1):
            await self.task
