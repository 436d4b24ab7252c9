"""Lists that fail, lag, leave out assets or count them wrongly, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from random import Random

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.listings import NoPage
from asset_worker.intake.account.intake import READINGS
from asset_worker.intake.account.position import BEFORE_ALL
from asset_worker.runtime.stop import Stop
from tests.doubles.account import Running, intake_of, run_for

pytestmark = pytest.mark.virtual_time
INTERVAL = 10.0


def problem_of(intake):
    return intake.unreadable


async def test_without_totals_the_next_walk_finds_what_a_deletion_has_hidden(account, queue):
    account.has_total = False
    await run_for(intake_of(account, queue), 30)
    await asyncio.sleep(7_200)
    for age in range(3_600, 600, -10):
        account.upload(age=age)
    newest = account.upload()
    account.before_page = lambda number: account.delete(newest) if number == 2 and newest in account.assets else None
    await run_for(intake_of(account, queue), 60)
    assert account.assets.keys() <= queue.accepted.keys()


async def test_older_assets_are_read_while_others_are_deleted_all_the_time(account, queue):
    ids = [account.upload(age=1000 + number) for number in range(3_000)]
    async with Running(account, queue, since=BEFORE_ALL):
        for each in ids[:900:15]:
            account.delete(each)
            await asyncio.sleep(2)
        assert queue.accepted.keys() >= account.assets.keys()


async def test_a_list_that_gets_shorter_at_each_page_is_no_spin(account, queue):
    ids = [account.upload(age=1000 + number) for number in range(3_000)]

    def delete(number):
        if number > 1:
            account.delete(ids.pop())

    async with Running(account, queue, since=BEFORE_ALL):
        account.before_page = delete
        requested = len(account.requested)
        await asyncio.sleep(300)
    assert len(account.requested) - requested <= 300 / INTERVAL * 8


async def test_assets_of_the_same_time_that_change_places_are_all_found(account, queue):
    shuffle = random.Random(1).random

    def shuffled():
        return sorted(account.assets.values(), key=lambda each: (-each.created_at, shuffle()))

    account.listed = shuffled
    for number in range(3_000):
        account.upload(age=1000.0 + number // 3, resolution=1.0)
    await run_for(intake_of(account, queue, since=BEFORE_ALL, once=True), 600)
    assert account.assets.keys() == queue.accepted.keys()


async def test_a_server_that_ignores_page_numbers_is_a_problem_and_no_spin(account, queue):
    ids = {account.upload(age=1000 + number) for number in range(60)}
    page = account.page

    async def first_page(number, **filters):
        return await page(1, **filters)

    account.page = first_page
    async with Running(account, queue, since=BEFORE_ALL) as intake:
        requested = len(account.requested)
        await asyncio.sleep(300)
        assert "page 2 of the list of assets is the same as page 1" in problem_of(intake)
        assert len(account.requested) - requested <= 300 / INTERVAL * 4
        account.page = page
        await asyncio.sleep(2 * INTERVAL)
        assert problem_of(intake) is None
    assert queue.accepted.keys() == ids


def leave_out(account, is_left_out):
    """Let pages leave out assets of which `is_left_out(asset_id)` is true. The count of all stays what it was."""
    page = account.page

    async def page_with_holes(number, **filters):
        found = await page(number, **filters)
        return msgspec.structs.replace(found, assets=tuple(each for each in found.assets if not is_left_out(each.id)))

    account.page = page_with_holes


async def test_pages_that_leave_out_assets_at_random_hide_none(account, queue):
    uniform = Random(1).random
    ids = {account.upload(age=1000 + number) for number in range(3_000)}
    leave_out(account, lambda _: uniform() < 0.1)
    async with Running(account, queue, since=BEFORE_ALL):
        for _ in range(1_200):
            ids.add(account.upload())
        await asyncio.sleep(200)
    assert queue.accepted == Counter(ids)


async def test_an_asset_that_is_counted_and_never_listed_costs_no_more_while_nothing_changes(account, queue):
    hidden = [account.upload(age=500 + number) for number in range(20)][7]
    leave_out(account, lambda asset_id: asset_id == hidden)
    async with Running(account, queue):
        await asyncio.sleep(3600)
        requested = len(account.requested)
        await asyncio.sleep(1000)
    assert len(account.requested) - requested == 1000 / INTERVAL
    assert requested <= (3600 + 5) / INTERVAL + 2 * READINGS


async def test_assets_of_the_future_and_of_1970_blind_nobody(account, queue):
    async with Running(account, queue):
        future, past = account.upload(age=-2e9), account.upload(age=1e9)
        await asyncio.sleep(INTERVAL)
        for _ in range(5):
            new = account.upload()
            await asyncio.sleep(INTERVAL)
            assert new in queue.accepted
    assert future in queue.accepted
    assert past not in queue.accepted
    queue.forget_settlements()
    await asyncio.sleep(30 * 86_400)
    await run_for(intake_of(account, queue), 60)
    assert max(queue.accepted.values()) == 1


async def test_an_asset_without_a_readable_time_is_handed_over(account, queue):
    async with Running(account, queue):
        odd = account.upload(created_at={"seconds": 5})
        account.assets[odd].document["created_at"] = None
        await asyncio.sleep(INTERVAL)
        assert odd in queue.accepted


async def test_without_totals_late_assets_are_found_as_well(account, queue):
    account.has_total = False
    async with Running(account, queue):
        late = account.upload(appears_in=50)
        ids = {account.upload() for _ in range(80)}
        await asyncio.sleep(80)
        assert queue.accepted.keys() == {late, *ids}


async def test_without_a_date_the_newest_asset_corrects_a_clock_that_is_ahead(account, queue):
    account.has_date = False
    account.clock.stepped = 50_000.0
    older = account.upload(age=100)
    async with Running(account, queue):
        new = account.upload()
        await asyncio.sleep(INTERVAL)
        assert set(queue.accepted) == {new}
    assert older not in queue.accepted


async def test_a_clock_that_is_set_changes_nothing(account, queue):
    async with Running(account, queue):
        account.clock.stepped = -86_400.0
        first = account.upload()
        await asyncio.sleep(INTERVAL)
        account.clock.stepped = 86_400.0
        second = account.upload()
        await asyncio.sleep(INTERVAL)
        assert set(queue.accepted) == {first, second}


async def test_a_failing_account_is_a_problem_until_it_recovers(account, queue):
    async with Running(account, queue) as intake:
        assert problem_of(intake) is None
        account.before_page = lambda number: NoPage("503 Service Unavailable")
        failed_at = account.clock.now()
        new = account.upload()
        with capture_logs() as logs:
            await asyncio.sleep(5 * INTERVAL)
        assert [line["event"] for line in logs] == ["account.unreadable"]
        assert problem_of(intake) == "503 Service Unavailable"
        assert intake.unreadable_since == pytest.approx(failed_at, abs=INTERVAL)
        account.before_page = lambda number: None
        with capture_logs() as logs:
            await asyncio.sleep(INTERVAL)
        assert "account.readable" in [line["event"] for line in logs]
        assert (problem_of(intake), intake.unreadable_since) == (None, None)
        assert new in queue.accepted


async def test_a_failing_account_is_asked_again_soon_however_long_the_interval_is(account, queue):
    for age in range(500):
        account.upload(age=age)
    account.before_page = lambda number: NoPage("500") if len(account.requested) < 3 else None
    async with Running(account, queue, interval=3_600.0, since=BEFORE_ALL):
        await asyncio.sleep(120)
        assert len(queue.accepted) == 500


async def test_a_failing_account_is_asked_once_an_interval_or_when_the_server_says(account, queue):
    account.before_page = lambda number: NoPage("429", 45.0)
    async with Running(account, queue):
        await asyncio.sleep(450)
    assert len(account.requested) == 11


async def test_after_a_long_walk_that_fails_the_server_decides_when_to_ask_again(account, queue):
    async with Running(account, queue):
        for _ in range(300):
            account.upload()
        account.latency = 4.0
        account.before_page = lambda number: NoPage("503", 45.0) if number == 4 else None
        await asyncio.sleep(120)
    place = account.requested.index(4)
    assert account.requested_at[place + 1] - account.requested_at[place] == pytest.approx(4.0 + 45.0)


async def test_a_walk_that_fails_begins_again_and_what_was_read_stays(account, queue):
    async with Running(account, queue):
        ids = {account.upload() for _ in range(300)}
        account.before_page = lambda number: NoPage("500") if number == 4 else None
        await asyncio.sleep(3 * INTERVAL)
        assert len(queue.accepted) == 150
        account.before_page = lambda number: None
        await asyncio.sleep(INTERVAL + 2)
        assert set(queue.accepted) == ids


async def test_an_empty_page_in_the_midst_ends_no_walk(account, queue):
    async with Running(account, queue) as intake:
        ids = {account.upload() for _ in range(120)}
        page = account.page

        async def page_with_hole(number, **options):
            found = await page(number, **options)
            return msgspec.structs.replace(found, assets=()) if number == 2 else found

        account.page = page_with_hole
        await asyncio.sleep(2 * INTERVAL)
        assert "page 2 of the list of assets is empty" in intake.unreadable
        account.page = page
        await asyncio.sleep(2 * INTERVAL)
        assert set(queue.accepted) == ids


async def test_once_ends_though_the_list_counts_more_assets_than_it_shows(account, queue):
    ids = {account.upload(age=500) for _ in range(120)}
    page = account.page

    async def page_that_counts_more(number, **filters):
        return msgspec.structs.replace(await page(number, **filters), total=1_000)

    account.page = page_that_counts_more
    intake = intake_of(account, queue, since=BEFORE_ALL, once=True)
    async with asyncio.timeout(60):
        await intake.run(Stop())
    assert queue.accepted.keys() == ids
    assert problem_of(intake) is None


async def test_a_page_that_lacks_an_asset_at_each_reading_is_read_five_times_and_believed(account, queue, monkeypatch):
    """The list may count an asset that it never shows: then an interval costs one request, as ever."""
    whole_page = account.page

    async def page(number, **filters):
        found = await whole_page(number, **filters)
        return msgspec.structs.replace(found, assets=found.assets[1:])

    monkeypatch.setattr(account, "page", page)
    for _ in range(3):
        account.upload(age=60)
    await run_for(intake_of(account, queue), 5)
    assert account.requested == [1] * 5
    async with Running(account, queue) as intake:
        account.requested.clear()
        await asyncio.sleep(10 * INTERVAL)
        assert problem_of(intake) is None
    assert account.requested == [1] * 10
