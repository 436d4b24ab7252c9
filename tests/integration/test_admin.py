"""The admin port of a real process, and clients that mean ill: nothing of it may reach the work or fill the log."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.admin import admin_of, until_ready
from tests.integration.processes import Run, eventually

MANY = 200


async def connections(run: Run, number: int, sent: bytes = b"GET /readyz HTTP/1.1\r\nHos"):
    """Connections with an unfinished request."""
    address = urlsplit(await admin_of(run))
    opened = []
    for _ in range(number):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(sent)
        opened.append((reader, writer))
    return opened


async def end_of(reader: asyncio.StreamReader) -> bytes:
    with suppress(ConnectionResetError):
        return await reader.read()
    return b""


@pytest.mark.parametrize("descriptors", [1024, 64, 48])
async def test_two_hundred_half_open_connections_leave_probes_and_intake_at_work(serve, worker, descriptors):
    """Also where the process may have few descriptors: the last are left to the work."""
    simulator = await serve()
    run = worker.run(
        "--admin-port",
        "0",
        base_url=simulator.base_url,
        before=f"ulimit -n {descriptors};",
        LIMITS__CONCURRENCY="4",
    )
    held = await connections(run, MANY)
    ids = []
    for turn in range(2):  # with rotations, for which files must be opened
        ids += [simulator.store.add(Lifecycle()) for _ in range(5)]
        worker.submit(*ids[-5:])
        await eventually(lambda ids=ids: len(worker.events()) == len(ids), otherwise=lambda: run.stderr)
        worker.queue_file.rename(worker.queue_file.with_name(f"queue.{turn}"))
        held += await connections(run, MANY // 2)
        await until_ready(run)
    assert [len(run.logs(event)) for event in ("intake.unreadable", "admin.failed")] == [0, 0]
    await run.until("admin.refused")
    assert len(run.logs("admin.refused")) <= 2
    ended = await asyncio.wait_for(asyncio.gather(*(end_of(reader) for reader, _ in held)), 36)
    assert set(ended) == {b""}
    for _, writer in held:
        writer.close()


async def test_a_request_that_drips_is_closed_after_five_seconds(serve, worker):
    simulator = await serve()
    run = worker.run("--admin-port", "0", base_url=simulator.base_url)
    [(reader, writer)] = await connections(run, 1)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def drip() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.5)

    dripping = loop.create_task(drip())
    assert await asyncio.wait_for(end_of(reader), 60) == b""
    assert loop.time() - began > 4.5
    dripping.cancel()
    writer.close()
    refused = await run.until("admin.refused")
    assert (refused["what"], refused["client"]) == ("too slow", "127.0.0.1")


async def test_a_flood_of_junk_is_one_line_without_a_traceback(serve, worker):
    simulator = await serve()
    run = worker.run("--admin-port", "0", base_url=simulator.base_url)
    for _ in range(20):
        for reader, writer in await connections(run, 20, b"\x16\x03\x01\r\n\r\n"):
            answer = await end_of(reader)
            assert answer.startswith(b"HTTP/1.0 400 ")
            assert b"Python" not in answer
            assert b"aiohttp" not in answer
            writer.close()
    await until_ready(run)
    await run.until("admin.refused")
    assert len(run.logs("admin.refused")) == 1
    assert "Traceback" not in run.stderr
    assert len(run.stderr) < 4000
