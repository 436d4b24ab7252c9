"""The receiver that people copy: a process, and requests signed by the reference implementation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks import Webhook

from tests.integration.processes import ROOT, eventually

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


class Receiver:
    """The example as a process, in a folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}/hooks"
        self._environ = os.environ | {"WEBHOOK_SECRET": SECRET, "PORT": str(port), "PYTHONWARNINGS": "error"}
        self.output = folder / "output"

    async def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it starts without blocking
                [sys.executable, ROOT / "deploy" / "examples" / "receiver.py"],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                env=self._environ,
            )
        await eventually(self._answers, otherwise=self.output.read_text)

    def _answers(self) -> bool:
        return self.output.read_text().count("Running on") >= self.starts

    starts = 1

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.starts += 1

    def handled(self) -> list[str]:
        return [line for line in self.output.read_text().splitlines() if line.startswith("ready ")]

    def kept(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "events.sqlite3")) as database:
            return [identity for (identity,) in database.execute("SELECT id FROM events ORDER BY rowid")]


@pytest.fixture
async def receiver(tmp_path, reserved_port):
    it = Receiver(tmp_path, reserved_port)
    await it.start()
    yield it
    it.process.kill()
    it.process.wait()


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
    await receiver.kill()
    await receiver.start()
    assert await status(session, receiver, signed("a.1")) == 204
    assert await status(session, receiver, signed("c.1", subject="c")) == 204
    await eventually(lambda: "ready c" in receiver.handled(), otherwise=receiver.output.read_text)
    assert receiver.handled() == ["ready a", "ready a", "ready c"]
    assert receiver.kept() == ["a.1", "b.1", "c.1"]


async def test_what_was_kept_and_not_worked_on_is_after_a_restart(receiver, session):
    await receiver.kill()
    with closing(sqlite3.connect(receiver.folder / "events.sqlite3")) as database, database:
        database.execute("INSERT INTO events (id, body) VALUES ('a.1', ?)", (signed("a.1")[0],))
    await receiver.start()
    await eventually(lambda: receiver.handled() == ["ready a"], otherwise=receiver.output.read_text)


@pytest.mark.parametrize(
    "message",
    [
        (b"{}", {}),
        (b"{ }", signed()[1]),
        (b"\xff", signed()[1]),
        signed(secret="whsec_YW5vdGhlciBzZWNyZXQgb2YgMjQgYnl0ZXM="),
        signed(age=301),
        signed(age=-400),
        *(
            signed(**{"webhook-signature": text})
            for text in ("v1", "v1,", "v1,?", "v1,\u00e4", "v2,abc", "v1," + "A" * 43 + "=")
        ),
        *(signed(**{"webhook-timestamp": text}) for text in ("soon", "nan", "9" * 400)),
        signed(**{"webhook-id": "another"}),
    ],
    ids=range(16),
)
async def test_it_refuses_what_is_not_genuine_or_too_old(receiver, session, message):
    assert await status(session, receiver, message) == 401
    assert await status(session, receiver, signed()) == 204
    assert receiver.kept() == ["a.1"]
    await asyncio.sleep(0)
    assert "Traceback" not in receiver.output.read_text()
