"""The gate and the retries before an API that fails for a while, in virtual time: assets are looked at all along."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest
from structlog.testing import capture_logs

from asset_worker.api.breaker import Reason
from asset_worker.api.errors import ApiError, KeyRefusedError, RateLimitedError, StoppedError, TransientError
from asset_worker.api.gate import Gate, Permit
from asset_worker.api.probes import FRESH_SECONDS
from asset_worker.api.retry import Retries
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from tests.doubles.limited_server import Server

pytestmark = pytest.mark.virtual_time

INTERVAL = 5.0
TIMEOUT = 10.0
LATENCY = 0.1


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Api:
    """Answers 200, or as `answer` says at an instant: a status, None for no connection, or seconds to hang."""

    gate: Gate
    answer: Callable[[float], int | float | None] = lambda _: 200
    sent_at: list[float] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    """How many were in flight as each went out, itself included."""
    in_flight_now: int = 0

    async def attempt(self, asset: int = 0) -> None:
        async with self.gate.permit(Subject(Endpoint.RETRIEVE, str(asset))) as permit:
            self.in_flight_now += 1
            try:
                await self._ask(permit)
            finally:
                self.in_flight_now -= 1

    async def _ask(self, permit: Permit) -> None:
        self.sent_at.append(now())
        self.in_flight.append(self.in_flight_now)
        answer = self.answer(now())
        await asyncio.sleep(answer if isinstance(answer, float) else LATENCY)
        if not isinstance(answer, int):
            raise TransientError("no answer")
        permit.answered(answer, {})
        if answer == 401:
            raise KeyRefusedError("401")
        if answer == 429:
            raise RateLimitedError("429", permit.retry_after)
        if answer >= 500:
            raise TransientError(str(answer))

    def sent_between(self, start: float, end: float) -> int:
        return sum(start <= instant < end for instant in self.sent_at)


async def watch(assets: int, api: Api, stop: Stop) -> Counter[int]:
    """Look at each asset every few seconds, as the poller does. Returns the successful looks at each."""
    retries, looks = Retries(stop), Counter(dict.fromkeys(range(assets), 0))

    def may_repeat(asset: int) -> bool:
        return api.gate.may_repeat(Subject(Endpoint.RETRIEVE, str(asset)))

    async def look(asset: int) -> None:
        await stop.sleep(asset * INTERVAL / assets)
        while not stop.is_set():
            try:
                try:
                    await api.attempt(asset)
                except TransientError as error:
                    await retries.again(partial(api.attempt, asset), error, may_repeat=lambda _: may_repeat(asset))
                looks[asset] += 1
            except KeyRefusedError:
                await stop.sleep(1.0)
                continue
            except ApiError:
                pass
            await stop.sleep(INTERVAL)

    async with asyncio.TaskGroup() as group:
        group.create_task(api.gate.watch(stop))
        for asset in range(assets):
            group.create_task(look(asset))
    return looks


def api_with(answer: Callable[[float], int | float | None]) -> Api:
    return Api(
        Gate(clock=SystemClock(), requests_per_second=0, concurrency=20, share=1.0, uniform=Random(1).random), answer
    )


@pytest.fixture(autouse=True)
def _the_same_waits_each_time():
    """tenacity draws them from Python's one source."""
    random.seed(1)


async def run_for(seconds: float, assets: int, api: Api) -> Counter[int]:
    stop = Stop()
    asyncio.get_running_loop().call_later(seconds, stop.set, "test")
    return await watch(assets, api, stop)


@pytest.mark.parametrize("fault", [503, None, TIMEOUT, 504], ids=["503", "no connection", "hanging", "504"])
async def test_few_requests_go_into_an_outage_and_all_goes_on_after_it(fault: float | None) -> None:
    began, ended, assets = 60.0, 360.0, 100
    api = api_with(lambda instant: fault if began <= instant < ended else 200)
    with capture_logs() as logs:
        looks = await run_for(ended + 200, assets, api)
    events = [line for line in logs if line["event"] != "api.retry"]
    assert [line["event"] for line in events] == ["api.unavailable", "api.recovered"]
    assert api.sent_between(began, ended) <= 32 + 300 / 20 + 300 / FRESH_SECONDS
    opened = max(index for index, instant in enumerate(api.sent_at) if instant < ended)
    assert set(api.in_flight[opened - 15 : opened + 1]) == {1}
    recovered_at = next(instant for instant in api.sent_at if instant >= ended)
    assert recovered_at <= ended + 37.5 + TIMEOUT
    # From the probe on the requests in flight grow, and within seconds all that waited is looked at.
    after = api.sent_at.index(recovered_at)
    assert [max(api.in_flight[after + 2**n - 1 : after + 2 ** (n + 1) - 1]) for n in range(4)] == [1, 2, 4, 8]
    assert api.sent_between(recovered_at, recovered_at + 2 * INTERVAL) >= assets
    assert min(looks.values()) >= 0.8 * (60 + 160) / INTERVAL - 8


