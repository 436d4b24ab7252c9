"""Random uploads, deletions, late appearances and crashes: nothing is missed, nothing comes twice."""

from __future__ import annotations

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.domain.listings import NoPage
from asset_worker.intake.account.position import BEFORE_ALL
from tests.doubles.account import FakeAccount, KeptQueue, intake_of, run_for, run_until_crash
from tests.doubles.clocks import LoopClock
from tests.doubles.virtual_time import run_virtually

OVERLAP = 120.0


class World:
    """An account in which much happens, also between the pages of a walk."""

    def __init__(self, seed: int, *, older: int, resolution: float) -> None:
        self.random = Random(seed)
        self.clock = LoopClock(asyncio.get_running_loop())
        self.account = FakeAccount(self.clock)
        self.account.before_page = self.between_pages
        self.queue = KeptQueue()
        self.resolution = resolution
        self.activity = 0.0
        for number in range(older):
            self.account.upload(age=1000.0 + number // 3, resolution=resolution)
        self.older = set(self.account.assets)

    def between_pages(self, number: int) -> NoPage | None:
        if self.random.random() < self.activity:
            self.change()
        fails = self.random.random() < self.activity / 20
        return NoPage("500", self.random.choice([0.0, 3.0])) if fails else None

    def change(self) -> None:
        match self.random.randrange(6):
            case 0 | 1:
                self.upload(self.random.choice([1, 1, 1, 3, 70]))
            case 2:
                self.upload(1, appears_in=self.random.uniform(0.0, OVERLAP - 20))
            case 3 | 4:
                for _ in range(self.random.choice([1, 1, 2, 60])):
                    self.delete()
            case 5:
                self.delete()
                self.upload(1)

    def upload(self, count: int, *, appears_in: float = 0.0) -> None:
        for _ in range(count):
            self.account.upload(appears_in=appears_in, resolution=self.resolution)

    def delete(self) -> None:
        """Delete an asset: mostly one of the newest, which the follower is about to read."""
        if self.account.assets:
            ids = list(self.account.assets)
            self.account.delete(ids[-1 - int(self.random.random() ** 3 * (len(ids) - 1))])


async def play(seed: int, *, older: int, resolution: float, since: float | None, months: bool) -> World:
    """A few runs that end in different ways, then one in which nothing changes any more."""
    world = World(seed, older=older, resolution=resolution)
    random, queue = world.random, world.queue
    await run_for(intake_of(world.account, queue, since=since), 1.0)
    for _ in range(random.randrange(1, 5)):
        world.activity = random.choice([0.0, 0.2, 0.8])
        intake = intake_of(world.account, queue, since=since)
        if random.random() < 0.5:
            queue.crash_in = random.randrange(8)
            await run_until_crash(intake, queue, within=random.uniform(5, 300))
        else:
            await run_for(intake, random.uniform(5, 300))
        world.activity = 0.0
        if random.random() < 0.5:
            world.upload(random.choice([1, 60, 500, 1500]))
        await asyncio.sleep(random.choice([0.0, 5.0, 3600.0]))
        if months:
            await run_for(intake_of(world.account, queue, since=since), 600.0)
            queue.forget_settlements()
            await asyncio.sleep(30 * 86_400)
    await run_for(intake_of(world.account, queue, since=since), 1200.0)
    return world


def check(world: World, *, has_older: bool) -> None:
    accepted = world.queue.accepted
    assert {asset_id: count for asset_id, count in accepted.items() if count > 1} == {}, "twice"
    wanted = {each for each in world.account.assets if has_older or each not in world.older}
    assert wanted - accepted.keys() == set(), "missed"
    if not has_older:
        assert not accepted.keys() & world.older, "older"


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    older=st.sampled_from([0, 3, 120, 700]),
    resolution=st.sampled_from([0.001, 1.0]),
    is_all=st.booleans(),
    months=st.booleans(),
)
def test_nothing_is_missed_and_nothing_comes_twice(
    seed: int, older: int, resolution: float, is_all: bool, months: bool
) -> None:
    async def main() -> None:
        since = BEFORE_ALL if is_all else None
        world = await play(seed, older=older, resolution=resolution, since=since, months=months)
        check(world, has_older=is_all)

    run_virtually(main())
