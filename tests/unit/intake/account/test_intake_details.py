"""What the intake of the account says, stores and waits for, in virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.listings import NoPage
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.intake import AccountIntake, open_intake
from asset_worker.intake.account.ports import Account
from asset_worker.intake.account.position import BEFORE_ALL
from asset_worker.intake.ports import IntakeContext
from asset_worker.runtime.stop import Stop
from tests.doubles.account import Running, intake_of, run_for
from tests.doubles.clocks import ManualClock
from tests.unit.intake.account.test_odd_lists import leave_out

pytestmark = pytest.mark.virtual_time
INTERVAL = 10.0
NEWEST, OLDER = "account:https://api.example", "account-backfill:https://api.example"


@pytest.fixture
async def account_context(account, queue):
    followed = Account(
        pages=account,
        viewer=queue,
        address="https://api.example",
        interval=INTERVAL,
        overlap=120.0,
        since=None,
        filters=Filters(),
    )
    return IntakeContext(queue, account.clock, {}, rotated=(), once=False, is_output=lambda _: False, account=followed)


def named(logs, *events):
    return [log for log in logs if log["event"] in events]


async def test_it_follows_from_the_moment_at_which_the_start_is_durable(account, queue):
    intake, accept = intake_of(account, queue), queue.accept
    seen = []

    async def noting(batch):
        seen.append(intake.is_following)
        await accept(batch)

    queue.accept = noting
    assert intake.is_following is False
    await run_for(intake, 1)
    assert seen[:2] == [False, True]


async def test_positions_that_can_be_read_or_are_not_there_are_no_trouble(account, queue):
    with capture_logs() as logs:
        await run_for(intake_of(account, queue), 30)
        await run_for(intake_of(account, queue), 30)
    assert not named(logs, "account.position_unreadable")


async def test_a_stop_ends_the_wait_for_room(account, queue):
    queue.has_room.clear()
    await run_for(intake_of(account, queue), 5)
    assert account.requested == []


async def test_without_a_date_following_began_by_our_own_clock(account, queue):
    """However long the first answer took."""
    account.has_date = False
    account.before_page = lambda _: NoPage("no network")
    await run_for(intake_of(account, queue), 600)
    account.before_page = lambda _: None
    await run_for(intake_of(account, queue), 1)
    position = msgspec.json.decode(queue.positions[NEWEST])
    assert position["start"] == pytest.approx(position["began"] - 1.0)


async def test_what_is_caught_up_with_is_counted_and_its_gap_stored_before_the_position(account, queue):
    for number in range(120):
        account.upload(age=1000 + number)
    with capture_logs() as logs:
        async with Running(account, queue, since=BEFORE_ALL):
            await asyncio.sleep(60)
            before = len(queue.batches)
            for number in range(1_500):
                account.upload(age=number / 1_000)
            await asyncio.sleep(INTERVAL + 5)
        gap_at, gap = next(
            (at, msgspec.json.decode(batch.position)["gaps"][0])
            for at, batch in enumerate(queue.batches)
            if at >= before and batch.intake == OLDER
        )
        following = queue.batches[gap_at + 1]
        assert (following.intake, following.submissions) == (NEWEST, [])
        assert msgspec.json.decode(following.position)["checkpoint"] > gap["high"]
    counts = [log["count"] for log in named(logs, "account.backfilled")]
    assert counts == [120, len(queue.accepted) - 120 - 1_000]
    assert len(queue.accepted) == 1_620


async def test_an_account_that_had_no_assets_before_has_nothing_to_catch_up_with(account, queue):
    with capture_logs() as logs:
        async with Running(account, queue, since=BEFORE_ALL):
            await asyncio.sleep(60)
    assert not named(logs, "account.backfilled")


@pytest.mark.parametrize("lacking", ["room", "capacity"])
async def test_older_assets_are_not_asked_for_without_room_and_capacity(account, queue, lacking):
    """Capacity is for the newest ones first."""
    for number in range(500):
        account.upload(age=1000 + number)
    is_there = asyncio.Event()
    await run_for(intake_of(account, queue), 5)
    intake = intake_of(account, queue, since=BEFORE_ALL)
    stop = Stop()
    if lacking == "capacity":
        account.wait_for_capacity = is_there.wait

    def note(number):
        if lacking == "room" and number == 1:
            queue.has_room.clear()

    account.before_page = note
    account.requested.clear()
    running = asyncio.ensure_future(intake.run(stop))
    await asyncio.sleep(3 * INTERVAL)
    assert set(account.requested) == {1}
    account.before_page = lambda _: None
    is_there.set()
    queue.has_room.set()
    await asyncio.sleep(3 * INTERVAL)
    assert len(queue.accepted) == 500
    stop.set("test")
    await running


async def test_a_failure_after_the_stop_is_no_problem(account, queue):
    stop = Stop()

    def stopping(_number):
        stop.set("test")
        return NoPage("cut off")

    account.before_page = stopping
    intake = intake_of(account, queue)
    with capture_logs() as logs:
        await intake.run(stop)
    assert (intake.unreadable, named(logs, "account.unreadable")) == (None, [])


async def test_the_patience_of_once_counts_from_the_last_page_that_was_read(account, queue):
    """And a run without end has patience without end."""
    ids = {account.upload(age=1000 + number) for number in range(4_500)}
    account.latency = 1.0
    fails = iter([NoPage("503")])
    account.before_page = lambda number: next(fails, None) if number == 85 else None
    intake = intake_of(account, queue, once=True, since=BEFORE_ALL, patience=60.0)
    async with asyncio.timeout(400):
        await intake.run(Stop())
    assert not intake.has_lost_input
    assert queue.accepted.keys() == ids
    account.before_page = lambda _: NoPage("503")
    intake = intake_of(account, queue, patience=60.0)
    await run_for(intake, 600)
    assert not intake.has_lost_input


async def test_once_gives_up_when_its_patience_is_over(account, queue):
    account.before_page = lambda _: NoPage("503")
    intake = intake_of(account, queue, once=True, patience=60.0)
    began = asyncio.get_running_loop().time()
    await intake.run(Stop())
    assert asyncio.get_running_loop().time() - began == pytest.approx(61, abs=2)
    assert intake.has_lost_input


async def test_the_patience_ends_at_its_very_instant(account, queue):
    account.clock = ManualClock()

    def failing(_number):
        account.clock.move(30.0)
        return NoPage("503")

    account.before_page = failing
    await intake_of(account, queue, once=True, patience=60.0).run(Stop())
    assert account.requested == [1, 1]


async def test_a_run_that_has_given_up_does_not_go_on_with_older_assets(account, queue):
    """It ends."""
    account.upload(age=1000)
    await run_for(intake_of(account, queue), 30)
    account.before_page = lambda _: NoPage("503")
    intake = intake_of(account, queue, once=True, since=BEFORE_ALL, patience=60.0)
    async with asyncio.timeout(100):
        await intake.run(Stop())
    assert intake.has_lost_input


async def test_the_account_can_be_read_again_when_both_readers_can(account, queue):
    """One of them alone ends no trouble."""
    for number in range(500):
        account.upload(age=1000 + number)
    await run_for(intake_of(account, queue), 1)
    loop = asyncio.get_running_loop()
    began = loop.time() + 1  # the first answer is a page, so that the older ones are asked for

    def failing(number):
        passed = loop.time() - began
        return NoPage("503") if 0 <= passed < 30 or (number > 1 and 0 <= passed < 90) else None

    account.before_page = failing
    with capture_logs() as logs:
        async with Running(account, queue, since=BEFORE_ALL) as intake:
            await asyncio.sleep(60)
            assert intake.unreadable == "503"
            assert not named(logs, "account.readable")
            await asyncio.sleep(60)
            assert intake.unreadable is None
    assert [log["event"] for log in named(logs, "account.unreadable", "account.readable")] == [
        "account.unreadable",
        "account.readable",
    ]


async def test_a_position_moves_on_past_assets_that_are_not_watched(account, queue):
    """Otherwise the next run would read them again."""
    async with Running(account, queue, filters=Filters(metadata={"a": 1})):
        asset_id = account.upload()
        await asyncio.sleep(INTERVAL + 1)
        created_at = account.assets[asset_id].created_at
        assert msgspec.json.decode(queue.positions[NEWEST])["checkpoint"] == pytest.approx(created_at, abs=0.002)
    assert not queue.accepted


async def test_a_page_that_lacks_assets_is_read_again_when_the_list_counts_another_one(account, queue):
    """It may be the one that is missing."""
    hidden = {[account.upload(age=500 + number) for number in range(20)][7]}
    leave_out(account, lambda asset_id: asset_id in hidden)
    async with Running(account, queue):
        await asyncio.sleep(30 * INTERVAL)
        account.requested.clear()
        hidden.add(account.upload())
        await asyncio.sleep(INTERVAL)
        assert account.requested == [1] * 5
        hidden.clear()
        await asyncio.sleep(INTERVAL)
    assert len(queue.accepted) == 1


async def test_it_is_opened_with_what_its_context_says(account_context):
    intake = open_intake("account", account_context)
    assert (type(intake), intake.name, intake.is_following) == (AccountIntake, "account", False)
