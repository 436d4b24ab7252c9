"""An API that fails in every way: a wrong answer, or none, says nothing about an asset.

The numbers that are asserted are the server's. Times are asserted only if a slow machine can't make them shorter, or
with seconds to spare.
"""

from __future__ import annotations

import asyncio
import math
import re
import signal
import time
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
import psutil
import pytest
from aiohttp import web

from asset_worker.api.breaker import FAILURES_TO_OPEN, FIRST_PROBE_SECONDS, PROBE_JITTER
from asset_worker.api.probes import FRESH_SECONDS
from asset_worker.cli.run import KEY_REFUSED_SECONDS
from asset_worker.simulator.faults import Fault, FaultKind
from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from asset_worker.simulator.server import Options, Simulator
from asset_worker.simulator.store import Store
from tests.integration.admin import admin_of, status_of
from tests.integration.holding import change
from tests.integration.processes import KEY, Run, Worker, eventually

OTHER_KEY = "tlk_fedcba9876543210OTHER"
TIME_SCALE = 10
GRACE = {"POLL__NOT_FOUND_GRACE": "1"}
"""Short, so that a 404 which is not the API's would soon become an outcome."""
IMPATIENT = {"API__TIMEOUT": "1"}
"""So that hanging or dripping answers cost seconds, not minutes."""
PATIENT = {"POLL__NOT_FOUND_GRACE": "600"}
"""For assets that are not visible until the test makes them so."""

FAULTS: dict[str, str | None] = {
    "status=500": r"500 Ordered",
    "status=408": r"408 Ordered",
    "html=502": r"502 ",
    "html=403": r"403 .*without the API's code",
    "html=404": r"404 ",
    "html=410": r"410 ",
    "html=400": r"400 ",
    "redirect": r"307 .*not followed",
    "slow=0.3": None,
    "hang": r"no answer in time",
    "reset": r"the request failed",
    "cut": r"the request failed",
    "drip=0.02": r"no answer in time",
    "text": r"not JSON",
    "types": r"not an asset",
    "stranger": r"another asset",
    f"huge={32 << 20}": r"larger than",
    "stale=20": None,
}
"""Every kind of fault that any request can meet, and how `api.retry` reports it; None: the attempt is not repeated."""


@pytest.fixture
async def elsewhere(aiohttp_server_of):
    """The URL of another host, and the requests that it received."""
    received: list[str] = []

    async def answer(request):
        received.append(f"{request.method} {request.path_qs} x-api-key={request.headers.get('x-api-key')}")
        asset_id = request.path.rpartition("/")[2]
        return web.json_response({"_id": asset_id, "status": "failed", "error": {"message": "somebody else's"}})

    return await aiohttp_server_of(web.route("*", "/{path:.*}", answer)), received


def assets(store: Store, count: int) -> dict[str, str]:
    """IDs with the outcomes to expect; the last change comes two seconds from now."""
    lifecycles = [
        (Lifecycle(), "ready"),
        (Lifecycle(10, hls=Rendition(10), thumbnail=Rendition(5)), "ready"),
        (Lifecycle(15, visible_after=5), "ready"),
        (Lifecycle(10, "failed", "no frames"), "failed"),
        (Lifecycle(10, hls=Rendition(5, "error"), thumbnail=Rendition(10)), "degraded"),
        (None, "not_found"),
    ]
    expected = {}
    for number in range(count):
        lifecycle, outcome = lifecycles[number % len(lifecycles)]
        asset_id = f"{number:024x}" if lifecycle is None else store.add(lifecycle, kind=KINDS["clip"])
        expected[asset_id] = outcome
    return expected


def pending(simulator: Simulator, count: int) -> list[str]:
    """IDs of assets that the test ends (`end`); a third of them are not visible until then."""
    lifecycles = [Lifecycle(math.inf), Lifecycle(math.inf, hls=Rendition(1)), Lifecycle(visible_after=math.inf)]
    return [simulator.store.add(lifecycles[number % len(lifecycles)], kind=KINDS["clip"]) for number in range(count)]


