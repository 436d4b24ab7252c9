"""Lists as evidence, by the real command: what they save, and that lists that are wrong make no false event.

Counts of requests are the server's; a burst's seconds follow from them and the rate.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from asset_worker.simulator.limits import Limit
from asset_worker.simulator.server import Simulator
from tests.integration.holding import change, hold_answers
from tests.integration.processes import KEY, Run, Worker, eventually

LIST_LIMIT = 50
CONFIRMATIONS = 3
MOST_UNAUDITED = 50
UNFINISHED = Lifecycle(math.inf, hls=Rendition(), thumbnail=Rendition())
DONE = Lifecycle(hls=Rendition(), thumbnail=Rendition())
LATER = Lifecycle(1000, hls=Rendition(), thumbnail=Rendition())
OTHER_KEY = "tlk_fedcba9876543210OTHER"
BUSY_SECONDS = 15
"""Seconds for which a busy machine may delay everything."""
ERROR = Rendition(ends_in="error")
SHAPES: list[tuple[str, Lifecycle, str]] = [
    ("clip", DONE, "ready"),
    ("clip", Lifecycle(hls=Rendition()), "ready"),
    ("clip", Lifecycle(), "ready"),
    ("clip", Lifecycle(hls=ERROR, thumbnail=Rendition()), "degraded"),
    ("clip", Lifecycle(hls=Rendition(), thumbnail=ERROR), "degraded"),
    ("clip", Lifecycle(ends_in="failed"), "failed"),
    ("image", Lifecycle(thumbnail=Rendition()), "ready"),
    ("image", Lifecycle(ends_in="failed"), "failed"),
    ("document", Lifecycle(thumbnail=Rendition()), "ready"),
    ("audio", Lifecycle(hls=Rendition()), "ready"),
]
"""Ten shapes of documents: kind, lifecycle and outcome."""
DEFAULTS = {"LIMITS__REQUESTS_PER_SECOND": "10", "LIMITS__CONCURRENCY": "20", "POLL__INITIAL": "2", "POLL__MAX": "30"}


def finished(simulator: Simulator, count: int, shapes: Sequence[tuple[str, Lifecycle, str]]) -> dict[str, str]:
    """Add assets of these shapes in turn, and return their IDs with their outcomes."""
    chosen = [shapes[number % len(shapes)] for number in range(count)]
    return {simulator.store.add(each, kind=KINDS[kind]): outcome for kind, each, outcome in chosen}


def wrong(worker: Worker, simulator: Simulator, expected: dict[str, str]) -> list[str]:
    """The assets whose event is missing, repeated or wrong, or shows another document than the asset has."""
    events = worker.events()
    found = {event["subject"]: event["data"] for event in events}
    outcomes = {asset_id: found[asset_id]["outcome"] if asset_id in found else None for asset_id in expected}
    documents = {each: data["asset"] for each, data in found.items() if data["asset"] != simulator.store.view(each)}
    missed = [f"{each}: {outcomes[each]}, not {right}" for each, right in expected.items() if outcomes[each] != right]
    others = [f"{each}: {document}" for each, document in documents.items()]
    return [*missed, *others, *([f"{len(events)} events"] if len(events) != len(found) else [])]


def about_lists(run: Run) -> list[dict[str, Any]]:
    return [line for line in run.logs() if line["event"].startswith("api.list")]


@pytest.mark.parametrize(("shapes", "most_retrieves"), [(SHAPES[:1], 16), (SHAPES, 40)], ids=["one", "ten"])
async def test_a_burst_of_finished_assets_costs_few_requests(serve, worker, shapes, most_retrieves):
    simulator = await serve()
    expected = finished(simulator, 400, shapes)
    worker.submit(*expected)
    run = worker.run("--once", base_url=simulator.base_url, **DEFAULTS)
    await run.end()
    assert wrong(worker, simulator, expected) == []
    routes = simulator.stats.by_route
    assert routes["list"] <= len(expected) / LIST_LIMIT + 2, routes
    assert CONFIRMATIONS * len(shapes) <= routes["retrieve"] <= most_retrieves, routes
    assert run.logs("api.list_contradicted") == []


@pytest.mark.parametrize("batch", ["confirm", "off"])
async def test_each_event_costs_a_retrieve_if_lists_are_not_to_be_trusted(serve, worker, batch):
    simulator = await serve()
    expected = finished(simulator, 200, SHAPES)
    worker.submit(*expected)
    run = worker.run("--once", base_url=simulator.base_url, POLL__BATCH=batch)
    await run.end()
    assert wrong(worker, simulator, expected) == []
    routes = simulator.stats.by_route
    assert routes["retrieve"] == len(expected)
    assert (routes["list"] > 0) == (batch == "confirm")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["omit:0.5", "lag=20", "bare", "mix:0.5"])
async def test_lists_that_were_right_and_go_wrong_make_no_false_event(serve, worker, fault):
    """The shapes are proven, and the other assets were seen, when lists go wrong for ever."""
    simulator = await serve(time_scale=10, seed=3)
    done = finished(simulator, 150, [SHAPES[0], SHAPES[2], SHAPES[5]])
    waiting = [simulator.store.add(UNFINISHED, kind=KINDS["clip"]) for _ in range(120)]
    worker.submit(*done, *waiting)
    run = worker.run(base_url=simulator.base_url, POLL__NOT_FOUND_GRACE="1")
    await eventually(
        lambda: len(worker.events()) == len(done) and len(seen(run)) == len(done) + len(waiting),
        otherwise=lambda: run.stderr,
    )
    simulator.set_faults(fault)
    lifecycles = [
        (Lifecycle(10, hls=Rendition(20), thumbnail=Rendition(5)), "ready"),
        (Lifecycle(20, hls=Rendition(10, "error"), thumbnail=Rendition(5)), "degraded"),
        (Lifecycle(15, "failed"), "failed"),
    ]
    expected = dict(done)
    for number, asset_id in enumerate(waiting):
        lifecycle, expected[asset_id] = lifecycles[number % len(lifecycles)]
        change(simulator, asset_id, to=lifecycle)
    await eventually(lambda: len(worker.events()) >= len(expected), 120, otherwise=lambda: run.stderr)
    assert wrong(worker, simulator, expected) == [], about_lists(run)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def until_seen(run: Run, count: int) -> None:
    await eventually(lambda: len(seen(run)) == count, otherwise=lambda: run.stderr)


def seen(run: Run) -> set[str]:
    """The assets that looks have shown."""
    return {line["asset_id"] for line in run.logs() if line["event"] in {"asset.changed", "asset.completed"}}


@pytest.mark.parametrize("count", [600, 40], ids=["in one burst", "in groups"])
async def test_lists_that_begin_to_lie_make_few_false_events_and_the_log_names_all(serve, worker, count):
    """They show assets done that are not, just like those that have proven the shape."""
    simulator = await serve()
    done = finished(simulator, 150, SHAPES[:1])
    worker.submit(*done)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == len(done), otherwise=lambda: run.stderr)
    simulator.set_faults("lie")
    ids: list[str] = []
    while not run.logs("api.list_contradicted") and len(ids) < 600:
        ids += [simulator.store.add(LATER, kind=KINDS["clip"]) for _ in range(count)]
        worker.submit(*ids[-count:])
        await until_seen(run, len(done) + len(ids))
    await run.until("api.list_contradicted")
    contradicted = run.logs("api.list_contradicted")
    assert {line["level"] for line in contradicted} == {"error"}
    named = {asset_id for line in contradicted for asset_id in line["asset_ids"]}
    false = {event["subject"] for event in worker.events()} - {*done}
    assert len(false) <= MOST_UNAUDITED
    assert false <= named
    for asset_id in ids:
        change(simulator, asset_id, to=DONE)
    await eventually(lambda: len(worker.events()) >= len(done) + len(ids), otherwise=lambda: run.stderr)
    assert wrong(worker, simulator, done | dict.fromkeys(ids, "ready")) == []
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def listed_and_held(simulator: Simulator, worker: Worker, count: int, **settings: str) -> tuple[Run, list[str]]:
    """A run that has listed finished assets of one shape, and whose first retrieves are in flight."""
    ids = [*finished(simulator, count, SHAPES[:1])]
    worker.submit(*ids)
    run = worker.run(base_url=simulator.base_url, **settings)
    routes = simulator.stats.by_route
    await eventually(
        lambda: simulator.stats.looks.total() >= count and routes["retrieve"] >= CONFIRMATIONS,
        otherwise=lambda: f"{routes} {run.stderr}",
    )
    return run, ids


def change_key(simulator: Simulator) -> None:
    simulator.key = OTHER_KEY


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(lambda simulator: simulator.set_faults("status=503"), id="503"),
        pytest.param(lambda simulator: simulator.set_faults("hang"), id="hang"),
        pytest.param(lambda simulator: simulator.set_limit(Limit.parse("1/3:vendor")), id="429"),
        pytest.param(change_key, id="refused key"),
    ],
)
async def test_confirmations_that_fail_say_nothing_about_lists_and_lose_nothing(serve, worker, begin):
    """The failure begins when assets are held for the first confirmations, and lasts some seconds."""
    simulator = await serve(key=KEY)
    release = hold_answers(simulator, lists_too=False)
    run, ids = await listed_and_held(simulator, worker, 200, API__TIMEOUT="2")
    assert worker.events() == []
    begin(simulator)
    release()
    await asyncio.sleep(3)
    simulator.set_faults()
    simulator.set_limit(None)
    simulator.key = KEY
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: run.stderr)
    assert wrong(worker, simulator, dict.fromkeys(ids, "ready")) == []
    assert [line for line in about_lists(run) if line["event"] != "api.list_proven"] == []
    run.send(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_assets_that_are_held_when_the_worker_ends_are_pending_at_the_next_start(serve, worker, number):
    simulator = await serve()
    release = hold_answers(simulator, lists_too=False)
    run, ids = await listed_and_held(simulator, worker, 200, SHUTDOWN__GRACE="5")
    run.send(number)
    assert await run.end(within=30) == (0 if number is signal.SIGTERM else -number)
    assert worker.events() == []
    if number is signal.SIGTERM:
        assert run.seconds("worker.stopping", "worker.stopped") < 5 + BUSY_SECONDS
        assert run.logs("worker.stopped")[0]["pending"] == len(ids)
    release()
    again = worker.run("--once", base_url=simulator.base_url)
    assert await again.end() == 0
    assert wrong(worker, simulator, dict.fromkeys(ids, "ready")) == []
