"""The gate in virtual time: order, limits, stops, cancellations, and what is logged."""

import asyncio
from collections.abc import Mapping
from email.utils import formatdate

import pytest
from structlog.testing import capture_logs

from asset_worker.api.breaker import FAILURES_TO_OPEN, KEPT, Reason
from asset_worker.api.changes import UNAVAILABLE_HINT
from asset_worker.api.errors import (
    HeldError,
    KeyRefusedError,
    NotFoundError,
    RateLimitedError,
    StoppedError,
    TransientError,
)
from asset_worker.api.gate import Gate
from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.probes import FRESH_SECONDS
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock

pytestmark = pytest.mark.virtual_time
A = Subject(Endpoint.RETRIEVE, "a")
NO_HEADERS: Mapping[str, str] = {}


def gate(
    *, requests_per_second: float = 0, concurrency: int = 20, share: float = 1.0, limiter: RateLimiter | None = None
) -> Gate:
    return Gate(
        clock=LoopClock(asyncio.get_running_loop()),
        requests_per_second=requests_per_second,
        concurrency=concurrency,
        share=share,
        uniform=lambda: 0.5,
        limiter=limiter,
    )


def now() -> float:
    return asyncio.get_running_loop().time()


async def request(
    gate: Gate,
    status: int | None = 200,
    *,
    seconds: float = 0.0,
    headers: Mapping[str, str] = NO_HEADERS,
    subject: Subject = A,
) -> float:
    """One attempt, as the client makes it. Returns when it went out."""
    async with gate.permit(subject) as permit:
        sent_at = now()
        await asyncio.sleep(seconds)
        if status is None:
            raise TransientError("no answer")
        permit.answered(status, headers)
        if status >= 500:
            raise TransientError(str(status))
        if status == 401:
            raise KeyRefusedError("401")
        if status == 404:
            raise NotFoundError("404")
        if status == 429:
            raise RateLimitedError("429", permit.retry_after)
        return sent_at


async def warmed_up(gate: Gate) -> Gate:
    """Past the first requests, which go out a few at a time."""
    for _ in range(100):
        await request(gate)
    return gate


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def fail(gate: Gate, status: int | None, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises((TransientError, KeyRefusedError)):
            await request(gate, status)


async def test_the_first_request_goes_alone() -> None:
    it = gate()
    sent = await asyncio.gather(*(request(it, seconds=1) for _ in range(7)))
    assert sent == [0, 1, 1, 2, 2, 2, 2]


async def test_at_most_the_concurrency_is_in_flight_and_the_first_come_go_first() -> None:
    it = await warmed_up(gate(concurrency=3))
    requests = asyncio.gather(*(request(it, seconds=1) for _ in range(7)))
    await asyncio.sleep(0.5)
    assert it.traffic.in_flight == 3
    assert await requests == [0, 0, 0, 1, 1, 1, 2]
    assert it.traffic.in_flight == 0


async def test_a_request_lasts_from_when_it_is_sent() -> None:
    """The wait for its turn is not counted."""
    it = await warmed_up(gate(concurrency=1))
    before = it.traffic.durations.read()["retrieve", "2xx"]
    await asyncio.gather(*(request(it, seconds=1) for _ in range(3)))
    after = it.traffic.durations.read()["retrieve", "2xx"]
    assert after.count - before.count == 3
    assert after.sum - before.sum == pytest.approx(3)
    assert it.traffic.succeeded_at == pytest.approx(it._clock.now())


async def test_our_own_rate_is_kept_by_one_timer() -> None:
    it = await warmed_up(gate(requests_per_second=2))
    start = now()
    sent = await asyncio.gather(*(request(it) for _ in range(21)))
    assert sent == sorted(sent)
    assert now() - start == pytest.approx(10.5, abs=0.6)


async def test_where_nothing_is_limited_no_task_and_no_timer_is_made() -> None:
    it, loop = await warmed_up(gate()), asyncio.get_running_loop()
    before = len(asyncio.all_tasks())
    async with it.permit(A) as permit:
        permit.answered(200, NO_HEADERS)
        assert len(asyncio.all_tasks()) == before
        assert not loop._scheduled  # type: ignore[attr-defined]
    assert it.traffic.sent == 101


async def test_a_requested_wait_pauses_all_and_is_logged_once() -> None:
    it = await warmed_up(gate())
    with capture_logs() as logs:
        refused = [asyncio.create_task(request(it, 429, seconds=0.1, headers={"Retry-After": "30"})) for _ in range(5)]
        await asyncio.sleep(0.1)
        sent = await asyncio.gather(*(request(it, seconds=1) for _ in range(4)))
    assert sent[:2] == pytest.approx([30.1, 31.1])
    assert max(sent) == pytest.approx(32.1)
    paused = {"seconds": 30.0, "requested_by_server": True, "only": None}
    assert logs == [{"event": "api.rate_limited", "log_level": "warning", **paused}]
    errors = await asyncio.gather(*refused, return_exceptions=True)
    assert [error.retry_after for error in errors if isinstance(error, RateLimitedError)] == [30.0] * 5
    assert it.traffic.refused == 5


async def test_a_pause_learned_while_others_wait_holds_them_too() -> None:
    it = await warmed_up(gate(requests_per_second=1))
    first = asyncio.create_task(request(it, 429, seconds=0.5, headers={"Retry-After": "60"}))
    waiting = asyncio.gather(request(it), request(it))
    await asyncio.sleep(1.8)  # one request a second: the first went out, and was refused
    sent = await waiting
    assert min(sent) >= 60.5
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], RateLimitedError)


