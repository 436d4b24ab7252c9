"""One part's trouble is not the whole's: some assets that always fail, or one endpoint that alone is limited."""

from __future__ import annotations

import signal
import time
from itertools import pairwise

import pytest
from aiohttp import web

from tests.integration.processes import eventually

BAD = [f"{number:024x}" for number in range(1, 11)]
GOOD = "f" * 24


def asset(asset_id, status):
    return {"_id": asset_id, "status": status}


@pytest.mark.parametrize("batch", ["off", "auto"])
@pytest.mark.parametrize("kind", [500, 403, "no JSON"], ids=str)
async def test_a_healthy_asset_is_known_in_time_beside_others_that_always_fail(worker, aiohttp_server_of, kind, batch):
    """They have opened the circuit breaker before it comes. Lists answer for all."""

    asked = set()

    async def retrieve(request):
        asked.add(request.match_info["id"])
        if request.match_info["id"] == GOOD:
            return web.json_response(asset(GOOD, "ready"))
        if isinstance(kind, int):
            return web.json_response({"code": "not_this_one", "message": "not this one"}, status=kind)
        return web.Response(text="<html>", content_type="application/json")

    async def list_all(request):
        return web.json_response({"data": [asset(each, "processing") for each in request.query.getall("asset_ids")]})

    worker.submit(*BAD)
    base_url = await aiohttp_server_of(web.get("/v1.3/assets", list_all), web.get("/v1.3/assets/{id}", retrieve))
    run = worker.run(base_url=base_url, POLL__BATCH=batch, POLL__INITIAL="1", POLL__MAX="5")
    if batch == "off":
        opened = {"api.unavailable", "api.key_refused"}
        await eventually(lambda: opened & {line["event"] for line in run.logs()}, otherwise=lambda: run.stderr)
        await eventually(lambda: asked == {*BAD}, otherwise=lambda: run.stderr)
    else:
        await run.until("intake.accepted")
    submitted_at = time.monotonic()
    worker.submit(GOOD)
    await eventually(worker.events, within=60, otherwise=lambda: run.stderr)
    assert time.monotonic() - submitted_at < 15, run.stderr
    [event] = worker.events()
    assert (event["subject"], event["data"]["outcome"]) == (GOOD, "ready")
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_assets_are_retrieved_while_lists_alone_are_limited(worker, aiohttp_server_of):
    """The lists are asked for again after each pause, and hardly more often."""
    lists = []

    async def list_none(_):
        lists.append(time.monotonic())
        return web.Response(status=429, headers={"Retry-After": "1"})

    async def retrieve(request):
        return web.json_response(asset(request.match_info["id"], "ready"))

    base_url = await aiohttp_server_of(web.get("/v1.3/assets", list_none), web.get("/v1.3/assets/{id}", retrieve))
    run = worker.start("wait", *BAD, "--timeout", "60", base_url=base_url)
    assert await run.end() == 0
    assert len(run.events()) == len(BAD)
    assert len(lists) <= 8
    assert all(later - earlier > 0.9 for earlier, later in pairwise(lists))