async def test_a_key_that_is_refused_for_a_while_pauses_polling_and_says_so_once() -> None:
    api = api_with(lambda instant: 401 if 60 <= instant < 360 else 200)
    with capture_logs() as logs:
        looks = await run_for(600, 100, api)
    assert [line["event"] for line in logs] == ["api.key_refused", "api.recovered"]
    assert api.sent_between(60, 360) <= 40 + 300 / FRESH_SECONDS
    assert api.sent_between(61, 360) <= 20 + 300 / FRESH_SECONDS
    assert min(looks.values()) >= 0.8 * (60 + 200) / INTERVAL


async def test_a_new_key_is_tried_at_once_and_the_other_requests_follow() -> None:
    new_key_at = 200.0
    api = api_with(lambda instant: 401 if 60 <= instant < new_key_at else 200)
    asyncio.get_running_loop().call_later(new_key_at, api.gate.key_changed)
    looks = await run_for(300, 100, api)
    assert api.sent_between(new_key_at, new_key_at + 2 * INTERVAL) >= 100
    assert min(looks.values()) >= 0.8 * (60 + 90) / INTERVAL


async def test_a_new_key_that_is_refused_too_changes_nothing() -> None:
    api = api_with(lambda instant: 401 if instant >= 60 else 200)
    for instant in (100, 150):
        asyncio.get_running_loop().call_later(instant, api.gate.key_changed)
    with capture_logs() as logs:
        await run_for(300, 100, api)
    assert [line["event"] for line in logs] == ["api.key_refused"]
    assert api.sent_between(61, 300) <= 30 + 240 / FRESH_SECONDS
    assert api.gate.reason is Reason.KEY_REFUSED


@pytest.mark.parametrize("seed", range(3))
async def test_with_half_of_the_answers_faulty_looks_go_on(seed: int) -> None:
    chance = Random(seed)

    def answer(_: float) -> int | float | None:
        return 200 if chance.random() < 0.5 else chance.choice([500, 502, 503, 504, None, 2.0])

    looks = await run_for(400, 50, api_with(answer))
    assert min(looks.values()) >= 0.5 * 400 / (INTERVAL + 4)


@pytest.mark.parametrize("limit", [30, 60, 300])
async def test_no_asset_starves_when_requests_are_short(limit: int) -> None:
    server = Server(limit, 60.0, "vendor")
    gate = Gate(clock=SystemClock(), requests_per_second=10, concurrency=20, share=0.8)
    stop, looks = Stop(), Counter(dict.fromkeys(range(100), 0))

    async def look(asset: int) -> None:
        with suppress(StoppedError):
            while True:
                async with gate.permit(Subject(Endpoint.RETRIEVE, str(asset))) as permit:
                    await asyncio.sleep(LATENCY)
                    status, headers = server.request(now(), is_ours=True)
                    permit.answered(status, headers)
                    looks[asset] += status == 200

    async with asyncio.TaskGroup() as group:
        group.create_task(gate.watch(stop))
        for asset in range(100):
            group.create_task(look(asset))
        await asyncio.sleep(1200)
        stop.set("test")
    assert now() <= 1200 + LATENCY
    assert server.refused == 0
    assert sum(looks.values()) == pytest.approx(0.8 * limit * 20, rel=0.05)
    assert max(looks.values()) - min(looks.values()) <= 1


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_is_cancelled_and_whenever_no_place_is_lost(seed: int) -> None:
    random = Random(seed)
    gate = Gate(clock=SystemClock(), requests_per_second=20, concurrency=3, share=1.0, uniform=random.random)
    api = Api(gate, lambda _: random.choice([200, 200, 200, 401, 429, 503, None, 0.3]))
    requests: list[asyncio.Task[None]] = []
    for _ in range(400):
        requests.append(asyncio.create_task(api.attempt()))
        await asyncio.sleep(random.choice([0, 0, 0.05, 0.2]))
        for request in random.sample(requests[-10:], k=min(len(requests), random.randint(0, 2))):
            request.cancel()
        if random.random() < 0.1:
            await asyncio.sleep(0)
            gate.key_changed()
    for request in random.sample(requests, k=len(requests) // 2):
        request.cancel()
    api.answer = lambda _: 200
    done = await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), 600)
    assert all(error is None or isinstance(error, ApiError | asyncio.CancelledError) for error in done)
    assert gate.reason is None
    assert gate._limiter._in_flight == gate._breaker._in_flight == 0
    assert max(api.in_flight) <= 3
    await asyncio.wait_for(asyncio.gather(*(api.attempt() for _ in range(20))), 30)