async def test_a_reported_quota_is_paced() -> None:
    """Thirty requests in sixty seconds: a quarter of them at once, then one every two seconds."""
    it = await warmed_up(gate())
    headers = {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "30", "X-Ratelimit-Reset": "60"}
    await request(it, headers=headers)
    waiting = [asyncio.create_task(request(it, headers={})) for _ in range(20)]
    await asyncio.sleep(30)
    assert sum(not task.done() for task in waiting) in {0, 1}
    sent = await asyncio.gather(*waiting)
    assert sent[:7] == [0] * 7
    assert sent[7] == pytest.approx(1.0), "half of it was saved up"
    assert sent[8] - sent[7] == pytest.approx(2.0, abs=0.1)
    assert sent[-1] > 20


async def test_resets_are_counted_by_the_servers_clock() -> None:
    it = await warmed_up(gate())
    refusal = {
        "Date": "Mon, 23 Nov 2026 19:00:00 GMT",
        "X-Ratelimit-Limit": "60",
        "X-Ratelimit-Remaining": "0",
        "X-Ratelimit-Reset": "1795460442",
    }
    await asyncio.gather(request(it, 429, headers=refusal), return_exceptions=True)
    assert await request(it) == pytest.approx(42, abs=0.1)


@pytest.mark.parametrize("wrong", [-7200, 7200])
async def test_an_edge_with_a_wrong_clock_makes_no_pause_of_hours_and_lifts_none(wrong: int) -> None:
    clock = LoopClock(asyncio.get_running_loop())
    clock.stepped = 1_800_000_000.0
    it = Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0)
    refusal = {
        "Date": formatdate(clock.now() + wrong, usegmt=True),
        "X-Ratelimit-Limit": "60",
        "X-Ratelimit-Remaining": "0",
        "X-Ratelimit-Reset": str(int(clock.now()) + 42),
    }
    await asyncio.gather(request(it, 429, headers=refusal), return_exceptions=True)
    assert await request(it) == pytest.approx(42, abs=1.1)


async def test_a_wall_clock_that_differs_from_the_servers_is_reported_once() -> None:
    clock = LoopClock(asyncio.get_running_loop())
    it = await warmed_up(Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0))
    with capture_logs() as logs:
        for _ in range(20):
            await request(it, headers={"Date": formatdate(clock.now() + 18_000, usegmt=True)})
        clock.stepped = 18_000.0
        for _ in range(20):
            await request(it, headers={"Date": formatdate(clock.now(), usegmt=True)})
    assert logs == [{"event": "clock.skewed", "log_level": "warning", "seconds": -18_000}]


async def test_resets_are_counted_by_our_own_clock_where_the_server_sends_no_date() -> None:
    clock = LoopClock(asyncio.get_running_loop())
    clock.stepped = 1_800_000_000.0
    it = Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0)
    refusal = {
        "X-Ratelimit-Limit": "60",
        "X-Ratelimit-Remaining": "0",
        "X-Ratelimit-Reset": str(int(clock.now()) + 42),
    }
    await asyncio.gather(request(it, 429, headers=refusal), return_exceptions=True)
    assert await request(it) == pytest.approx(42, abs=0.1)


async def test_cancelled_waiters_give_their_place_on() -> None:
    it = await warmed_up(gate(concurrency=1))
    holder = asyncio.create_task(request(it, seconds=10))
    await settle()
    waiters = [asyncio.create_task(request(it)) for _ in range(20)]
    await settle()
    for waiter in waiters[:-1]:
        waiter.cancel()
    assert await waiters[-1] == 10
    await holder
    assert await request(it) == 10, "the only place is free"


