"""The command `simulate` as a process: where its key comes from, and its receiver of webhooks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks import Webhook
from yarl import URL

from tests.integration.processes import Run, eventually

SECRET = "tlk_of_the_environment"

pytestmark = pytest.mark.new_interpreter
"""These tests are about what a list of processes shows."""


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


def webhook(secret: str) -> tuple[bytes, dict[str, str]]:
    """A genuine request, by the reference implementation."""
    body = b'{"specversion": "1.0", "id": "a.1", "source": "s", "type": "x.ready", "subject": "a"}'
    now = datetime.now(UTC).replace(microsecond=0)
    return body, {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": "a.1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("a.1", now, body.decode()),
    }


async def test_a_receiver_of_webhooks_says_how_to_send_to_it(worker):
    """The lines for the other terminal are shell, and the secret in them is the one that it verifies with."""
    run = worker.start("simulate", "--port", "0", "--receiver", "--receiver-fault", "status=500@0-0.001")
    await eventually(lambda: "/hooks\n" in run.stderr, otherwise=lambda: run.stderr)
    lines = run.stderr.partition("in the other terminal:\n")[2].splitlines()
    shell = await asyncio.create_subprocess_shell(
        f"set -e; {lines[0]}; {lines[1]}; env", cwd=worker.folder, stdout=asyncio.subprocess.PIPE
    )
    variables, _ = await shell.communicate()
    assert f"ASSET_WORKER_EVENTS__SECRET_FILE={worker.folder}/webhook-secret" in variables.decode().splitlines()
    file = worker.folder / "webhook-secret"
    assert file.stat().st_mode & 0o777 == 0o600
    hooks = lines[2].split("--events ")[1]
    body, headers = webhook(file.read_text().strip())
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(hooks, data=body, headers=headers) as response:
                assert response.status == 204
        async with session.post(hooks, data=body) as response:
            assert response.status == 401
        async with session.get(hooks.replace("/hooks", "/_simulator/receiver")) as response:
            report = await response.json()
    assert [report[name] for name in ("requests", "accepted", "repeats", "bad_signatures")] == [3, 1, 1, 1]
    await eventually(lambda: "missing -> 401" in run.stderr, otherwise=lambda: run.stderr)
    assert "ready a attempt 1 -> 204\nready a attempt 2 -> 204, a repeat\n" in run.stderr


@pytest.mark.parametrize("is_file", [True, False])
async def test_a_secret_that_is_given_is_used_and_not_shown(worker, is_file):
    secret = "whsec_Z2l2ZW4gc2VjcmV0IG9mIDI0IGJ5dGVz"
    file = worker.folder / "a secret"
    file.write_text(f"{secret}\n")
    run = worker.start(
        *("simulate", "--port", "0", "--receiver", *(("--receiver-secret-file", file) if is_file else ())),
        before="" if is_file else f"export WEBHOOK_SECRET={secret};",
    )
    await eventually(lambda: "/hooks\n" in run.stderr, otherwise=lambda: run.stderr)
    assert secret not in run.stderr
    assert (f"export ASSET_WORKER_EVENTS__SECRET_FILE='{file}'" in run.stderr) == is_file
    body, headers = webhook(secret)
    hooks = run.stderr.split("--events ")[1].strip()
    async with aiohttp.ClientSession() as session, session.post(hooks, data=body, headers=headers) as response:
        assert response.status == 204


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--receiver-fault", "hang"], "need --receiver"),
        (["--receiver-secret-file", "secret"], "need --receiver"),
        (["--receiver", "--receiver-fault", "omit"], "is not a kind of fault"),
        (["--receiver", "--receiver-secret-file", "secret"], "line 1 is not a secret"),
        (["--receiver", "--receiver-secret-file", "none"], "No such file"),
    ],
    ids=str,
)
async def test_a_receiver_that_can_not_be_served_is_an_error_of_usage(worker, arguments, says):
    (worker.folder / "secret").write_text("hunter2\n")
    run = worker.start("simulate", "--port", "0", *arguments)
    assert await run.end() == 2
    assert says in run.stderr
    assert "hunter2" not in run.stderr
