"""Who waits for what: waits that are shared, left, continued; in virtual time, over both engines."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.embedding.errors import KeyRefused
from asset_worker.queue.local.journal import FILE_NAME
from tests.doubles.virtual_time import run_virtually
from tests.unit.embedding.host import INTERVAL, Call, asset, hosted

pytestmark = pytest.mark.virtual_time

ENGINES = pytest.mark.parametrize("is_durable", [False, True], ids=["memory", "durable"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


@ENGINES
async def test_a_wait_ends_with_the_event_of_its_asset(path, is_durable):
    async with hosted(path if is_durable else None) as host:
        call = await host.call(asset(host.world, ready_after=25), metadata={"user": "ada"})
        await asyncio.sleep(60)
        assert (call.outcome, call.completion.polls, call.completion.metadata) == ("ready", 4, {"user": "ada"})
        assert call.completion.id == f"{call.wait.asset_id}.1"


@ENGINES
async def test_each_of_several_callers_has_a_timeout_of_its_own(path, is_durable):
    """They share the looks, and the last look of each is at its own deadline."""
    async with hosted(path if is_durable else None) as host:
        asset_id = asset(host.world, ready_after=100)
        patient = await host.call(asset_id, timeout=600)
        await asyncio.sleep(12)
        hasty = await host.call(asset_id, timeout=3)
        other = await host.call(asset_id, timeout=43)
        await asyncio.sleep(200)
        assert [each.outcome for each in (hasty, other, patient)] == ["timed_out", "timed_out", "ready"]
        assert hasty.completion.reason == "still processing 3 s after acceptance"
        assert [hasty.ended_at, other.ended_at] == pytest.approx([15, 55], abs=0.3)
        assert 100 < patient.ended_at < 100 + INTERVAL + 1
        assert len({each.completion.id for each in (hasty, other, patient)}) == 3
        assert host.looks() <= 14


async def test_a_caller_who_is_content_with_less_gets_it_first():
    async with hosted() as host:
        asset_id = asset(host.world, ready_after=15, hls_after=200)
        playable = await host.call(asset_id, wait_for="hls", metadata={"n": 1})
        await asyncio.sleep(5)
        alone = await host.call(asset_id, wait_for="asset", metadata={"n": 2})
        await asyncio.sleep(300)
        assert (alone.outcome, playable.outcome) == ("ready", "ready")
        assert alone.ended_at < 15 + INTERVAL + 1 < 200 < playable.ended_at
        assert [each.completion.metadata["n"] for each in (playable, alone)] == [1, 2]
        assert alone.completion.renditions["hls"] == "processing"


async def test_a_caller_who_comes_later_has_the_whole_grace():
    async with hosted() as host:
        first = await host.call("0" * 24, not_found_grace=50)
        await asyncio.sleep(30)
        second = await host.call("0" * 24, not_found_grace=50)
        await asyncio.sleep(100)
        assert (first.outcome, second.outcome) == ("not_found", "not_found")
        assert [first.ended_at, second.ended_at] == pytest.approx([50, 80], abs=0.3)


@ENGINES
async def test_nobody_looks_at_an_asset_that_nobody_waits_for(path, is_durable):
    async with hosted(path if is_durable else None) as host:
        asset_id = asset(host.world, ready_after=1000)
        calls = [await host.call(asset_id) for _ in range(2)]
        await asyncio.sleep(15)
        host.waits.cancel(calls[0].wait)
        looks = host.looks()
        await asyncio.sleep(100)
        assert host.looks() >= looks + 9  # the other one still waits
        host.waits.cancel(calls[1].wait)
        looks = host.looks()
        await asyncio.sleep(1000)
        assert (host.looks(), [call.reports for call in calls]) == (looks, [[], []])
        assert host.queue.pending_count() == is_durable
        assert host.waits.kept == ((asset_id,) if is_durable else ())


@ENGINES
@pytest.mark.parametrize("left_after", [0.0, 0.05, 0.1, 3.0])
async def test_an_asset_that_was_left_is_waited_for_again(path, is_durable, left_after):
    """Also if the caller leaves while a look at it is in progress."""
    async with hosted(path if is_durable else None) as host:
        asset_id = asset(host.world, ready_after=40)
        first = await host.call(asset_id)
        await asyncio.sleep(left_after)
        host.waits.cancel(first.wait)
        await asyncio.sleep(20)
        assert host.looks() <= 1
        second = await host.call(asset_id, metadata={"second": True})
        await asyncio.sleep(60)
        assert (first.reports, second.outcome, second.completion.metadata) == ([], "ready", {"second": True})


@ENGINES
async def test_whoever_waits_again_is_answered_anew(path, is_durable):
    async with hosted(path if is_durable else None) as host:
        asset_id = asset(host.world, ready_after=0)
        for number in (1, 2, 3):
            call = await host.call(asset_id)
            await asyncio.sleep(1)
            assert (call.outcome, call.completion.id) == ("ready", f"{asset_id}.{number}")
            await host.waits.acknowledge(call.wait)
        assert (host.looks(), host.queue.pending_count()) == (3, 0)


async def test_a_wait_is_continued_after_a_crash(path):
    """With its acceptance, its metadata and what it waited for, and a timeout of the new caller."""
    async with hosted(path) as host:
        asset_id = asset(host.world, ready_after=30, hls_after=1000)
        first = await host.call(asset_id, timeout=50, wait_for="asset", metadata={"user": "ada"})
        await asyncio.sleep(5)
        host.queue.crash()
    async with hosted(path) as again:
        again.world.assets = host.world.assets
        assert again.waits.kept == (asset_id,)
        await asyncio.sleep(100)
        assert again.looks() == 0
        second = await again.call(asset_id, timeout=600)
        await asyncio.sleep(1)
        assert (first.reports, second.outcome, second.completion.metadata) == ([], "ready", {"user": "ada"})
        assert second.completion.id == f"{asset_id}.1"
        assert (second.completion.completed_at - second.completion.submitted_at).total_seconds() > 100
        assert again.waits.kept == ()


@pytest.mark.parametrize("is_acknowledged", [True, False])
async def test_a_completion_is_kept_until_its_caller_has_it(path, is_acknowledged):
    async with hosted(path) as host:
        call = await host.call(asset_id := asset(host.world, ready_after=0))
        await asyncio.sleep(1)
        assert call.outcome == "ready"
        if is_acknowledged:
            await host.waits.acknowledge(call.wait)
        host.queue.crash()
    async with hosted(path) as again:
        assert again.waits.kept == (() if is_acknowledged else (asset_id,))


async def test_a_completion_whose_caller_left_without_it_is_kept(path):
    """As with a task that is cancelled when its asset is done, or a loop that an error ends."""
    async with hosted(path) as host:
        asset_id = asset(host.world, ready_after=0)
        calls = [await host.call(asset_id) for _ in range(2)]
        await asyncio.sleep(1)
        assert [each.outcome for each in calls] == ["ready", "ready"]
        host.waits.cancel(calls[0].wait)
        assert host.waits.kept == ()  # the other one may have got it
        host.waits.cancel(calls[1].wait)
        assert host.waits.kept == (asset_id,)
        await host.waits.acknowledge(calls[1].wait)
        again = await host.call(asset_id)
        await asyncio.sleep(1)
        assert again.completion.id == calls[0].completion.id


async def test_a_completion_that_one_of_its_callers_has_is_not_kept(path):
    async with hosted(path) as host:
        asset_id = asset(host.world, ready_after=0)
        calls = [await host.call(asset_id) for _ in range(2)]
        await asyncio.sleep(1)
        host.waits.cancel(calls[0].wait)
        await host.waits.acknowledge(calls[1].wait)
        assert host.waits.kept == ()
        assert host.queue.pending_count() == 0


async def test_a_caller_who_comes_while_the_asset_is_settled_waits_anew(path):
    async with hosted(path) as host:
        first = await host.call(asset_id := asset(host.world, ready_after=0))
        await asyncio.sleep(1)
        settle, settling = host.queue.settle, asyncio.Event()

        async def slow(*arguments, **options):
            settling.set()
            await asyncio.sleep(5)
            await settle(*arguments, **options)

        host.queue.settle = slow
        acknowledging = asyncio.ensure_future(host.waits.acknowledge(first.wait))
        await settling.wait()
        second = await host.call(asset_id)
        await acknowledging
        await asyncio.sleep(1)
        assert (second.outcome, second.completion.id) == ("ready", f"{asset_id}.2")


async def test_a_caller_who_comes_during_a_look_has_one_at_its_own_deadline():
    async with hosted() as host:
        asset_id = asset(host.world, ready_after=1000)
        await host.call(asset_id)
        await asyncio.sleep(0.05)  # the first look takes twice as long
        call = await host.call(asset_id, timeout=3)
        await asyncio.sleep(5)
        assert (call.outcome, call.ended_at) == ("timed_out", pytest.approx(3.15, abs=0.1))


async def test_a_caller_who_comes_while_the_asset_is_accepted_has_a_look_at_its_own_deadline():
    """As on a slow disk."""
    async with hosted() as host:
        asset_id = asset(host.world, ready_after=1000)
        accept = host.waits._accept_batch

        async def slow(batch):
            await asyncio.sleep(1)
            await accept(batch)

        host.waits._accept_batch = slow
        beginning = asyncio.ensure_future(host.call(asset_id))
        await asyncio.sleep(0.5)
        call = await host.call(asset_id, timeout=3)
        await beginning
        await asyncio.sleep(5)
        assert (call.outcome, call.ended_at) == ("timed_out", pytest.approx(3.6, abs=0.1))


async def test_a_caller_who_left_before_the_wait_began_costs_nothing():
    async with hosted() as host:
        call = Call(asset(host.world, ready_after=0))
        host.waits.cancel(call.wait)
        await host.waits.begin([call.wait])
        await asyncio.sleep(1)
        assert (call.reports, host.looks(), host.queue.pending_count()) == ([], 0, 0)


async def test_a_caller_who_leaves_during_the_last_look_leaves_a_wait_that_is_kept(path):
    async with hosted(path) as host:
        call = await host.call(asset_id := asset(host.world, ready_after=0))
        await asyncio.sleep(0.05)
        host.waits.cancel(call.wait)
        await asyncio.sleep(1)
        assert (call.reports, host.waits.kept) == ([], (asset_id,))
        again = await host.call(asset_id)
        await asyncio.sleep(1)
        assert (again.outcome, again.completion.id) == ("ready", f"{asset_id}.1")


async def test_an_acknowledgement_does_not_end_the_wait_of_the_next_caller(path):
    async with hosted(path) as host:
        first = await host.call(asset_id := asset(host.world, ready_after=0))
        await asyncio.sleep(1)
        second = await host.call(asset_id)
        await host.waits.acknowledge(first.wait)
        await asyncio.sleep(1)
        assert (first.outcome, second.outcome) == ("ready", "ready")
        await host.waits.acknowledge(second.wait)
        assert host.queue.pending_count() == 0


async def test_all_waits_end_when_the_key_is_refused():
    async with hosted() as host:
        calls = [await host.call(asset(host.world, ready_after=100)) for _ in range(3)]
        await asyncio.sleep(5)
        host.refusal = KeyRefused("the API refuses the key")
        await asyncio.sleep(INTERVAL)
        assert [[str(each) for each in call.reports] for call in calls] == 3 * [["the API refuses the key"]]
        assert len({id(call.reports[0]) for call in calls}) == 3  # each caller gets a traceback of its own
        assert host.queue.pending_count() == 0


async def test_a_wait_that_is_not_even_accepted_ends_when_its_time_has_run_out():
    """As while the disk of a state directory is full."""
    async with hosted() as host:
        never = asyncio.Event()

        async def accept(batch):
            await never.wait()
            await host._accept(batch)

        host.waits._accept_batch = accept
        beginning = asyncio.ensure_future(host.call("a"))
        await asyncio.sleep(1)
        [group] = host.waits._groups.values()
        host.waits.expire(wait := group[0], "the disk is full")
        never.set()
        call = await beginning
        assert call.wait is wait
        assert call.outcome == "timed_out"
        assert "the disk is full" in call.completion.reason
        await asyncio.sleep(5)
        assert (host.looks(), host.queue.pending_count()) == (0, 0)


MOMENTS = st.floats(0, 120).map(lambda seconds: round(seconds, 1))
CALLERS = st.tuples(
    MOMENTS,
    st.integers(0, 1),
    st.one_of(st.none(), st.floats(0.5, 90).map(lambda seconds: round(seconds, 1))),
    st.sampled_from([None, "asset", "hls", "all"]),
    st.floats(1, 100).map(lambda seconds: round(seconds, 1)),
)
"""When a caller comes, for which asset, after how long it leaves (None: never), for what it waits, and its timeout."""


@settings(max_examples=25)
@given(
    callers=st.lists(CALLERS, min_size=1, max_size=6),
    ends=st.lists(st.tuples(MOMENTS, st.one_of(st.none(), MOMENTS)), min_size=2, max_size=2),
)
def test_each_wait_ends_as_it_would_alone(callers, ends):
    """Whoever else comes and goes: once, in time, with the outcome of what the caller asked for."""

    async def run():
        async with hosted() as host:
            ids = [asset(host.world, ready_after=ready, hls_after=hls) for ready, hls in ends]
            calls = []

            async def caller(comes, number, leaves, what, seconds):
                await asyncio.sleep(comes)
                call = await host.call(ids[number], timeout=seconds, wait_for=what)
                if leaves is not None:
                    await asyncio.sleep(leaves)
                    host.waits.cancel(call.wait)
                calls.append((call, comes, *ends[number], leaves, what, seconds))

            await asyncio.gather(*(caller(*each) for each in callers))
            await asyncio.sleep(400)
            looks = host.looks()
            await asyncio.sleep(100)
            assert (host.looks(), host.queue.pending_count()) == (looks, 0)
            for call, comes, ready, hls, leaves, what, seconds in calls:
                needs_hls = what == "hls" or (what in {None, "all"} and hls is not None)
                # `hls` requires what the asset may never have.
                done = (ready + hls if hls is not None else 10**6) if needs_hls else ready
                if leaves is None:
                    assert call.ended_at <= comes + seconds + 1.5
                    in_time = done <= comes + seconds - 0.5
                    late = done > comes + seconds + 1.5
                    assert not in_time or call.outcome == "ready"
                    assert not late or call.outcome == "timed_out"
                    assert call.outcome in {"ready", "timed_out"}
                assert len(call.reports) <= 1
                if call.outcome == "ready":
                    assert call.ended_at <= max(done, comes) + INTERVAL + 1.5

    run_virtually(run())
