"""What polling costs, seen from the server: lists instead of retrieves, and a schedule that learns."""

from __future__ import annotations

import json
import signal

from aiohttp import web

from tests.integration.processes import eventually
from worker.simulator.lifecycles import KINDS, Lifecycle, Odds, draw


async def test_pending_assets_share_requests_and_the_event_is_made_from_a_retrieve(serve, worker):
    simulator = await serve(time_scale=10)
    ids = [simulator.store.add(Lifecycle(50)) for _ in range(500)]
    worker.submit(*ids)
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 0
    stats = simulator.stats
    assert stats.by_route["retrieve"] < 1.1 * len(ids)
    assert stats.looks.total() > 5 * len(ids)
    assert stats.by_route["list"] < stats.looks.total() / 20


async def test_without_batching_there_are_no_lists(serve, worker):
    simulator = await serve()
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(20)))
    assert await worker.run("--once", base_url=simulator.base_url, POLL__BATCH="off").end() == 0
    assert simulator.stats.by_route == {"retrieve": 20}


async def test_lists_that_fail_cost_no_asset(serve, worker):
    """The endpoint leaves out half of what it should show, for as long as the run takes."""
    simulator = await serve(time_scale=10)
    simulator.order("omit")
    ids = [simulator.store.add(Lifecycle(20)) for _ in range(100)]
    worker.submit(*ids)
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 0
    assert sorted(event["subject"] for event in worker.events()) == sorted(ids)
    assert len(run.logs("api.list_doubted")) == 1


async def test_what_was_learned_survives_a_restart_and_is_shown(serve, worker):
    simulator = await serve(time_scale=10)
    clip, odds = KINDS["clip"], Odds(failed=0, hls_error=0, thumbnail_error=0, late_visible=0)
    run = worker.run(base_url=simulator.base_url)
    # Their time passes from here on: a start that took a part of it would be learned from.
    await run.until("worker.started")
    worker.submit(*(simulator.store.add(draw(clip, simulator.random, odds=odds), kind=clip) for _ in range(60)))
    await eventually(lambda: len(worker.events()) == 60, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    shown = worker.start("schedule", "--state-dir", worker.state)
    assert await shown.end() == 0
    assert "asset video/mp4 direct" in shown.stdout.decode()
    told = worker.start("schedule", "--state-dir", worker.state, "--json")
    assert await told.end() == 0
    [asset] = [row for row in json.loads(told.stdout) if row["name"] == "asset video/mp4 direct"]
    assert asset["evidence"] > 50
    assert 1 < asset["p50"] < 4  # twenty seconds, ten times as fast

    (worker.state / "schedule.msgpack").write_bytes(b"\0garbage")
    again = worker.run(base_url=simulator.base_url)
    await again.until("worker.started")
    await eventually(lambda: bool(again.logs("schedule.unreadable")))
    assert (worker.state / "schedule.unreadable").read_bytes() == b"\0garbage"


async def test_where_there_is_no_list_endpoint_retrieves_do_the_job(worker, aiohttp_server_of):
    """A gateway in front answers the list with an error of its own, in HTML, and knows retrieves only."""

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
