"""What the intake of the account reads and hands over, in virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.listings import NoPage
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL
from asset_worker.runtime.stop import Stop
from tests.doubles.account import Running, intake_of, run_for, run_until_crash

pytestmark = pytest.mark.virtual_time
INTERVAL = 10.0
OVERLAP = 120.0


async def test_only_assets_created_since_the_start_are_handed_over(account, queue):
    older = [account.upload(age=age) for age in (3600, 60, 5)]
    async with Running(account, queue):
        new = account.upload()
        await asyncio.sleep(INTERVAL)
    assert set(queue.accepted) == {new}
    assert not set(older) & set(queue.accepted)


async def test_the_start_is_stored_before_the_first_request(account, queue):
    account.before_page = lambda number: NoPage("no network")
    run = intake_of(account, queue)
    await run_for(run, 0.05)
    assert [batch.intake for batch in queue.batches][:1] == ["account:https://api.example"]
    assert msgspec.json.decode(queue.batches[0].position)["began"] == 1_000_000.0
    assert run.is_following


async def test_what_is_uploaded_during_an_outage_at_the_first_start_is_handed_over(account, queue):
    older = account.upload(age=10)
    account.before_page = lambda number: NoPage("no network")
    await run_for(intake_of(account, queue), 600)
    new = account.upload()
    await asyncio.sleep(86_400)
    account.before_page = lambda number: None
    await run_for(intake_of(account, queue), 60)
    assert set(queue.accepted) == {new}
    assert older not in queue.accepted


async def test_a_new_asset_is_handed_over_within_an_interval_and_its_page_is_its_first_look(account, queue):
    async with Running(account, queue):
        for _ in range(20):
            await asyncio.sleep(3.7)
            uploaded_at, new = asyncio.get_running_loop().time(), account.upload()
            await queue.next_shown()
            if new not in queue.accepted:
                await queue.next_shown()
            assert asyncio.get_running_loop().time() - uploaded_at <= INTERVAL + 0.3
            assert new in queue.shown_assets[-1][1]
            assert new in queue.accepted


async def test_an_account_in_which_nothing_happens_costs_one_request_an_interval(account, queue):
    for _ in range(500):
        account.upload(age=1000)
    async with Running(account, queue):
        await asyncio.sleep(600)
        assert account.requested == [1] * 61
        batches = len(queue.batches)
        await asyncio.sleep(3600)
        assert len(account.requested) == 61 + 360
        assert len(queue.batches) == batches, "nothing is written"


async def test_a_burst_is_read_to_its_end_at_once(account, queue):
    async with Running(account, queue):
        ids = {account.upload() for _ in range(500)}
        await asyncio.sleep(INTERVAL + 2)
        assert set(queue.accepted) == ids


async def test_an_asset_that_appears_late_is_found_though_the_newest_page_stays_the_same(account, queue):
    async with Running(account, queue):
        late = account.upload(appears_in=OVERLAP - 15)
        for _ in range(80):
            account.upload()
        await asyncio.sleep(OVERLAP + 2 * INTERVAL)
        assert late in queue.accepted
    assert len(queue.accepted) == 81


async def test_a_deletion_that_hides_a_late_asset_is_found_at_the_end_of_the_overlap(account, queue):
    """The newest page and the total stay the same."""
    async with Running(account, queue):
        first = account.upload()
        late = account.upload(appears_in=40)
        for _ in range(80):
            account.upload()
        await asyncio.sleep(39)
        account.delete(first)
        await asyncio.sleep(OVERLAP + 2 * INTERVAL)
        assert late in queue.accepted


async def test_after_the_overlap_the_list_is_left_alone(account, queue):
    async with Running(account, queue):
        for _ in range(80):
            account.upload()
        await asyncio.sleep(OVERLAP + 3 * INTERVAL)
        account.requested.clear()
        await asyncio.sleep(600)
        assert account.requested == [1] * 60


async def test_a_deletion_while_a_walk_is_under_way_loses_nothing(account, queue):
    async with Running(account, queue):
        ids = [account.upload() for _ in range(200)]

        def delete(number):
            if number == 3:
                for each in (199, 198, 197):
                    if ids[each] in account.assets:
                        account.delete(ids[each])

        account.before_page = delete
        await asyncio.sleep(INTERVAL + 2)
        assert set(queue.accepted) >= set(ids) - {ids[199], ids[198], ids[197]}


async def test_new_assets_are_found_while_thousands_are_caught_up_with(account, queue):
    await run_for(intake_of(account, queue), 30)
    missed = {account.upload() for _ in range(6_000)}
    await asyncio.sleep(3600)
    account.latency = 0.4
    async with Running(account, queue):
        for _ in range(3):
            new = account.upload()
            await asyncio.sleep(INTERVAL + 3)
            assert new in queue.accepted
            assert missed - queue.accepted.keys()
        await asyncio.sleep(600)
        assert missed <= queue.accepted.keys()
    assert max(queue.accepted.values()) == 1


async def test_a_burst_within_one_second_is_read_to_its_end_though_a_date_is_rounded_down(account, queue):
    account.latency = 0.001
    async with Running(account, queue):

        def upload(number):
            if number == 1 and not account.assets:
                for _ in range(1_500):
                    account.upload()

        account.before_page = upload
        await asyncio.sleep(60)
        assert len(queue.accepted) == 1_500


async def test_what_the_backfill_has_read_within_the_overlap_is_known_after_a_month(account, queue):
    await run_for(intake_of(account, queue), 30)
    for _ in range(1_500):
        account.upload()
    await run_until_crash(intake_of(account, queue), queue, within=60)
    assert len(queue.accepted) == 1_500
    queue.forget_settlements()
    await asyncio.sleep(30 * 86_400)
    await run_for(intake_of(account, queue), 200)
    assert max(queue.accepted.values()) == 1


async def test_uploads_that_fill_long_walks_do_not_keep_the_reader_of_older_assets_from_its_end(account, queue):
    await run_for(intake_of(account, queue), 30)
    await asyncio.sleep(7200)
    missed = {account.upload(age=3500 - number * 0.5) for number in range(7_000)}
    account.latency = 1.0
    async with Running(account, queue, overlap=1200.0):
        for _ in range(400):
            account.upload()
            account.upload()
            await asyncio.sleep(1)
    assert missed <= queue.accepted.keys()
    assert max(queue.accepted.values()) == 1


async def test_a_backfill_goes_on_where_it_was(account, queue):
    ids = {account.upload(age=1000 + number) for number in range(5_000)}
    await run_until_crash(intake_of(account, queue, since=BEFORE_ALL), queue, within=6)
    before = len(queue.accepted)
    assert 1_000 < before < 4_000
    for _ in range(130):
        account.upload()
    account.requested.clear()
    async with Running(account, queue, since=BEFORE_ALL):
        await asyncio.sleep(60)
    assert ids <= queue.accepted.keys()
    # Not all over again: the rest, the new ones, and a page or two to find the place.
    assert len([number for number in account.requested if number > 1]) <= (5_000 - before) // 50 + 10


async def test_an_earlier_since_goes_on_with_the_backfill_and_a_later_one_ends_it(account, queue):
    ids = {age: account.upload(age=age) for age in (9_000, 6_000, 3_000, 10)}
    now = account.server_now()
    for since, expected in (
        (None, ()),
        (now - 4_000, (10, 3_000)),
        (now - 7_000, (10, 3_000, 6_000)),
        (None, (10, 3_000, 6_000)),
        (BEFORE_ALL, (10, 3_000, 6_000, 9_000)),
        (now - 4_000, (10, 3_000, 6_000, 9_000)),
    ):
        await run_for(intake_of(account, queue, since=since), 30)
        assert set(queue.accepted) == {ids[age] for age in expected}
    queue.forget_settlements()
    await run_for(intake_of(account, queue, since=BEFORE_ALL), 30)
    assert max(queue.accepted.values()) == 1


async def test_what_a_later_since_leaves_unread_makes_no_position_grow_for_ever(account, queue):
    await run_for(intake_of(account, queue), 30)
    await asyncio.sleep(7200)
    for age in range(3000):
        account.upload(age=age)
    await run_for(intake_of(account, queue), 4)
    async with Running(account, queue, since=account.server_now()):
        for _ in range(100):
            account.upload()
            await asyncio.sleep(60)
    position = msgspec.json.decode(queue.positions["account:https://api.example"])
    assert len(position["known"]) < 10


async def test_nothing_is_read_while_there_is_no_room(account, queue):
    async with Running(account, queue):
        queue.has_room.clear()
        ids = {account.upload() for _ in range(120)}
        await asyncio.sleep(INTERVAL)
        account.requested.clear()
        await asyncio.sleep(INTERVAL)
        assert account.requested == []
        queue.has_room.set()
        await asyncio.sleep(INTERVAL)
        assert set(queue.accepted) == ids


async def test_a_stop_ends_a_request_in_flight_at_once(account, queue):
    async with Running(account, queue):

        async def hang(number, **_):
            await asyncio.sleep(1e6)

        account.page = hang
        await asyncio.sleep(INTERVAL)


async def test_what_was_created_before_the_start_and_appears_after_it_is_found_if_it_is_wanted(account, queue):
    account.upload(age=500)
    late = account.upload(age=50, appears_in=90)
    async with Running(account, queue, since=BEFORE_ALL):
        await asyncio.sleep(100)
        assert late in queue.accepted


async def test_once_reads_everything_since_an_instant_and_ends(account, queue):
    ids = {account.upload(age=age) for age in range(900)}
    account.upload(age=5_000)
    intake = intake_of(account, queue, once=True, since=account.server_now() - 1_000)
    async with asyncio.timeout(30):
        await intake.run(Stop())
    assert set(queue.accepted) == ids
    new = account.upload()
    async with asyncio.timeout(30):
        await intake_of(account, queue, once=True, since=account.server_now() - 1_000).run(Stop())
    assert set(queue.accepted) == {*ids, new}


async def test_once_gives_up_when_the_account_can_not_be_read(account, queue):
    account.before_page = lambda number: NoPage("503")
    intake = intake_of(account, queue, once=True, since=BEFORE_ALL, patience=600.0)
    async with asyncio.timeout(700):
        await intake.run(Stop())
    assert intake.has_lost_input


async def test_a_month_later_nothing_is_new(account, queue):
    async with Running(account, queue):
        for _ in range(30):
            account.upload()
            await asyncio.sleep(7)
    queue.forget_settlements()
    await asyncio.sleep(30 * 86_400)
    await run_for(intake_of(account, queue, overlap=86_400.0), 60)
    assert max(queue.accepted.values()) == 1


async def test_a_damaged_position_is_reported_and_following_begins_anew(account, queue):
    await run_for(intake_of(account, queue), 30)
    queue.positions["account:https://api.example"] = b'{"version": 9}'
    with capture_logs() as logs:
        intake = intake_of(account, queue)
    assert [line["event"] for line in logs] == ["account.position_unreadable"]
    account.upload(age=1_000)
    new = account.upload()
    await run_for(intake, 30)
    assert set(queue.accepted) == {new}


class TestFilters:
    async def test_metadata_is_compared_here(self, account, queue):
        filters = Filters(metadata={"project": "launch", "draft": False, "tags": ["a", "b"]})
        same = {"project": "launch", "draft": False, "tags": ["a", "b"], "more": 1}
        async with Running(account, queue, filters=filters):
            wanted = account.upload(user_metadata=same)
            account.upload()
            account.upload(user_metadata=None)
            for change in ({"project": "Launch"}, {"draft": 0}, {"tags": ["b", "a"]}):
                account.upload(user_metadata=same | change)
            await asyncio.sleep(INTERVAL)
        assert set(queue.accepted) == {wanted}

    async def test_a_changed_filter_is_not_retroactive(self, account, queue):
        video, audio = Filters(types=("video",)), Filters(types=("audio",))
        await run_for(intake_of(account, queue, filters=video), 30)
        async with Running(account, queue, filters=video):
            seen = [account.upload(file_type="video") for _ in range(3)]
            left_out = account.upload(file_type="audio")
            await asyncio.sleep(2 * INTERVAL)
            at_the_end = [account.upload(file_type=each) for each in ("audio", "video")]
            await asyncio.sleep(2)
        await asyncio.sleep(2)
        after = account.upload(file_type="audio")
        for _ in range(3):
            await run_for(intake_of(account, queue, filters=audio), 30)
        assert set(queue.accepted) == {*seen, after}
        assert not {left_out, *at_the_end} & queue.accepted.keys()

    async def test_an_asset_that_both_filters_admit_is_not_lost_between_them(self, account, queue):
        await run_for(intake_of(account, queue, filters=Filters(metadata={"a": 1})), 30)
        async with Running(account, queue, filters=Filters(metadata={"a": 1})):
            late = account.upload(appears_in=40, user_metadata={"a": 1, "b": 1})
            account.upload(appears_in=40, user_metadata={"b": 1})
            await asyncio.sleep(20)
        await run_for(intake_of(account, queue, filters=Filters(metadata={"b": 1})), 60)
        assert set(queue.accepted) == {late}


@pytest.mark.parametrize(
    ("since", "again", "shown"),
    [
        pytest.param(None, False, None, id="the first start: not known yet"),
        pytest.param(None, True, "1970-01-12T15:09:58.890Z", id="a later start"),
        pytest.param(BEFORE_ALL, False, "all", id="all"),
        pytest.param(1_000_000.0, True, "1970-01-12T13:46:40.000Z", id="an instant"),
    ],
)
async def test_the_log_says_which_assets_are_watched(account, queue, since, again, shown):
    if again:
        await run_for(intake_of(account, queue, since=since), 1)
    with capture_logs() as logs:
        await run_for(intake_of(account, queue, since=since), 1)
    assert [log["since"] for log in logs if log["event"] == "account.following"] == [shown]
