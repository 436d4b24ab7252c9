"""The admin endpoints and clients that do not behave."""

from __future__ import annotations

import asyncio
import socket

import pytest
from structlog.testing import capture_logs

from asset_worker.telemetry.admin import SHUTDOWN_SECONDS, serving
from asset_worker.telemetry.snapshot import AdminAddressError
from tests.doubles.snapshots import NOTHING


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nab", id="half a body"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000, id="answers that it does not read"),
    ],
)
async def test_a_client_does_not_hold_up_the_end(sent: bytes):
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


async def test_a_host_that_can_be_none_is_named():
    with pytest.raises(AdminAddressError, match=r"a\.\.b:0 .*admin\.host"):
        async with serving(lambda: NOTHING, host="a..b", port=0):
            pass
