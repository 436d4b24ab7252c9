"""The receiver that people copy: a process, and requests signed by the reference implementation."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from tests.integration.processes import ROOT, eventually
from tests.programs import BIN, program

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@pytest.fixture
async def receiver(example):
    await example.start(secret=SECRET)
    return example


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as it:
        yield it


def signed(identity="a.1", *, age=0.0, subject="a", secret=SECRET, **headers):
    event = {"specversion": "1.0", "id": identity, "source": "s", "type": "x.ready", "subject": subject}
    body = json.dumps(event | {"data": {"outcome": "ready"}})
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=age)
    return body.encode(), {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": identity,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(identity, at, body),
        **headers,
    }


async def status(session, receiver, message):
    body, headers = message
    async with session.post(receiver.url, data=body, headers=headers) as response:
        return response.status


async def test_it_keeps_each_event_once_and_works_on_it_after_the_answer(receiver, session):
    assert [await status(session, receiver, signed(each)) for each in ("a.1", "b.1", "a.1")] == [204, 204, 204]
    await eventually(lambda: len(receiver.handled()) == 2, otherwise=receiver.output.read_text)
    receiver.kill()
    await receiver.start(secret=SECRET)
    assert await status(session, receiver, signed("a.1")) == 204
    assert await status(session, receiver, signed("c.1", subject="c")) == 204
    await eventually(lambda: "ready c" in receiver.handled(), otherwise=receiver.output.read_text)
    assert receiver.handled() == ["ready a", "ready a", "ready c"]
    assert receiver.kept() == ["a.1", "b.1", "c.1"]


async def test_what_was_kept_and_not_worked_on_is_after_a_restart(receiver, session):
    receiver.kill()
    with closing(sqlite3.connect(receiver.folder / "events.sqlite3")) as database, database:
        database.execute("INSERT INTO events (id, body) VALUES ('a.1', ?)", (signed("a.1")[0],))
    await receiver.start(secret=SECRET)
    await eventually(lambda: receiver.handled() == ["ready a"], otherwise=receiver.output.read_text)


FORGED: list[Callable[[], Any]] = [
    lambda: (b"{}", {}),
    lambda: (b"{ }", signed()[1]),
    lambda: (b"\xff", signed()[1]),
    lambda: signed(secret="whsec_YW5vdGhlciBzZWNyZXQgb2YgMjQgYnl0ZXM="),
    lambda: signed(age=301),
    lambda: signed(age=-400),
    *(
        partial(signed, **{"webhook-signature": text})
        for text in ("v1", "v1,", "v1,?", "v1,\u00e4", "v2,abc", "v1," + "A" * 43 + "=")
    ),
    *(partial(signed, **{"webhook-timestamp": text}) for text in ("soon", "nan", "9" * 400)),
    lambda: signed(**{"webhook-id": "another"}),
]


async def test_it_refuses_what_is_not_genuine_or_too_old(receiver, session):
    for number, made in enumerate(FORGED):
        assert await status(session, receiver, made()) == 401, f"number {number}"
        assert await status(session, receiver, signed(f"{number}.1")) == 204
    assert receiver.kept() == [f"{number}.1" for number in range(len(FORGED))]
    assert "Traceback" not in receiver.output.read_text()


async def test_the_commands_on_the_page_bring_three_webhooks(tmp_path, reserved_port, another_port):
    """Pasted as a whole, as the page says; but for the ports, the pip, and the interval, which is shorter."""
    program("curl"), program("openssl")
    page = (ROOT / "docs" / "webhooks.md").read_text().split("\n### Try your receiver\n", 1)[1]
    [block, *_] = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    pip, *commands = re.findall(r"^\$ (.+)$", block, re.MULTILINE)
    assert pip == "pip install standardwebhooks"
    script = "\n".join(commands).replace("simulate ", f"simulate --port {another_port} ")
    script = script.replace("8080", str(reserved_port)).replace("8123", str(another_port))
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASSET_WORKER", "TWELVE"))}
    environ |= {"PATH": f"{BIN}{os.pathsep}{environ['PATH']}", "PORT": str(reserved_port), "no_proxy": "*"}
    environ |= {"ASSET_WORKER_ACCOUNT__INTERVAL": "0.2"}
    output = tmp_path / "output"
    with output.open("wb") as out:
        shell = subprocess.Popen(  # noqa: ASYNC220 - it starts without blocking
            ["sh", "-c", f"{script}\nwait"], cwd=tmp_path, env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        shown = re.findall(r"^(?:ready|degraded) .+$", block, re.MULTILINE)
        assert len(shown) == 3
        await eventually(lambda: all(line in output.read_text() for line in shown), otherwise=output.read_text)
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