async def test_a_place_given_to_a_waiter_in_the_turn_it_is_cancelled_is_not_lost() -> None:
    it = await warmed_up(gate(concurrency=1))
    release = asyncio.Event()

    async def hold() -> None:
        async with it.permit(A) as permit:
            await release.wait()
            permit.answered(200, NO_HEADERS)

    holder = asyncio.create_task(hold())
    await settle()
    first, second = asyncio.create_task(request(it)), asyncio.create_task(request(it))
    await settle()
    release.set()
    while not holder.done():  # noqa: ASYNC110 - in this very turn of the loop
        await asyncio.sleep(0)
    first.cancel()  # its place is given, and it has not run since
    assert not second.done()
    assert await asyncio.wait_for(second, 5) == now()
    await asyncio.gather(first, holder, return_exceptions=True)
    assert first.cancelled()
    assert await asyncio.wait_for(request(it), 5) == now(), "the only place is free"


async def test_a_request_cancelled_in_flight_says_nothing() -> None:
    it = await warmed_up(gate(concurrency=1))
    for _ in range(15):
        hanging = asyncio.create_task(request(it, seconds=100))
        await settle()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    assert it.reason is None
    assert await asyncio.wait_for(request(it), 5) == now(), "the only place is free"


async def test_a_stop_turns_away_what_waits_and_what_comes() -> None:
    it, stop = await warmed_up(gate(concurrency=1)), Stop()
    watching = asyncio.create_task(it.watch(stop))
    in_flight = asyncio.create_task(request(it, seconds=5))
    await settle()
    waiting = asyncio.create_task(request(it))
    await asyncio.sleep(1)
    stop.set("test")
    with pytest.raises(StoppedError):
        await waiting
    with pytest.raises(StoppedError):
        await request(it)
    assert now() == 1
    await in_flight
    await watching


async def test_an_outage_is_logged_once_probed_and_recovered_from() -> None:
    it = await warmed_up(gate())
    with capture_logs() as logs:
        await fail(it, None, FAILURES_TO_OPEN)
        await fail(it, 503, 3)
        assert now() == 1 + 2 + 4
        assert it.reason is Reason.UNAVAILABLE
        assert it.open_for == 7
        assert await request(it, 200) == 15
        assert it.open_for == 0
        assert await request(it, 200) == 15
    assert logs == [
        {
            "event": "api.unavailable",
            "log_level": "error",
            "error": "no answer",
            "retry_in": 1.0,
            "key_source": "TWELVE_LABS_API_KEY or api.key",
            "hint": UNAVAILABLE_HINT,
        },
        {"event": "api.recovered", "log_level": "info", "seconds": 15.0},
    ]


async def test_a_refused_key_is_logged_once_and_a_new_one_is_tried_at_once() -> None:
    it = await warmed_up(gate())
    with capture_logs() as logs:
        await fail(it, 401, 5)
        waiting = asyncio.create_task(request(it))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        key_changed_at = now()
        it.key_changed()
        assert await waiting == key_changed_at
    assert [line["event"] for line in logs] == ["api.key_refused", "api.recovered"]


async def test_an_answer_that_there_is_no_such_asset_is_no_failure() -> None:
    it = await warmed_up(gate())
    for _ in range(30):
        with pytest.raises(NotFoundError):
            await request(it, 404)
    assert it.reason is None


async def cut_off(gate: Gate) -> None:
    async with gate.permit(A) as permit:
        permit.answered(200, NO_HEADERS)
        raise TransientError("cut off")


async def test_a_200_that_is_no_answer_is_a_failure() -> None:
    it = await warmed_up(gate())
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(TransientError):
            await cut_off(it)
    assert it.reason is Reason.UNAVAILABLE


async def test_a_429_shows_that_the_api_is_there_but_not_that_the_key_works() -> None:
    it = await warmed_up(gate())
    await fail(it, None, FAILURES_TO_OPEN)
    await fail(it, 429)
    assert it.reason is None
    await request(it)
    await fail(it, 401, 2)
    await fail(it, 429)
    assert it.reason is Reason.KEY_REFUSED


async def test_a_stall_lasts_while_nothing_may_be_sent_or_all_fails() -> None:
    it = await warmed_up(gate())
    assert it.stalled_for == 0
    await asyncio.gather(request(it, 429, headers={"Retry-After": "30"}), return_exceptions=True)
    await asyncio.sleep(20)
    assert it.stalled_for == 20
    await asyncio.sleep(10)
    assert it.stalled_for == 0, "a request may be sent"
    await request(it)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await request(it, seconds=100)
    assert it.stalled_for == 5, "it was given up"
    await fail(it, 503)
    assert it.stalled_for == 5
    await request(it)
    assert it.stalled_for == 0


