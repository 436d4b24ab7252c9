"""The admin endpoints: what they answer, and clients that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest
from structlog.testing import capture_logs

from asset_worker.telemetry.admin import SHUTDOWN_SECONDS, serving
from asset_worker.telemetry.errors import AdminAddressError
from asset_worker.telemetry.snapshot import Problem
from tests.doubles.snapshots import NOTHING, snapshot


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nab", id="half a body"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000, id="answers that it does not read"),
    ],
)
async def test_a_client_does_not_delay_the_end(sent: bytes):
    """Its connection is closed."""
    with capture_logs() as logs, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with serving(lambda: NOTHING, host="127.0.0.1", port=0):
            host, _, port = logs[0]["addresses"][0].rpartition(":")
            client.connect((host, int(port)))
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            sending = loop.create_task(loop.sock_sendall(client, sent))
            assert await loop.sock_recv(client, 1) == b"H"
            began = loop.time()
        assert loop.time() - began <= 2 * SHUTDOWN_SECONDS
        sending.cancel()
        await asyncio.wait([sending])


async def test_an_address_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AdminAddressError, match=rf"127\.0\.0\.1:{port} .*admin\.port"):
            async with serving(lambda: NOTHING, host="127.0.0.1", port=port):
                pass


async def test_a_text_that_can_not_be_a_host_is_named():
    with pytest.raises(AdminAddressError, match=r"a\.\.b:0 .*admin\.host"):
        async with serving(lambda: NOTHING, host="a..b", port=0):
            pass


async def test_health_readiness_and_metrics_are_served():
    now = snapshot(
        pending=3,
        completions={"ready": 2},
        problems=("the API refuses the key",),
        problem_details=(Problem("the API refuses the key", 100.0, "401"),),
        is_ready=False,
    )
    answers = {}
    with capture_logs() as logs:
        async with serving(lambda: now, host="127.0.0.1", port=0), aiohttp.ClientSession() as client:
            for path in ("healthz", "readyz", "metrics"):
                async with client.get(f"http://{logs[0]['addresses'][0]}/{path}") as response:
                    answers[path] = (response.status, await response.text())
    assert answers["healthz"] == (200, '{"status": "ok"}')
    status, body = answers["readyz"]
    assert (status, json.loads(body)) == (
        503,
        {
            "status": "not ready",
            "problems": ["the API refuses the key"],
            "problem_details": [
                {"problem": "the API refuses the key", "since": "1970-01-01T00:01:40.000Z", "last_error": "401"}
            ],
        },
    )
    assert answers["metrics"][0] == 200
    assert "asset_worker_pending_assets 3.0" in answers["metrics"][1].splitlines()