def end(simulator: Simulator, asset_ids: list[str]) -> dict[str, str]:
    """Let the assets end now, three in four of them well; returns the IDs with their outcomes."""
    expected = {asset_id: "ready" if number % 4 else "failed" for number, asset_id in enumerate(asset_ids)}
    for asset_id, outcome in expected.items():
        change(simulator, asset_id, to=Lifecycle(ends_in=outcome, hls=Rendition(), thumbnail=Rendition()))
    return expected


def wrong_events(worker: Worker, expected: dict[str, str]) -> list[str]:
    """The events that are wrong, repeated or missing, in words."""
    events = worker.events()
    found = {event["subject"]: event["data"] for event in events}
    wrong = [
        f"{asset_id}: {found[asset_id]['outcome']} ({found[asset_id]['reason']}) instead of {outcome}"
        if asset_id in found
        else f"{asset_id}: no event instead of {outcome}"
        for asset_id, outcome in expected.items()
        if asset_id not in found or found[asset_id]["outcome"] != outcome
    ]
    wrong += [
        f"{asset_id}: its event shows the asset {data['asset']['_id']}"
        for asset_id, data in found.items()
        if data["asset"] is not None and data["asset"]["_id"] != asset_id
    ]
    if len(events) != len(found):
        wrong.append(f"{len(events)} events for {len(found)} assets")
    return wrong


def numbers(simulator: Simulator, run: Run) -> str:
    """The counts of the server and the log, for the message of a failure."""
    logged = {
        name: len(run.logs(name)) for name in ("api.retry", "api.unavailable", "api.key_refused", "api.recovered")
    }
    return f"server: {simulator.stats.report()}\nlogged: {logged}\n{run.stderr[-1500:]}"


class OneFaultRun(msgspec.Struct):
    """The result of a run with one kind of fault."""

    kind: str
    exit_code: int
    wrong_events: list[str]
    faulty: float
    """The share of requests with the fault."""
    unexplained: bool
    """No `api.retry` reports it, although one should."""
    unknown_paths: list[str]
    seconds: float


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kinds",
    [list(FAULTS)[0:8], list(FAULTS)[8:13], list(FAULTS)[13:]],
    ids=["errors", "transport", "nonsense"],
)
async def test_when_half_of_the_answers_are_faulty_in_one_way_every_outcome_is_right(
    serve, worker_in, elsewhere, kinds
):
    other_host, received = elsewhere

    async def one(kind: str) -> OneFaultRun:
        simulator = await serve(time_scale=TIME_SCALE, seed=5)
        expected = assets(simulator.store, 36)
        fault = Fault.parse(f"{kind}:0.5")
        argument = other_host if fault.kind is FaultKind.REDIRECT else fault.argument
        simulator.set_faults(msgspec.structs.replace(fault, argument=argument))
        worker = worker_in(kind)
        worker.submit(*expected)
        began = asyncio.get_running_loop().time()
        patience = IMPATIENT if fault.kind in {FaultKind.HANG, FaultKind.DRIP} else {}
        run = worker.run("--once", base_url=simulator.base_url, **GRACE, **patience)
        exit_code = await run.end(within=250)
        said, stats = FAULTS[kind], simulator.stats
        return OneFaultRun(
            kind=kind,
            exit_code=exit_code,
            wrong_events=wrong_events(worker, expected),
            faulty=stats.by_fault.total() / stats.requests,
            unexplained=said is not None and not any(re.search(said, line["error"]) for line in run.logs("api.retry")),
            unknown_paths=stats.unknown_paths,
            seconds=asyncio.get_running_loop().time() - began,
        )

    found = await asyncio.gather(*map(one, kinds))
    assert not [(each.kind, each.wrong_events) for each in found if each.wrong_events]
    assert [each.exit_code for each in found] == [1] * len(kinds), found
    assert not any(each.unexplained for each in found), found
    assert all(each.faulty > 0.25 for each in found), found
    assert not any(each.unknown_paths for each in found), found
    assert received == [], "a redirect was followed"