async def test_a_gate_keeps_the_pause_of_the_one_before_and_its_stall_begins_with_itself() -> None:
    limiter = RateLimiter(requests_per_second=0, share=1.0)
    await asyncio.gather(request(gate(limiter=limiter), 429, headers={"Retry-After": "30"}), return_exceptions=True)
    await asyncio.sleep(10)
    it = gate(limiter=limiter)
    assert it.stalled_for == 0
    await asyncio.sleep(5)
    assert it.stalled_for == 5
    assert await request(it) == 30


async def test_a_refused_key_is_no_stall() -> None:
    it = await warmed_up(gate())
    await fail(it, 401, 5)
    await asyncio.sleep(3)
    assert it.stalled_for == 0


def about(number: int) -> Subject:
    return Subject(Endpoint.RETRIEVE, f"asset {number}")


async def opened(gate: Gate) -> Gate:
    """The breaker is open, and the next probe in turn is due in half a minute."""
    await fail(gate, 500, FAILURES_TO_OPEN)
    for _ in range(5):
        await fail(gate, 500)
    return gate


async def test_one_more_may_come_when_nobody_waits() -> None:
    it = gate(concurrency=1)
    first = asyncio.create_task(request(it, seconds=10))
    await settle()
    await it.wait_for_capacity()
    assert (now(), it.has_capacity) == (0, True)
    second = asyncio.create_task(request(it, seconds=10))
    await settle()
    assert not it.has_capacity
    await it.wait_for_capacity()
    assert now() == 10
    assert (await first, await second) == (0, 10)


async def test_a_new_asset_is_probed_within_seconds_beside_one_that_failed() -> None:
    it = await opened(gate())
    began = now()
    stale = asyncio.create_task(request(it, 500))
    await settle()
    await asyncio.wait_for(it.wait_for_capacity(), 1)
    assert await request(it, subject=about(1)) - began <= FRESH_SECONDS
    assert it.reason is None
    await asyncio.gather(stale, return_exceptions=True)


async def test_while_the_breaker_is_open_only_few_wait_that_failed_before_and_the_others_come_back_later() -> None:
    it = gate()
    for number in range(FAILURES_TO_OPEN):
        await asyncio.gather(request(it, 500, subject=about(number)), return_exceptions=True)
    waiting = [asyncio.create_task(request(it, 500, subject=about(number))) for number in range(FAILURES_TO_OPEN)]
    await settle()
    turned_away = [each.exception() for each in waiting if each.done()]
    assert [type(error) for error in turned_away] == [HeldError] * (FAILURES_TO_OPEN - KEPT)
    assert {error.retry_after for error in turned_away if isinstance(error, HeldError)} == {5.0}
    await asyncio.wait_for(it.wait_for_capacity(), 1)
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_endpoint_that_alone_is_limited_is_turned_away_and_the_other_goes_on() -> None:
    it = await warmed_up(gate())
    listing = Subject(Endpoint.LIST, "a")
    for pause in range(3):
        with capture_logs() as logs, pytest.raises(RateLimitedError):
            await request(it, 429, headers={"Retry-After": "30"}, subject=listing)
        assert logs[0]["only"] == (None if pause < 2 else "list")
        assert not it.may_list
        sent_at = await request(it)
    assert 60 <= sent_at < 65, "the third pause is not for retrieves"
    assert it.lists_are_limited
    with pytest.raises(RateLimitedError, match="list") as raised:
        await request(it, subject=listing)
    assert raised.value.retry_after == pytest.approx(30, abs=2)
    await asyncio.sleep(30)
    assert it.may_list
    await request(it, subject=listing)
    assert not it.lists_are_limited


async def test_after_a_pause_the_endpoint_goes_first_that_was_not_refused() -> None:
    it = await warmed_up(gate())
    listing = Subject(Endpoint.LIST, "a")
    with pytest.raises(RateLimitedError):
        await request(it, 429, headers={"Retry-After": "30"}, subject=listing)
    lists = asyncio.create_task(request(it, seconds=1, subject=listing))
    await settle()
    await asyncio.wait_for(it.wait_for_capacity(), 1)
    retrieves = asyncio.create_task(request(it, seconds=1))
    await settle()
    assert not it.has_capacity
    assert [await retrieves, await lists] == [30, 31]
