"""The command `simulate` as a process: where its key comes from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.integration.processes import Run, eventually

SECRET = "tlk_of_the_environment"


@pytest.fixture(scope="session")
def forking() -> None:
    """Starts new interpreters: these tests are about what a list of processes shows."""


async def base_url_of(run: Run) -> str:
    await eventually(lambda: "in another terminal" in run.stderr, otherwise=lambda: run.stderr)
    return run.stderr.split("serves at ")[1].split(";")[0]


async def status_of(base_url: str, key: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{base_url}/assets", headers={"x-api-key": key}) as response,
    ):
        return response.status


def command_line(run: Run) -> bytes:
    """What `ps` shows."""
    return Path(f"/proc/{run.process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize("variable", ["TWELVE_LABS_API_KEY", ""])
async def test_the_key_comes_from_the_environment_and_is_not_shown(worker, variable):
    run = worker.start("simulate", "--port", "0", before=f"export {variable}={SECRET};" if variable else "")
    base_url = await base_url_of(run)
    assert [await status_of(base_url, key) for key in (SECRET, "another", "")] == [200, 401 if variable else 200, 401]
    assert SECRET not in run.stderr
    assert b"simulate" in command_line(run)
    assert SECRET.encode() not in command_line(run)
    assert ("export TWELVE_LABS_API_KEY=any" in run.stderr) == (not variable)


async def test_a_key_can_be_a_flag(worker):
    run = worker.start("simulate", "--port", "0", "--key", "k1", before=f"export TWELVE_LABS_API_KEY={SECRET};")
    base_url = await base_url_of(run)
    assert [await status_of(base_url, key) for key in ("k1", SECRET)] == [200, 401]
    assert "export TWELVE_LABS_API_KEY=k1" in run.stderr


async def test_malformed_requests_do_not_fill_its_log(worker):
    """HTTP/1.1 without `Host`, and lines that are no request: one line a kind, however many come."""
    run = worker.start("simulate", "--port", "0")
    base_url = URL(await base_url_of(run))
    for request in (b"GET /v1.3/assets HTTP/1.1\r\n\r\n", b"what\r\n\r\n") * 50:
        reader, writer = await asyncio.open_connection(base_url.host, base_url.port)
        writer.write(request)
        assert await reader.read(4096)
        writer.close()
    assert len(run.stderr) < 20_000
    assert await status_of(str(base_url), "any") == 200


async def test_a_malformed_request_that_holds_the_key_does_not_show_it(worker):
    """The error of the server shows a part of what was sent."""
    run = worker.start("simulate", "--port", "0", before=f"export TWELVE_LABS_API_KEY={SECRET};")
    base_url = URL(await base_url_of(run))
    reader, writer = await asyncio.open_connection(base_url.host, base_url.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nx-api-key {SECRET}\r\n\r\n".encode())
    assert b" 400 " in await reader.read(4096)
    writer.close()
    await eventually(lambda: "********" in run.stderr, otherwise=lambda: run.stderr)
    assert SECRET not in run.stderr