async def requests_of(admin: str) -> int:
    """The number of requests that the worker says it has sent, for when no server can count them."""
    async with aiohttp.ClientSession() as session, session.get(f"{admin}/metrics") as response:
        found = re.search(r"^asset_worker_requests_total (\S+)", await response.text(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def looked_at(run: Run) -> int:
    """The number of assets that it has had an answer about, including that they are not visible yet."""
    return len({line["asset_id"] for line in run.logs("asset.changed")})


BUSY_SECONDS = 15
"""Seconds for which a busy machine may delay everything; half of the longest time between two probes."""


def most_probes_in_turn(seconds: float) -> int:
    """The most probes that fit into an outage: the time between two doubles, and jitter makes it shorter."""
    return math.floor(math.log2(seconds / (FIRST_PROBE_SECONDS * (1 - PROBE_JITTER)) + 1))


def most_probes(seconds: float) -> int:
    """The same, with those about assets that have not failed yet, which go besides the others."""
    return most_probes_in_turn(seconds) + math.floor(seconds / FRESH_SECONDS)


async def test_an_outage_gets_few_requests_and_its_end_is_noticed_at_once_and_followed_by_a_slow_start(
    worker, reserved_port
):
    concurrency, slow = 10, 0.3
    loop = asyncio.get_running_loop()
    simulator = Simulator(Options(port=reserved_port, seed=7))
    await simulator.__aenter__()
    try:
        stats = simulator.stats
        run = worker.run(
            "--admin-port",
            "0",
            base_url=simulator.base_url,
            POLL__BATCH="off",
            LIMITS__CONCURRENCY=str(concurrency),
            **PATIENT,
        )
        admin = await admin_of(run)
        ids = pending(simulator, 60)
        worker.submit(*ids)
        await eventually(lambda: looked_at(run) == len(ids), otherwise=lambda: run.stderr)
        assert await status_of(admin) == (200, [])

        began = loop.time()
        await simulator.__aexit__()
        before = stats.requests
        await run.until("api.unavailable")
        assert await status_of(admin) == (503, ["the API is unavailable"])
        expected = end(simulator, ids[:40])
        await asyncio.sleep(2.5)
        assert worker.events() == []
        during, lasted = await requests_of(admin) - before, loop.time() - began
        await simulator.__aenter__()
        ended = loop.time()
        simulator.set_faults(f"slow={slow}")
        await run.until("api.recovered")
        await asyncio.sleep(2 * slow)
        # Failures in a row, requests in flight when the breaker opens, and those that succeed before the first failure.
        most = FAILURES_TO_OPEN + 2 * concurrency + most_probes(lasted)
        said = f"{during} requests (at most {most}) in {lasted:.1f} s of outage"
        assert during <= most, f"{said}\n{numbers(simulator, run)}"

        after = [seen - ended for seen in stats.times if seen >= ended]
        since = [seen - after[0] for seen in after]
        longest = FIRST_PROBE_SECONDS * 2 ** most_probes_in_turn(ended - began) * (1 + PROBE_JITTER)
        said = f"first request {after[0]:.2f} s after the end (at most {longest:.2f} s), then {since[:12]}"
        assert after[0] < longest + BUSY_SECONDS, f"{said}\n{numbers(simulator, run)}"
        # The probe is alone until it is answered, and its answer is followed by two requests, not by all that wait.
        assert sum(seen < slow * 0.99 for seen in since) == 1, said
        assert sum(seen < slow * 1.99 for seen in since) <= 3, said

        simulator.set_faults()
        expected |= end(simulator, ids[40:])
        await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: numbers(simulator, run))
        assert wrong_events(worker, expected) == [], numbers(simulator, run)
        await run.until("api.recovered")
        assert (len(run.logs("api.unavailable")), len(run.logs("api.recovered"))) == (1, 1), numbers(simulator, run)
        assert await status_of(admin) == (200, [])
        run.send(signal.SIGTERM)
        assert await run.end() == 0
    finally:
        await simulator.__aexit__()


async def test_a_refused_key_stops_polling_until_its_file_holds_another_and_settles_nothing(serve, tmp_path, worker_in):
    """The refusal lasts longer than the deadline of the assets and the grace of those that are not visible yet."""
    concurrency, deadline = 10, 10
    simulator = await serve(key=KEY, seed=8)
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    worker = worker_in("worker")
    run = worker.run(
        "--admin-port",
        "0",
        base_url=simulator.base_url,
        API__KEY_FILE=str(key_file),
        LIMITS__CONCURRENCY=str(concurrency),
        POLL__DEADLINE=str(deadline),
        POLL__NOT_FOUND_GRACE=str(deadline),
    )
    admin = await admin_of(run)
    ids = pending(simulator, 60)
    worker.submit(*ids)
    await eventually(lambda: looked_at(run) == len(ids), otherwise=lambda: run.stderr)
    simulator.key = OTHER_KEY
    refused_at = asyncio.get_running_loop().time()
    await run.until("api.key_refused")
    expected = end(simulator, ids)
    await asyncio.sleep(deadline)
    assert await status_of(admin) == (503, ["the API refuses the key"])
    lasted = asyncio.get_running_loop().time() - refused_at
    refused = simulator.stats.by_status[401]
    # Requests in flight at the first refusal, the one that confirms it, and the probes.
    most = concurrency + 1 + most_probes(lasted)
    said = f"{refused} requests (at most {most}) with a refused key in {lasted:.1f} s"
    assert refused <= most, f"{said}\n{numbers(simulator, run)}"
    assert worker.events() == []

    replacement = tmp_path / "key.new"
    replacement.write_text(f"{OTHER_KEY}\n")
    replacement.replace(key_file)
    await run.until("api.recovered")
    assert len(run.logs("api.key_changed")) == 1
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: numbers(simulator, run))
    assert wrong_events(worker, expected) == [], numbers(simulator, run)
    [line] = run.logs("api.key_refused")
    assert line["level"] == "error"
    assert "key is invalid" in line["error"], line
    assert line["key_source"] == f"api.key_file {key_file}"
    assert "put a key that works into that file" in line["hint"]
    assert line["retry_in"] > 0
    assert len(run.logs("api.recovered")) == 1
    assert await status_of(admin) == (200, [])
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert KEY.encode() not in worker.written()
    assert OTHER_KEY.encode() not in worker.written()


