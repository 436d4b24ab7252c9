"""Assets that are held: when each is settled or confirmed, and how many there may be."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.assets import AssetId, Expectations, Unanswered
from asset_worker.poller.confirmations import Confirmations
from asset_worker.poller.list_health import Treatment
from tests.doubles.api import READY, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import seen

pytestmark = pytest.mark.virtual_time

DONE = seen("ready")
LONG = 10**6


class Holding:
    """Confirmations of one shape, of which three are in flight and the others held, and when each was released."""

    def __init__(self, count: int) -> None:
        self.api = ScriptedApi(READY)
        self.loop = asyncio.get_running_loop()
        clock = LoopClock(self.loop)
        self.confirmations = Confirmations(self.api, confirm_all=False, clock=clock, uniform=lambda: 1.0)
        self.begun = self.loop.time()
        self.released: dict[int, tuple[float, Treatment]] = {}
        self.waiting = []
        treated = [self.confirmations.treat(_id(number), DONE, is_doubtful=False) for number in range(count + 3)]
        assert treated == [Treatment.CONFIRM] * 3 + [Treatment.HOLD] * count

    async def wait_for(self, *numbers: int, within: float = LONG) -> None:
        """Wait for these held assets to be released, from now on."""
        self.waiting += [asyncio.ensure_future(self._wait(number, within)) for number in numbers]
        await asyncio.sleep(0)

    async def _wait(self, number: int, within: float) -> None:
        treatment = await self.confirmations.released(_id(number), DONE, within=within)
        self.released[number] = round(self.loop.time() - self.begun, 3), treatment

    def retrieved(self, number: int, *, shows: object = DONE) -> None:
        """End the retrieve of an asset."""
        self.confirmations.compare(_id(number), DONE, shows, Expectations())

    async def until(self, second: float) -> None:
        await asyncio.sleep(self.begun + second - self.loop.time())

    async def end(self) -> None:
        for each in self.waiting:
            each.cancel()
        await asyncio.wait(self.waiting)


def _id(number: int) -> AssetId:
    return AssetId(f"asset-{number}")


async def test_held_assets_are_settled_when_three_retrieves_have_agreed():
    held = Holding(2)
    await held.wait_for(3, 4)
    for number in range(3):
        await held.until(0.5 * number)
        held.retrieved(number)
    await held.until(1.5)
    assert held.released == {3: (1.0, Treatment.SETTLE), 4: (1.0, Treatment.SETTLE)}
    assert held.confirmations.proven_shapes == 1


async def test_a_held_asset_is_confirmed_for_itself_at_half_the_time_to_its_deadline():
    held = Holding(2)
    held.api.has_capacity = False
    await held.wait_for(3, within=5.0)
    await held.until(4.0)
    assert held.released == {3: (2.5, Treatment.CONFIRM)}


async def test_an_asset_that_was_held_for_half_a_minute_is_held_on_if_a_confirmation_has_ended_since():
    """Retrieves queue for a while, and that says nothing. From then on none of them ends."""
    held = Holding(60)
    held.api.has_capacity = False
    await held.wait_for(*range(3, 63))
    await held.until(20.0)
    held.retrieved(0, shows=Unanswered("503"))
    await held.until(31.0)
    assert held.released == {3: (20.0, Treatment.CONFIRM)}, "it takes the place of the one that showed nothing"
    held.api.has_capacity = True
    await held.until(49.5)
    assert 62 not in held.released
    await held.until(52.5)
    time, treatment = held.released[62]
    assert (50.0 <= time <= 52.0, treatment) == (True, Treatment.CONFIRM)
    await held.end()


async def test_while_retrieves_take_long_others_start_beside_them_after_two_seconds():
    """Although one of them has just ended."""
    held = Holding(5)
    await held.wait_for(*range(3, 8))
    await held.until(1.5)
    held.retrieved(0)
    await held.until(3.9)
    assert held.released == dict.fromkeys((3, 4, 5), (2.0, Treatment.CONFIRM))
    await held.end()


async def test_at_most_two_hundred_assets_are_held_while_a_list_may_be_requested():
    held = Holding(200)
    may_list = [held.confirmations.may_list]
    assert held.confirmations.treat(_id(999), DONE, is_doubtful=False) is Treatment.HOLD
    may_list.append(held.confirmations.may_list)
    await held.wait_for(999, within=0.0)
    assert held.released == {999: (0.0, Treatment.CONFIRM)}
    assert [*may_list, held.confirmations.may_list] == [True, False, True]


async def test_what_is_no_longer_held_takes_no_room():
    held = Holding(205)
    await held.wait_for(*range(3, 13), within=0.0)
    assert held.confirmations.may_list
    assert len(held.released) == 10


@pytest.mark.parametrize(("ended", "seconds"), [(0.0, 1.0), (0.5, 2.0)])
async def test_a_request_waits_for_room_until_no_confirmation_has_ended_for_a_second(ended: float, seconds: float):
    held = Holding(201)
    waiting = asyncio.ensure_future(held.confirmations.wait_for_room())
    await held.until(ended)
    held.retrieved(0)
    await waiting
    assert (held.loop.time() - held.begun, held.confirmations.may_list) == (seconds, False)


async def test_a_request_waits_for_room_as_long_as_confirmations_queue():
    held = Holding(201)
    held.api.has_capacity = False
    waiting = asyncio.ensure_future(held.confirmations.wait_for_room())
    await held.until(60.5)
    assert not waiting.done()
    held.api.has_capacity = True
    await waiting
    assert held.loop.time() - held.begun == 61.0
