"""What a caller allows outweighs what a server asks for: a wait ends at its deadline, whatever `Retry-After` says."""

from __future__ import annotations

import json
import signal
import time

import pytest
from aiohttp import web

from tests.integration.processes import eventually

IDS = [f"{number:024x}" for number in range(1, 121)]


@pytest.fixture
async def refusing(aiohttp_server_of):
    """Starts an API that answers everything with one status and headers."""

    async def start(status, headers):
        async def refuse(_):
            return web.Response(status=status, headers=headers)

        return await aiohttp_server_of(web.get("/v1.3/assets", refuse), web.get("/v1.3/assets/{id}", refuse))

    return start


@pytest.mark.parametrize("count", [1, len(IDS)], ids=["one", "many"])
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(429, {"Retry-After": "3600"}, id="429"),
        pytest.param(503, {"Retry-After": "90"}, id="503"),
        pytest.param(
            429, {"X-Ratelimit-Limit": "9", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "90"}, id="quota"
        ),
    ],
)
async def test_wait_ends_soon_after_its_timeout(worker, refusing, status, headers, count):
    began = time.monotonic()
    run = worker.start("wait", *IDS[:count], "--timeout", "3", base_url=await refusing(status, headers))
    assert await run.end() == 4
    assert time.monotonic() - began < 60, "a slow machine may take seconds to start, but not the 90 that are asked for"
    assert [event["data"]["outcome"] for event in run.events()] == ["timed_out"] * count


async def test_a_service_keeps_to_the_deadlines_of_its_submissions(worker, refusing):
    """Those with a short one wait behind others with a long one, which are not given up."""
    patient, hurried = IDS[:60], IDS[60:]
    worker.submit(*patient, *(json.dumps({"asset_id": each, "deadline": 2}) for each in hurried))
    began = time.monotonic()
    run = worker.run(base_url=await refusing(429, {"Retry-After": "3600"}))
    await eventually(lambda: len(worker.events()) >= len(hurried), otherwise=lambda: run.stderr)
    assert time.monotonic() - began < 60
    found = {event["subject"]: event["data"]["outcome"] for event in worker.events()}
    assert found == dict.fromkeys(hurried, "timed_out")
    run.send(signal.SIGTERM)
    assert await run.end() == 0
