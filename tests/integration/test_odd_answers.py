"""Answers that are not as documented: what can be read is read, and the status decides."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import psutil
import pytest
from aiohttp import web

from tests.integration.processes import eventually

BODIES: dict[str, tuple[bytes, str, str | None]] = {
    "nan": (b'{"_id": "%s", "status": "ready", "duration": NaN, "x": [-Infinity, 1e400]}', "ready", None),
    "mark": (b'\xef\xbb\xbf{"_id": "%s", "status": "ready"}\n\0\0', "ready", None),
    "control": (b'{"_id": "%s", "status": "ready", "filename": "a\x01\nb\xff"}', "ready", None),
    "deep": (b'{"_id": "%s", "status": "ready", "x": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", "ready", None),
    "types": (b'{"_id": "%s", "status": "ready", "file_type": 7, "method": [], "thumbnail": true}', "ready", None),
    "rendition": (b'{"_id": "%s", "status": "ready", "hls": "error"}', "degraded", "hls ended in error"),
    "text": (b'{"_id": "%s", "status": "failed", "error": "bad codec"}', "failed", "bad codec"),
    "list": (
        b'{"_id": "%s", "status": "failed", "error": ["bad codec", "bad frame"]}',
        "failed",
        "bad codec; bad frame",
    ),
}


@pytest.mark.parametrize("batch", ["off", "auto"])
async def test_the_status_decides_however_odd_the_rest_is(worker, aiohttp_server_of, batch):
    """Every event is valid JSON, whatever the answer was."""
    ids = {f"{number:024x}": name for number, name in enumerate(BODIES)}
    requests: Counter[str] = Counter()

    def shown(asset_id: str) -> bytes:
        return BODIES[ids[asset_id]][0] % asset_id.encode()

    async def retrieve(request: web.Request) -> web.Response:
        requests[request.match_info["id"]] += 1
        return web.Response(body=shown(request.match_info["id"]))

    async def listed(request: web.Request) -> web.Response:
        requests["lists"] += 1
        parts = [shown(each).strip(b"\xef\xbb\xbf\0") for each in request.query.getall("asset_ids")]
        return web.Response(body=b'{"page_info": NaN, "data": [' + b",".join(parts) + b"]}")

    base_url = await aiohttp_server_of(web.get("/v1.3/assets", listed), web.get("/v1.3/assets/{id}", retrieve))
    worker.submit(*ids)
    run = worker.run("--once", base_url=base_url, POLL__BATCH=batch)
    assert await run.end() == 1, run.stderr
    for line in worker.events_file.read_bytes().splitlines():
        data = json.loads(line, parse_constant=pytest.fail)["data"]
        _, outcome, reason = BODIES[ids[data["asset_id"]]]
        assert (data["outcome"], data["reason"], data["asset"]["_id"]) == (outcome, reason, data["asset_id"])
    assert len(worker.events()) == len(ids)
    assert all(requests[each] == 1 for each in ids)
    assert "api.list_doubted" not in run.stderr
    odd = [line["what"] for line in run.logs("api.odd_answer")]
    assert len(odd) == len(set(odd)) >= 9


async def test_one_odd_asset_among_fifty_costs_one_retrieve(worker, aiohttp_server_of):
    ids = [f"{number:024x}" for number in range(50)]
    retrieved: list[str] = []
    lists = 0

    async def retrieve(request: web.Request) -> web.Response:
        retrieved.append(request.match_info["id"])
        return web.json_response({"_id": request.match_info["id"], "status": "processing"})

    async def listed(request: web.Request) -> web.Response:
        nonlocal lists
        lists += 1
        data = [{"_id": each, "status": "processing"} for each in request.query.getall("asset_ids")]
        for each in data:
            if each["_id"] == ids[7]:
                each["status"] = ["processing"]  # type: ignore[assignment]
        return web.json_response({"data": data})

    base_url = await aiohttp_server_of(web.get("/v1.3/assets", listed), web.get("/v1.3/assets/{id}", retrieve))
    worker.submit(*ids)
    run = worker.run(base_url=base_url, POLL__STRATEGY="fixed", POLL__INITIAL="0.5")
    await eventually(lambda: lists >= 10, otherwise=lambda: run.stderr)
    assert not run.logs("api.list_doubted")
    assert retrieved.count(ids[7]) >= 1
    others = len(retrieved) - retrieved.count(ids[7])
    assert others <= 2 * lists, "audits, and looks that a busy machine made alone; else it would be 49 a list"


async def test_long_texts_that_change_with_every_answer_fill_neither_memory_nor_log(worker, aiohttp_server_of):
    """The event's document has them as they came."""
    ids = [f"{number:024x}" for number in range(20)]
    answers: Counter[str] = Counter()
    last = f"{'e' * 900_000} the end"

    async def retrieve(request: web.Request) -> web.Response:
        asset_id = request.match_info["id"]
        answers[asset_id] += 1
        long = f"{answers[asset_id]} {'x' * 300_000}"
        if answers[asset_id] > 20:
            return web.json_response({"_id": asset_id, "status": "failed", "error": {"message": last}})
        renditions = {name: {"status": long} for name in ("hls", "thumbnail")}
        return web.json_response({"_id": asset_id, "status": long, **renditions})

    worker.submit(*ids)
    run = worker.run(base_url=await aiohttp_server_of(web.get("/v1.3/assets/{id}", retrieve)), POLL__BATCH="off")
    most = 0
    while len(worker.events()) < len(ids):
        assert run.process.poll() is None, run.stderr
        most = max(most, psutil.Process(run.process.pid).memory_info().rss)
        await asyncio.sleep(0.1)
    assert most < 200_000_000
    assert len(run.stderr) < 1_000_000
    assert sum(file.stat().st_size for file in worker.state.iterdir()) < 60_000_000  # the events have 18 MB
    unknown = [line["value"] for line in run.logs("api.unknown_status")]
    assert len(unknown) == 60
    assert max(map(len, unknown)) == 64
    for event in worker.events():
        assert event["data"]["asset"]["error"]["message"] == last
        assert event["data"]["reason"] == "e" * 999 + "…"