async def test_wait_ends_with_exit_code_3_when_the_key_is_refused(serve, worker):
    simulator = await serve(key=OTHER_KEY)
    run = worker.start("wait", *(simulator.store.add(Lifecycle()) for _ in range(3)), base_url=simulator.base_url)
    assert await run.end() == 3, run.stderr
    assert run.stdout == b""
    assert len(run.logs("api.key_refused")) == 1
    times = simulator.stats.times
    # The list, the request that confirms the refusal, and the probes that a busy machine can't prevent in time.
    assert len(times) <= 2 + most_probes(times[-1] - times[0]), simulator.stats.report()


async def test_a_run_that_ends_by_itself_gives_up_a_refused_key_with_exit_code_3_and_keeps_what_is_pending(
    serve, worker
):
    """After a minute; the test runs a program that differs from ours only in this time."""
    assert KEY_REFUSED_SECONDS == 60
    (worker.folder / "impatient.py").write_text(
        "import sys\n"
        "import asset_worker.cli.run\n"
        "sys.modules['asset_worker.cli.run'].KEY_REFUSED_SECONDS = 1.5\n"
        "asset_worker.cli.main()\n"
    )
    simulator = await serve(key=OTHER_KEY)
    expected = {simulator.store.add(Lifecycle()): "ready" for _ in range(5)}
    worker.submit(*expected)
    run = worker.run("--once", base_url=simulator.base_url, program=("impatient",))
    assert await run.end() == 3, run.stderr
    assert len(run.logs("api.key_refused")) == 1
    [stopped] = run.logs("worker.stopped")
    assert (stopped["exit_code"], stopped["pending"]) == (3, 5)
    assert worker.events() == []

    simulator.key = KEY
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert wrong_events(worker, expected) == []


@pytest.mark.parametrize(
    ("fault_text", "grace", "opens"),
    [("status=404", 600, False), ("html=404", 1, True)],
    ids=["the API's own, shorter than the grace", "a gateway's, longer than the grace"],
)
async def test_a_series_of_404s_settles_nothing_as_not_found(serve, worker, fault_text, grace, opens):
    simulator = await serve(seed=10)
    run = worker.run(base_url=simulator.base_url, POLL__NOT_FOUND_GRACE=str(grace))
    await run.until("worker.started")
    ids = [simulator.store.add(Lifecycle(math.inf)) for _ in range(60)]
    worker.submit(*ids)
    await eventually(lambda: looked_at(run) == len(ids), otherwise=lambda: run.stderr)
    simulator.set_faults(fault_text)
    expected = end(simulator, ids)
    await asyncio.sleep(2.5)
    await eventually(
        lambda: simulator.stats.by_fault.total() > FAILURES_TO_OPEN, otherwise=lambda: numbers(simulator, run)
    )
    assert worker.events() == [], numbers(simulator, run)
    simulator.set_faults()
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: numbers(simulator, run))
    assert wrong_events(worker, expected) == [], numbers(simulator, run)
    assert len(run.logs("api.unavailable")) == opens, numbers(simulator, run)


