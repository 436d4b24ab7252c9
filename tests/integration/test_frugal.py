"""What polling costs, seen from the server: lists instead of retrieves, and a schedule that learns."""

from __future__ import annotations

import json
import signal
from datetime import datetime

from aiohttp import web

from asset_worker.simulator.lifecycles import KINDS, Lifecycle
from tests.integration.holding import change, waiting
from tests.integration.processes import eventually


async def test_pending_assets_share_requests_and_the_event_is_made_from_a_retrieve(serve, worker):
    simulator = await serve()
    ids, stats = waiting(simulator, 500), simulator.stats
    worker.submit(*ids)
    run = worker.run("--once", base_url=simulator.base_url)
    await eventually(lambda: stats.looks.total() > 8 * len(ids), otherwise=lambda: run.stderr)
    change(simulator, *ids)
    assert await run.end() == 0
    assert stats.by_route["retrieve"] < 1.1 * len(ids)
    assert stats.by_route["list"] < stats.looks.total() / 20


async def test_without_batching_there_are_no_lists(serve, worker):
    simulator = await serve()
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(20)))
    assert await worker.run("--once", base_url=simulator.base_url, POLL__BATCH="off").end() == 0
    assert simulator.stats.by_route == {"retrieve": 20}


async def test_the_learned_state_survives_a_restart_and_is_shown(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 60, kind=KINDS["clip"])
    worker.submit(*ids)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(run.logs("asset.changed")) == 60, otherwise=lambda: run.stderr)
    for number, asset_id in enumerate(ids):
        change(simulator, asset_id, to=Lifecycle(2 + number / 30))
    await eventually(lambda: len(worker.events()) == 60, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    shown = worker.start("schedule", "--state-dir", worker.state)
    assert await shown.end() == 0
    assert "asset video/mp4 direct" in shown.stdout.decode()
    report = worker.start("schedule", "--state-dir", worker.state, "--json")
    assert await report.end() == 0
    [asset] = [row for row in json.loads(report.stdout) if row["name"] == "asset video/mp4 direct"]
    assert asset["evidence"] > 50
    # An asset ended between the last look that found it waiting and the next one: far apart on a busy machine.
    since, until = (
        [moment(event, name) - moment(event, "submitted_at") for event in worker.events()]
        for name in ("last_seen_waiting_at", "completed_at")
    )
    assert 0.8 * min(since) < asset["p50"] < 1.25 * max(until)

    (worker.state / "schedule.msgpack").write_bytes(b"\0garbage")
    again = worker.run(base_url=simulator.base_url)
    await again.until("schedule.unreadable")
    assert (worker.state / "schedule.unreadable").read_bytes() == b"\0garbage"


def moment(event, name):
    """A time of an event, in seconds since the epoch."""
    return datetime.fromisoformat(event["data"][name]).timestamp()


async def test_without_a_list_endpoint_retrieves_settle_all_assets(worker, aiohttp_server_of):
    """A gateway answers lists with an error of its own, in HTML, and passes on retrieves only."""

    async def retrieve(request):
        return web.json_response({"_id": request.match_info["id"], "status": "ready"})

    base_url = await aiohttp_server_of(web.get("/v1.3/assets/{id}", retrieve))
    ids = [f"{number:024x}" for number in range(200)]
    worker.submit(*ids)
    run = worker.run("--once", base_url=base_url)
    assert await run.end() == 0
    assert sorted(event["subject"] for event in worker.events()) == ids
    assert len(run.logs("api.list_doubted")) == 1
    assert run.logs("api.unavailable") == []
