"""The gate, one attempt at a time: who goes first, who is turned away, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate

import pytest
from structlog.testing import capture_logs

from asset_worker.api.breaker import FAILURES_TO_OPEN, KEPT, Reason
from asset_worker.api.errors import (
    ApiError,
    EdgeRefusedError,
    HeldError,
    KeyRefusedError,
    RateLimitedError,
    StoppedError,
    TransientError,
)
from asset_worker.api.gate import Gate, Permit
from asset_worker.api.retry import retry_after_of
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.domain.worker_report import QuotaReport
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock

pytestmark = pytest.mark.virtual_time
NO_HEADERS: Mapping[str, str] = {}
USED_UP = {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "60"}
KINDS = {401: KeyRefusedError, 403: EdgeRefusedError, 429: RateLimitedError}


def about(name: str) -> Subject:
    return Subject(Endpoint.RETRIEVE, name)


A, B, C = (about(name) for name in "abc")
LISTING = Subject(Endpoint.LIST, "a")


def now() -> float:
    return asyncio.get_running_loop().time()


def new_gate(*, requests_per_second: float = 0, concurrency: int = 20) -> tuple[Gate, LoopClock]:
    clock, rate = LoopClock(asyncio.get_running_loop()), requests_per_second
    gate = Gate(clock=clock, requests_per_second=rate, concurrency=concurrency, share=1.0, uniform=lambda: 0.5)
    return gate, clock


async def request(
    gate: Gate, status: int | None = 200, *, subject: Subject = A, headers: Mapping[str, str] = NO_HEADERS
) -> float:
    """One attempt, which ends at once. Returns when it went out."""
    async with gate.permit(subject) as permit:
        if status is not None:
            permit.answered(status, headers)
        if status != 200:
            raise KINDS.get(status or 0, TransientError)(str(status))
        return now()


async def error_of(
    gate: Gate, status: int | None, *, subject: Subject = A, headers: Mapping[str, str] = NO_HEADERS
) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await request(gate, status, subject=subject, headers=headers)
    return raised.value


def has_capacity(gate: Gate) -> bool:
    return gate.has_capacity


class Held:
    """An attempt that stays in flight until it is let go."""

    def __init__(self, gate: Gate, subject: Subject = A, status: int = 200) -> None:
        self._gate, self._subject, self._status = gate, subject, status
        self._is_over = asyncio.Event()
        self.permit: Permit | None = None
        self.task = asyncio.create_task(self._run())

    @property
    def is_sent(self) -> bool:
        return self.permit is not None

    def answer(self) -> None:
        """The head of its answer comes."""
        if self.permit is not None and self.permit.status is None:
            self.permit.answered(self._status, NO_HEADERS)

    async def end(self) -> None:
        self._is_over.set()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        async with self._gate.permit(self._subject) as self.permit:
            await self._is_over.wait()
            self.answer()
            if self._status != 200:
                raise KINDS.get(self._status, TransientError)(str(self._status))


async def held(gate: Gate, *subjects: Subject, status: int = 200) -> list[Held]:
    found = [Held(gate, subject, status) for subject in subjects]
    await settle()
    return found


async def drop(*attempts: Held) -> None:
    for each in attempts:
        each.task.cancel()
    await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def warmed_up(gate: Gate) -> Gate:
    """Past the first requests, which go out a few at a time."""
    for _ in range(100):
        await request(gate)
    return gate


async def opened(gate: Gate) -> Gate:
    for _ in range(FAILURES_TO_OPEN):
        await error_of(gate, 500)
    assert gate.reason is Reason.UNAVAILABLE
    return gate


@contextmanager
def timers() -> Iterator[list[asyncio.TimerHandle]]:
    """The timers that are set when the context is left."""
    found: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    yield found
    found += [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]


async def test_a_stall_lasts_to_the_end_of_a_pause() -> None:
    it = await warmed_up(new_gate()[0])
    await error_of(it, 429, headers={"Retry-After": "30"})
    await asyncio.sleep(29.5)
    assert it.stalled_for == 29.5
    await asyncio.sleep(0.5)
    assert it.stalled_for == 0


async def test_an_outage_sends_no_lists_and_repeats_nothing_soon() -> None:
    it = await warmed_up(new_gate()[0])
    assert (it.may_list, it.may_repeat(A)) == (True, True)
    await opened(it)
    assert (it.may_list, it.may_repeat(A)) == (False, False)


async def test_a_key_is_not_refused_before_a_second_refusal() -> None:
    it = await warmed_up(new_gate()[0])
    await error_of(it, 401)
    assert (it.reason, it.key_refused_for, it.problem) == (None, None, None)
    await asyncio.sleep(3)
    await error_of(it, 401)
    assert (it.reason, it.key_refused_for) == (Reason.KEY_REFUSED, 3)


async def test_a_used_up_limit_is_no_problem_while_nothing_waits_for_it_though_an_attempt_has_failed() -> None:
    it = await warmed_up(new_gate()[0])
    in_flight = (await held(it, A, status=500))[0]
    await request(it, headers=USED_UP)
    await in_flight.end()
    assert it.problem is None


async def test_the_quotas_are_those_of_the_latest_answer() -> None:
    it, _ = new_gate()
    assert it.quotas == []
    await request(it, headers={"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "30", "X-Ratelimit-Reset": "60"})
    (quota,) = it.quotas
    assert isinstance(quota, QuotaReport)
    assert (quota.limit, quota.remaining) == (60, 30)


async def test_first_come_first_served_even_if_a_timer_is_late() -> None:
    it, clock = new_gate(requests_per_second=1)
    await warmed_up(it)
    order: list[str] = []

    async def one(name: str) -> None:
        async with it.permit(A) as permit:
            order.append(name)
            permit.answered(200, NO_HEADERS)

    first = asyncio.create_task(one("first"))
    await settle()
    assert order == []
    clock.start += 1.0  # the loop was busy for a second
    await one("second")
    await first
    assert order == ["first", "second"]


async def test_a_stop_turns_away_also_what_could_go_at_once() -> None:
    it, stop = await warmed_up(new_gate()[0]), Stop()
    stop.set("test")
    await it.watch(stop)
    assert isinstance(await error_of(it, 200), StoppedError)


async def test_a_list_is_turned_away_while_lists_alone_pause_though_retrieves_go_out_at_once() -> None:
    it = await warmed_up(new_gate()[0])
    for _ in range(3):
        await error_of(it, 429, subject=LISTING, headers={"Retry-After": "30"})
        await request(it)
    assert it.lists_are_limited
    await asyncio.sleep(10)
    error = await error_of(it, 200, subject=LISTING)
    assert (type(error), str(error)) == (RateLimitedError, "the limit of list requests is used up")
    assert retry_after_of(error) == pytest.approx(20, abs=1)
    began = now()
    assert await request(it) == began
    assert has_capacity(it)
    assert it.traffic.in_flight == 0


async def test_a_waiter_that_is_cancelled_makes_room_for_another_one() -> None:
    it = await warmed_up(new_gate(concurrency=1)[0])
    (holder,) = await held(it, A)
    (waiter,) = await held(it, B)
    assert not has_capacity(it)
    waiter.task.cancel()
    await settle()
    assert has_capacity(it)
    await holder.end()


async def test_a_server_that_sets_its_clock_back_is_believed_if_its_answer_came_at_once() -> None:
    it, clock = new_gate()
    clock.stepped = 1_800_000_000.0
    await asyncio.sleep(500)
    for _ in range(30):
        await request(it, headers={"Date": formatdate(clock.now(), usegmt=True)})
    renewed_in = {**USED_UP, "X-Ratelimit-Reset": str(int(clock.now()) - 60 + 42)}
    began = now()
    await error_of(it, 429, headers={**renewed_in, "Date": formatdate(clock.now() - 60, usegmt=True)})
    assert await request(it) - began == pytest.approx(42, abs=1.1)


async def test_what_the_head_of_an_answer_allows_goes_out_before_its_body_has_come() -> None:
    it = await warmed_up(new_gate()[0])
    await error_of(it, 429, headers={"Retry-After": "5"})
    first, second = await held(it, A, B)
    await asyncio.sleep(5)
    await settle()
    assert (first.is_sent, second.is_sent) == (True, False), "one goes alone after a pause"
    first.answer()
    await settle()
    assert second.is_sent
    await drop(first, second)


async def test_an_attempt_without_an_answer_is_no_longer_in_flight_for_the_limits() -> None:
    it = await warmed_up(new_gate()[0])
    await error_of(it, 429, headers={"Retry-After": "5"})
    assert isinstance(await error_of(it, None), TransientError)
    assert now() == 5
    assert await asyncio.wait_for(request(it), 5) == 5, "the one attempt that may go after a pause"


async def test_an_edge_that_lasts_is_logged_once() -> None:
    it = await warmed_up(new_gate()[0])
    with capture_logs() as logs:
        for _ in range(10):
            await error_of(it, 403)
            await asyncio.sleep(15)
        assert it.reason is None
    assert [line["event"] for line in logs] == ["api.proxy_or_key"]


async def test_never_are_more_in_flight_than_the_concurrency_though_the_breaker_has_opened_and_closed() -> None:
    it = await warmed_up(new_gate(concurrency=2)[0])
    slow, refused = (*await held(it, A), *await held(it, B, status=401))
    await refused.end()
    assert await request(it, subject=C) == 0, "the probe"
    assert it.traffic.in_flight == 1
    sent = [each.is_sent for each in await held(it, A, B, C)]
    assert (sent, it.traffic.in_flight) == ([True, False, False], 2)
    await slow.end()
    assert it.traffic.in_flight == 2


async def test_a_probe_with_a_new_key_waits_for_a_place_too() -> None:
    it = await warmed_up(new_gate(concurrency=2)[0])
    slow, refused = (*await held(it, A), *await held(it, B, status=401))
    await refused.end()
    (probe,) = await held(it, B, status=401)
    it.key_changed()
    (waiter,) = await held(it, C)
    assert (probe.is_sent, waiter.is_sent, it.traffic.in_flight) == (True, False, 2)
    await slow.end()
    await settle()
    assert (waiter.is_sent, it.traffic.in_flight) == (True, 2)


async def test_lists_go_out_in_their_order_if_no_retrieve_waits_that_would_go_first() -> None:
    it = await warmed_up(new_gate()[0])
    await error_of(it, 429, subject=LISTING, headers={"Retry-After": "30"})
    waiting = await held(it, LISTING, LISTING)
    await asyncio.sleep(30)
    await settle()
    assert [each.is_sent for each in waiting] == [True, False]
    await waiting[0].end()
    await settle()
    assert waiting[1].is_sent


async def test_one_timer_is_set_however_many_wait_and_none_for_what_waits_for_a_place() -> None:
    it = await warmed_up(new_gate(requests_per_second=1, concurrency=2)[0])
    in_flight = await held(it, A)
    await asyncio.sleep(1)
    with timers() as set_timers:
        waiting = await held(it, *[B] * 5)
        for each in waiting[:3]:
            each.task.cancel()
            await settle()
    assert len(set_timers) == 1
    await asyncio.sleep(1)
    with timers() as set_timers:
        await settle()
    assert it.traffic.in_flight == 2
    assert set_timers == []
    await drop(*in_flight, *waiting)


async def test_while_the_breaker_is_open_a_cancelled_waiter_takes_no_place_from_one_that_comes_then() -> None:
    it = await opened(await warmed_up(new_gate()[0]))
    for subject in (B, C):
        await error_of(it, 500, subject=subject)
    cancelled, other = await held(it, B, A)
    comes = Held(it, C)
    cancelled.task.cancel()
    await settle()
    assert [each.task.done() for each in (cancelled, other, comes)] == [True, False, False]
    await drop(other, comes)


@pytest.mark.parametrize(
    ("open_for", "back_in"), [(0, 5.0), (20, 5.0), (24, 6.0), (60, 15.0), (120, 30.0), (600, 30.0)]
)
async def test_the_longer_an_outage_lasts_the_later_does_what_was_turned_away_come_back(
    open_for: float, back_in: float
) -> None:
    it = await warmed_up(new_gate()[0])
    for name in "abcdefghijkl":
        await error_of(it, 500, subject=about(name))
    (probe,) = await held(it, A)
    await asyncio.sleep(open_for)
    assert (it.reason, it.open_for) == (Reason.UNAVAILABLE, open_for)
    await held(it, *[about(name) for name in "bcd"[:KEPT]])
    error = await error_of(it, 500, subject=about("e"))
    assert (type(error), str(error)) == (HeldError, "the API is unavailable, and other requests probe it")
    assert retry_after_of(error) == back_in
    await probe.end()


async def test_in_an_outage_one_more_may_come_unless_a_fresh_one_waits() -> None:
    it = await opened(await warmed_up(new_gate()[0]))
    waiting = await held(it, A)
    assert has_capacity(it)
    waiting += await held(it, about("fresh"))
    assert not has_capacity(it)
    await drop(*waiting)