async def test_an_asset_that_was_seen_is_not_found_after_the_grace_and_no_sooner(serve, worker):
    """All are older than the grace when the API answers 404: for most only once, for some from then on."""
    grace = 3.0
    simulator = await serve(seed=12)
    run = worker.run(base_url=simulator.base_url, POLL__BATCH="off", POLL__NOT_FOUND_GRACE=str(grace))
    await run.until("worker.started")
    ids = [simulator.store.add(Lifecycle(math.inf, hls=Rendition()), kind=KINDS["clip"]) for _ in range(40)]
    worker.submit(*ids)
    await eventually(lambda: looked_at(run) == len(ids), otherwise=lambda: run.stderr)
    await asyncio.sleep(grace + 0.3)
    deleted, left = ids[:8], ids[8:]
    denied_at = time.time()
    for asset_id in deleted:
        assert simulator.store.delete(asset_id)
    deny_once(simulator, left)
    await eventually(lambda: denied(run) >= {*left}, otherwise=lambda: numbers(simulator, run))
    expected = end(simulator, left) | dict.fromkeys(deleted, "not_found")
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: numbers(simulator, run))
    assert wrong_events(worker, expected) == [], numbers(simulator, run)
    for event in worker.events():
        if event["subject"] not in deleted:
            continue
        took = datetime.fromisoformat(event["data"]["completed_at"]).timestamp() - denied_at
        assert grace - 0.05 < took < grace + BUSY_SECONDS, took
        assert "deleted" in event["data"]["reason"]
        assert event["data"]["asset"] == {
            "_id": event["subject"],
            "status": "processing",
            "file_type": "video/mp4",
            "method": "direct",
            "hls": {"status": "pending"},
        }


def deny_once(simulator: Simulator, asset_ids: list[str]) -> None:
    """The next look at each asset finds nothing; a period of time could be longer than the grace."""
    store, view, left = simulator.store, simulator.store.view, {*asset_ids}

    def once(asset_id: str, *, ago: float = 0.0) -> dict[str, Any] | None:
        if asset_id in left:
            left.remove(asset_id)
            return None
        return view(asset_id, ago=ago)

    store.view = once


def denied(run: Run) -> set[str]:
    """The assets that were seen and then missing."""
    return {
        line["asset_id"]
        for line in run.logs("asset.changed")
        if (line["from"], line["to"]) == ("processing", "missing")
    }


@pytest.mark.parametrize("batch", ["auto", "off"])
async def test_answers_of_a_gigabyte_do_not_fill_the_memory(serve, worker, batch):
    simulator = await serve(seed=11)
    ids = pending(simulator, 300)
    run = worker.run(base_url=simulator.base_url, POLL__BATCH=batch, LIMITS__CONCURRENCY="20", **PATIENT)
    await run.until("worker.started")
    process = psutil.Process(run.process.pid)
    before = most = process.memory_info().rss
    simulator.set_faults(f"huge={1 << 30}")
    worker.submit(*ids)
    ends, counts = asyncio.get_running_loop().time() + 3, simulator.stats.by_fault
    while asyncio.get_running_loop().time() < ends or counts.total() <= 3:
        most = max(most, process.memory_info().rss)
        await asyncio.sleep(0.01)
    said = f"{(most - before) >> 20} MiB more than {before >> 20} MiB, {counts.total()} such answers"
    simulator.set_faults()
    assert most - before < 100 << 20, f"{said}\n{numbers(simulator, run)}"
    expected = end(simulator, ids)
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: numbers(simulator, run))
    assert wrong_events(worker, expected) == [], numbers(simulator, run)
