"""The simulated assets API, as the worker's own client meets it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from yarl import URL

from asset_worker.api import session
from asset_worker.api.client import AssetsApi
from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    EdgeRefusedError,
    KeyRefusedError,
    ListRefusedError,
    MalformedAnswerError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.domain.listings import NoPage, Page
from asset_worker.runtime.stop import Stop
from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.doubles.clocks import LoopClock
from tests.doubles.virtual_time import run_virtually
from tests.simulation import faults as f
from tests.simulation.answers import CONNECTION_ERRORS
from tests.simulation.api import SimulatedApi
from tests.simulation.assets import draw_asset_id, draw_lifecycle
from tests.simulation.faults import Fault, draw_fault, draw_limits
from tests.simulation.pool import Pool
from tests.simulation.rate_limits import TOLD, RateLimits, Usage, Window

READY = Lifecycle(ends_after=20.0, hls=Rendition(30.0), thumbnail=Rendition(5.0))
DONE = Lifecycle(0.0)
IDS = [f"{number:024x}" for number in range(1, 7)]
EPOCH = 1_900_000_000.0
"""What the worker's clock shows at the start."""


class World:
    """The API and its real client. `ahead`: how far the server's clock is ahead, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, seed: int = 1, ahead: float = 0.0, **gate: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.api = SimulatedApi(Random(seed), self.loop.time, lambda: EPOCH + ahead + self.loop.time())
        monkeypatch.setattr(session, "_open_pool", lambda _proxy, _resolver, total, _tls: self.api.open_pool(total))
        clock = LoopClock(self.loop)
        clock.stepped = EPOCH - clock.now()
        options = {"requests_per_second": 0.0, "concurrency": 20, "share": 1.0} | gate
        self.gate = Gate(clock=clock, uniform=Random(seed).random, **options)

    async def use(self, act: Callable[[AssetsApi], Awaitable[Any]]) -> Any:
        key = ApiKey(value="tlk_0123456789", file=None, on_read=lambda _: None)
        async with session.open_session("https://api.example/v1.3", total_timeout=10.0) as opened:
            client = AssetsApi(
                opened, "https://api.example/v1.3", key, self.gate, Retries(Stop()), redact=lambda document: document
            )
            return await act(client)


def simulated(monkeypatch: pytest.MonkeyPatch, act: Callable[[World], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        return await act(World(monkeypatch, **options))

    return run_virtually(main())


def answer_with(
    monkeypatch: pytest.MonkeyPatch, *faults: Fault, kind: str = "retrieve", keys: set[str] | None = None
) -> tuple[Any, SimulatedApi]:
    """What the client returns or raises for one request while these faults last."""

    async def act(world: World) -> Any:
        for asset_id in IDS:
            world.api.upload("clip", READY, asset_id=asset_id)
        await asyncio.sleep(60)
        world.api.faults, world.api.keys = faults, keys
        calls: dict[str, Callable[[AssetsApi], Awaitable[Any]]] = {
            "retrieve": lambda client: client.retrieve(IDS[0]),
            "list": lambda client: client.list_assets(IDS),
            "page": lambda client: client.page(1),
        }
        try:
            return await world.use(calls[kind]), world.api
        except ApiError as error:
            return error, world.api

    found: tuple[Any, SimulatedApi] = simulated(monkeypatch, act)
    return found


def test_a_retrieve_a_list_and_a_page_show_the_truth(monkeypatch):
    for kind in ("retrieve", "list", "page"):
        found, api = answer_with(monkeypatch, kind=kind)
        shown = [found] if kind == "retrieve" else [*found.values()] if kind == "list" else found.assets
        assert {each.id for each in shown} == ({IDS[0]} if kind == "retrieve" else {*IDS})
        [request] = api.requests
        assert (request.kind, request.status, request.was_seen) == (kind, 200, True)
        assert 0.02 <= request.answered_at - request.sent_at <= 0.31
        for each in shown:
            assert each.document == api.truth(each.id, request.arrived_at) == request.shown[each.id]
            assert each.document["hls"]["status"] == "ready"


def test_an_asset_shows_each_phase_of_its_life_and_its_timeline_tells_when(monkeypatch):
    async def act(world: World) -> None:
        api, asset_id = world.api, IDS[0]
        api.upload("clip", READY, asset_id=asset_id, at=10.0, visible_after=4.0)
        assert api.timeline(asset_id) == [(-math.inf, "missing"), (14.0, "waiting"), (60.0, "ready")]
        assert api.timeline(asset_id, {"hls": "ignore"})[-1] == (35.0, "ready")
        assert [api.truth(asset_id, moment) is None for moment in (0.0, 13.9, 14.1)] == [True, True, False]
        await asyncio.sleep(70.0)
        api.delete(asset_id)
        assert api.timeline(asset_id)[-2:] == [(60.0, "ready"), (70.0, "missing")]
        assert api.final_outcome(asset_id) == api.final_outcome("unknown") == "missing"
        with pytest.raises(NotFoundError):
            await world.use(lambda client: client.retrieve(asset_id))
        assert api.requests[-1].shown == {asset_id: None}

    simulated(monkeypatch, act)


@pytest.mark.parametrize("how", CONNECTION_ERRORS)
def test_each_error_of_a_connection_is_transient(monkeypatch, how):
    found, api = answer_with(monkeypatch, f.Disconnected(how))
    assert type(found) is TransientError
    assert len(api.requests) == 4, "it is retried"
    assert all(each.arrived_at is None and each.status is None and each.error for each in api.requests)


@pytest.mark.parametrize(
    ("fault", "kind", "expected"),
    [
        *(
            (f.Failing(status, page), "retrieve", TransientError)
            for status in (408, 500, 503)
            for page in ("json", "html")
        ),
        (f.Hanging(), "retrieve", TransientError),
        (f.Slow(1000.0, "body"), "retrieve", TransientError),
        (f.Cut(), "retrieve", TransientError),
        (f.NotJson(), "retrieve", MalformedAnswerError),
        (f.key_refused(401), "retrieve", KeyRefusedError),
        (f.key_refused(403, "api_not_allowed"), "retrieve", KeyRefusedError),
        (f.edge_refuses(), "retrieve", EdgeRefusedError),
        (f.AssetRefused(1, 0), "retrieve", KeyRefusedError),
        (f.Failing(400, code="parameter_invalid", where="list"), "list", ListRefusedError),
        (f.Failing(503), "page", NoPage),
        (f.Hanging(where="list"), "list", TransientError),
    ],
    ids=repr,
)
def test_each_failure_is_the_error_that_it_should_be(monkeypatch, fault, kind, expected):
    found, _ = answer_with(monkeypatch, fault, kind=kind)
    assert type(found) is expected


def test_an_id_that_is_none_is_malformed_and_so_is_a_list_with_it(monkeypatch):
    two: list[Any] = [IDS[0], "no-asset"]

    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])
        with pytest.raises(BadIdError):
            await world.use(lambda client: client.retrieve("no-asset"))
        with pytest.raises(ListRefusedError):
            await world.use(lambda client: client.list_assets(two))
        assert [each.status for each in world.api.requests] == [400, 400]

    simulated(monkeypatch, act)


def test_a_key_that_is_not_known_is_refused(monkeypatch):
    assert type(answer_with(monkeypatch, keys={"another"})[0]) is KeyRefusedError
    assert not isinstance(answer_with(monkeypatch, keys={"tlk_0123456789"})[0], Exception)


def test_a_request_that_hangs_ends_at_the_total_timeout(monkeypatch):
    _, api = answer_with(monkeypatch, f.Hanging())
    for request in api.requests:
        assert request.answered_at - request.sent_at == pytest.approx(10.0)
        assert (request.error, request.status) == ("TimeoutError", None)


def test_a_fault_of_some_requests_does_not_concern_the_others(monkeypatch):
    for fault in (f.Failing(where="list"), f.Hanging(where="list"), f.ListLies("is empty"), f.Disconnected(share=0.0)):
        assert not isinstance(answer_with(monkeypatch, fault)[0], Exception)


def test_kept_connections_may_be_dead_and_new_ones_work(monkeypatch):
    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])

        async def look_twice(client: AssetsApi) -> None:
            await client.retrieve(IDS[0])
            world.api.faults = [f.DeadConnections(made_before=world.loop.time())]
            await client.retrieve(IDS[0])

        await world.use(look_twice)
        assert [each.error for each in world.api.requests] == [None, "TimeoutError", None]

    simulated(monkeypatch, act)


def lists(monkeypatch: pytest.MonkeyPatch, *faults: Fault, seed: int = 1) -> tuple[dict[str, Any], SimulatedApi]:
    async def act(world: World) -> Any:
        for number, asset_id in enumerate(IDS):
            world.api.upload("clip", READY, asset_id=asset_id, at=-10.0 * number)
        world.api.upload("clip", READY, asset_id="f" * 24)
        world.api.faults = faults
        return await world.use(lambda client: client.list_assets(IDS)), world.api

    found: tuple[dict[str, Any], SimulatedApi] = simulated(monkeypatch, act, seed=seed)
    return found


def test_a_list_may_lag_and_leave_assets_out(monkeypatch):
    found, api = lists(monkeypatch, f.ListLags(30.0))
    [request] = api.requests
    at = request.arrived_at or 0.0
    assert {*found} == {*IDS[3:]}, "the others were not there 30 s ago"
    assert found[IDS[5]].document == api.truth(IDS[5], at - 30.0)
    assert found[IDS[5]].document != api.truth(IDS[5], at)
    assert request.shown[IDS[0]] is None
    assert lists(monkeypatch, f.ListLies("is empty"))[0] == {}


@pytest.mark.parametrize("how", f.LIES)
def test_a_list_that_lies_never_shows_a_shape_that_a_retrieve_confirms(monkeypatch, how):
    changed = 0
    for seed in range(3):
        _, api = lists(monkeypatch, f.ListLies(how), seed=seed)
        [request] = api.requests
        at = request.arrived_at or 0.0
        changed += request.shown != {each: api.truth(each, at) for each in IDS}
        for asset_id, document in request.shown.items():
            is_true = document in (None, api.truth(asset_id, at), api.truth(asset_id, at - 40.0))
            assert is_true or "filename" not in (document or {})
    assert changed


def test_elements_of_a_list_may_be_malformed(monkeypatch):
    found, api = lists(monkeypatch, f.ListMalformed(1.0))
    assert {*found.values()} == {None}
    assert set(api.requests[0].shown.values()) == {None}


def test_pages_shift_as_if_assets_were_uploaded_between_two(monkeypatch):
    async def act(world: World) -> None:
        api, random = world.api, Random(7)
        ids = [api.upload("image", DONE, asset_id=draw_asset_id(random), at=-float(number)) for number in range(120)]

        async def pages(client: AssetsApi) -> list[Page]:
            return [await client.page(number) for number in (1, 2, 3)]  # type: ignore[misc]

        steady = await world.use(pages)
        assert [each.id for page in steady for each in page.assets] == ids
        assert [page.total for page in steady] == [120] * 3
        api.faults = [f.PagesShift(20)]
        shifted = [each.id for page in await world.use(pages) for each in page.assets]
        assert shifted[:50] == ids[:50]
        assert shifted != ids
        assert {*shifted} <= {*ids}

    simulated(monkeypatch, act)


async def look(client: AssetsApi, times: int) -> list[str]:
    """Retrieve an asset that often, as fast as the client does it. Return the names of the errors."""
    errors = []

    async def one() -> None:
        try:
            await client.retrieve(IDS[0])
        except ApiError as error:
            errors.append(type(error).__name__)

    await asyncio.gather(*(one() for _ in range(times)))
    return errors


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("counting", ["fixed", "sliding", "bucket"])
@pytest.mark.parametrize("ahead", [0.0, -400.0])
def test_a_limit_is_enforced_and_told_so_that_the_client_obeys(monkeypatch, told, counting, ahead):
    async def act(world: World) -> None:
        api = world.api
        api.upload("clip", DONE, asset_id=IDS[0])
        api.limits = RateLimits((Window(10, 60.0, counting), Window(200, 86_400.0)), told, others=0.02)
        await world.use(lambda client: look(client, 40))
        answered = [each.arrived_at or 0.0 for each in api.requests if each.status == 200]
        assert len(answered) >= 10
        for begin in answered if counting == "sliding" else ():
            assert sum(begin <= each < begin + 60.0 for each in answered) <= 10
        refused = [each for each in api.requests if each.status == 429]
        assert bool(refused) == any(0 in each.remaining for each in api.requests)
        assert refused or told not in {"seconds", "date", "nothing"}
        assert api.violations_of_limits == []

    simulated(monkeypatch, act, ahead=ahead)


@pytest.mark.parametrize("told", [each for each in TOLD if each != "nothing"])
def test_a_client_that_does_not_obey_is_found(monkeypatch, told):
    monkeypatch.setattr("asset_worker.api.limits.limiter.RateLimiter.delay", lambda *_: 0.0)

    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])
        world.api.limits = RateLimits((Window(3, 3600.0),), told)

        async def look_often(client: AssetsApi) -> None:
            for _ in range(6):
                await look(client, 1)

        await world.use(look_often)
        assert world.api.violations_of_limits
        assert not any(each.is_across for each in world.api.violations_of_limits)

    simulated(monkeypatch, act)


async def send(pool: Pool) -> int:
    """Send a request without asking the gate. Return the status."""
    async with pool.get(URL(f"https://api.example/v1.3/assets/{IDS[0]}"), headers={"x-api-key": "any"}) as response:
        await response.read()
        return int(response.status)


def test_what_one_process_was_told_another_does_not_know(monkeypatch):
    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])
        world.api.limits = RateLimits((Window(1, 600.0),), "seconds")
        pool = world.api.open_pool(10.0, client="first")
        assert [await send(pool), await send(pool)] == [200, 429]
        await asyncio.sleep(1)
        pool = world.api.open_pool(10.0, client="second")
        assert await send(pool) == 429
        assert world.api.violations_of_limits == []
        await asyncio.sleep(1)
        pool = world.api.open_pool(10.0, client="second")
        assert await send(pool) == 429
        [violation] = world.api.violations_of_limits
        assert violation.told.status == 429

    simulated(monkeypatch, act)


def test_a_request_after_the_last_one_that_was_allowed_is_found(monkeypatch):
    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])
        world.api.limits = RateLimits((Window(2, 600.0),), "vendor, no wait")
        pool = world.api.open_pool(10.0)
        for statuses in ([200, 200], [429]):
            for expected in statuses:
                assert await send(pool) == expected
                await asyncio.sleep(1)
        [violation] = world.api.violations_of_limits
        assert violation.told.status == 200

    simulated(monkeypatch, act)


def test_other_clients_use_the_limit_up_at_their_rate(monkeypatch):
    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])
        world.api.limits = RateLimits((Window(100, 86_400.0),), "vendor", others=2.0)
        pool = world.api.open_pool(10.0)
        await send(pool)
        await asyncio.sleep(20)
        await send(pool)
        [first], [second] = (each.remaining for each in world.api.requests)
        assert 40 <= first - second <= 43

    simulated(monkeypatch, act)


def test_an_asset_of_another_account_is_missing_in_lists(monkeypatch):
    found, api = lists(monkeypatch, f.AssetRefused(3, 0))
    assert {*found} == {each for each in IDS if int(each, 16) % 3}
    assert [each for each, document in api.requests[0].shown.items() if document is None] == [IDS[2], IDS[5]]


def test_a_limit_may_change_and_others_may_use_it_up(monkeypatch):
    async def act(world: World) -> None:
        api = world.api
        api.upload("clip", DONE, asset_id=IDS[0])
        api.limits = RateLimits((Window(100, 60.0),), "seconds")
        api.use_up_limits(leave=1)

        async def look_twice(client: AssetsApi) -> list[str]:
            return await look(client, 1) + await look(client, 1)

        assert await world.use(look_twice) == ["RateLimitedError"]
        assert [each.remaining for each in api.requests] == [(1,), (0,)]
        api.limits = None
        await asyncio.sleep(60)
        assert await world.use(lambda client: look(client, 3)) == []

    simulated(monkeypatch, act)
    assert issubclass(RateLimitedError, TransientError)


def test_a_limit_of_lists_alone_leaves_retrieves_free(monkeypatch):
    async def act(world: World) -> None:
        world.api.upload("clip", DONE, asset_id=IDS[0])
        world.api.limits = RateLimits((Window(1, 60.0),), "seconds", only="list")

        async def both(client: AssetsApi) -> None:
            await client.list_assets(IDS[:1])
            with suppress(RateLimitedError):
                await client.list_assets(IDS[:1])

        await world.use(both)
        assert [each.status for each in world.api.requests] == [200, 429]
        await asyncio.sleep(60)
        assert await world.use(lambda client: look(client, 5)) == []

    simulated(monkeypatch, act)


@pytest.mark.parametrize(
    ("counting", "later", "expected"),
    [("fixed", 30.0, 4), ("sliding", 30.0, 0), ("sliding", 61.0, 3), ("bucket", 30.0, 2)],
)
def test_what_remains_of_a_window_comes_back_as_it_counts(counting, later, expected):
    usage = Usage(Window(4, 60.0, counting), 40.0)
    usage.use(40.0, 3)
    usage.use(45.0, 2)
    assert usage.remaining(45.0) == 0
    assert usage.remaining(40.0 + later) == expected
    assert usage.resets_at(40.0 + later) > 40.0 + later


def busy(seed: int) -> list[Any]:
    """The record of a client that looks at assets for some minutes, under faults that change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenacity.wait.random", Random(seed))

        async def act(world: World) -> list[Any]:
            api, random = world.api, Random(seed)
            ids = []
            for kind in random.choices([*KINDS], k=20):
                lifecycle = draw_lifecycle(random, kind)
                ids.append(api.upload(kind, lifecycle, asset_id=draw_asset_id(random), at=random.uniform(0, 60)))

            async def work(client: AssetsApi) -> None:
                for _ in range(40):
                    api.faults = [draw_fault(random) for _ in range(random.randrange(3))]
                    if random.random() < 0.1:
                        api.limits = random.choice((None, draw_limits(random)))
                    calls = [client.retrieve(random.choice(ids)), client.list_assets(ids), client.page(1)]
                    with suppress(TimeoutError):
                        async with asyncio.timeout(random.uniform(5, 30)):
                            await asyncio.gather(*calls, return_exceptions=True)

            await world.use(work)
            return [api.requests, api.violations_of_limits]

        return list(simulated(patch, act, seed=seed))


def test_the_same_seed_makes_the_same_record():
    assert busy(3) == busy(3) != busy(4)


def test_a_fault_can_be_made_again_from_its_repr():
    random = Random(1)
    names = {name: value for name, value in vars(f).items() if isinstance(value, type)}
    drawn = {repr(draw_fault(random)) for _ in range(500)} | {repr(draw_limits(random)) for _ in range(50)}
    assert {each.partition("(")[0] for each in drawn} >= {each.__name__ for each in f.Fault.__args__} - {
        "DeadConnections"
    }
    for text in drawn:
        assert repr(eval(text, names)) == text


def test_each_kind_of_lifecycle_is_drawn():
    random = Random(1)
    drawn = [draw_lifecycle(random, "clip") for _ in range(400)]
    assert any(math.isinf(each.ends_after) for each in drawn)
    assert any(each.hls and math.isinf(each.hls.ends_after) for each in drawn)
    assert any(each.thumbnail and math.isinf(each.thumbnail.ends_after) for each in drawn)
    assert any(each.visible_after > 10 and not math.isinf(each.visible_after) for each in drawn)
    assert any(math.isinf(each.visible_after) for each in drawn)
    assert {"ready", "failed", "archived"} == {each.ends_in for each in drawn}
