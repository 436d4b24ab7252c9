"""Webhooks that refuse events, and the command that has them sent again: the real worker, files and sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from collections import Counter

import pytest
from aiohttp import web
from click.testing import CliRunner

from asset_worker.cli import asset_worker
from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import eventually

EVENTS = 4


class Receiver:
    """A webhook's receiver on this machine, which answers with `status`."""

    def __init__(self):
        self.status = 200
        self.received: list[str] = []
        """The IDs of the events that it accepted."""
        self.attempts: Counter[str] = Counter()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/hook", self.handle)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def handle(self, request):
        event = json.loads(await request.read())
        self.attempts[event["id"]] += 1
        if self.status == 200:
            self.received.append(event["id"])
        return web.Response(status=self.status)


@pytest.fixture
async def receiver():
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def config(worker, receiver):
    """The settings of a worker whose only sink is the receiver: each event is tried twice."""
    path = worker.folder / "worker.toml"
    path.write_text(
        f'[queue]\nfile = "{worker.queue_file}"\n[state]\ndir = "{worker.state}"\n'
        f'[[events.sinks]]\nurl = "{receiver.url}"\nname = "hook"\nretry = [0.1]\n'
    )
    return path


async def called(worker, *arguments):
    """Call the command; returns its exit code, its output and its seconds."""
    began = time.monotonic()
    run = worker.start("dead-letters", *arguments, "--state-dir", worker.state)
    code = await run.end()
    return code, run.stdout.decode(), run.stderr, time.monotonic() - began


def listed(worker):
    """What `dead-letters list` shows; run in this process, as many tests ask for it."""
    found = CliRunner().invoke(asset_worker, ["dead-letters", "list", "--json", "--state-dir", str(worker.state)])
    assert found.exit_code == 0, found.output
    return [json.loads(line) for line in found.stdout.splitlines()]


def submitted(simulator, worker, count=EVENTS):
    ids = [simulator.store.add(Lifecycle()) for _ in range(count)]
    worker.submit(*ids)
    return sorted(f"{each}.1" for each in ids)


async def refused(simulator, worker, receiver, config, *, count=EVENTS):
    """A running worker, all events of which are dead letters, and their IDs."""
    receiver.status = 500
    ids = submitted(simulator, worker, count)
    run = worker.start("run", "--config", config, base_url=simulator.base_url)
    await eventually(lambda: len(run.logs("sink.dead_letter")) == count, otherwise=lambda: run.stderr)
    receiver.status = 200
    return run, ids


def without_instants(letters):
    """Leave out what is taken from two clocks that are read one after the other: it may differ by a millisecond."""
    return [{name: value for name, value in each.items() if not name.endswith("_at")} for each in letters]


async def test_beside_a_running_worker_dead_letters_are_shown_sent_again_and_dropped(serve, worker, receiver, config):
    simulator = await serve()
    run, ids = await refused(simulator, worker, receiver, config)
    code, out, error, _ = await called(worker, "list", "--json")
    assert code == 0, error
    found = [json.loads(line) for line in out.splitlines()]
    assert without_instants(found) == without_instants(listed(worker))
    assert sorted(each["id"] for each in found) == ids
    assert {(each["sink"], each["attempts"]) for each in found} == {("hook", 2)}
    assert all("500" in each["reason"] for each in found)
    status = worker.start("status", "--state-dir", worker.state, "--json")
    assert await status.end() == 0
    assert json.loads(status.stdout)["dead_letters_by_sink"] == {"hook": EVENTS}

    code, out, error, seconds = await called(worker, "retry", ids[0], ids[1])
    assert (code, out) == (0, "2 to be sent again to hook\n"), error
    assert seconds < 10
    await eventually(lambda: sorted(receiver.received) == ids[:2], otherwise=lambda: run.stderr)
    code, out, error, _ = await called(worker, "drop", ids[2])
    assert (code, out) == (0, "1 of hook dropped\n"), error
    code, out, error, _ = await called(worker, "retry", "--all")
    assert (code, out) == (0, "1 to be sent again to hook\n"), error
    await eventually(lambda: sorted(receiver.received) == [*ids[:2], ids[3]], otherwise=lambda: run.stderr)
    assert listed(worker) == []
    code, _, error, _ = await called(worker, "retry", ids[2])
    assert (code, error) == (1, f"asset-worker: no dead letter has the ID {ids[2]}: nothing was done\n")

    assert [(line["sink"], line["count"]) for line in run.logs("dead_letters.retried")] == [("hook", 2), ("hook", 1)]
    assert [line["count"] for line in run.logs("dead_letters.dropped")] == [1]
    assert list((worker.state / "requests").iterdir()) == []
    assert stat.S_IMODE((worker.state / "requests").stat().st_mode) == 0o700
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert await worker.start("run", "--config", config, "--once", base_url=simulator.base_url).end() == 0
    assert len(receiver.received) == 3


async def test_a_paused_webhook_is_resumed_by_a_retry_although_it_has_no_dead_letters(serve, worker, receiver, config):
    simulator = await serve()
    receiver.status = 410
    ids = submitted(simulator, worker)
    run = worker.start("run", "--config", config, base_url=simulator.base_url)
    await run.until("sink.paused")
    receiver.status = 200
    text = ""
    async with asyncio.timeout(60):  # the log says so before the journal does
        while "hook is paused since" not in text:
            status = worker.start("status", "--state-dir", worker.state)
            assert await status.end() == 0
            text = status.stdout.decode()
    code, out, error, _ = await called(worker, "retry", "--sink", "hook")
    assert (code, out) == (
        0,
        f"there are no such dead letters in {worker.state}; the sink is resumed if it was paused\n",
    ), error
    await eventually(lambda: sorted(receiver.received) == ids, otherwise=lambda: run.stderr)
    await eventually(lambda: run.logs("sink.recovered") != [], otherwise=lambda: run.stderr)
    assert listed(worker) == []


async def test_without_a_worker_the_next_start_sends_what_was_put_back(serve, worker, receiver, config):
    simulator = await serve()
    run, ids = await refused(simulator, worker, receiver, config)
    run.process.kill()
    await run.end()
    code, out, error, _ = await called(worker, "retry", "--sink", "hook", "--json")
    assert (code, json.loads(out)) == (0, {"counts": {"hook": EVENTS}, "left": {}}), error
    assert await worker.start("run", "--config", config, "--once", base_url=simulator.base_url).end() == 0
    assert sorted(receiver.received) == ids


POINTS = [
    "carried_out:after:1",
    "answer:before:1",
    "answer_sync:before:1",
    "answer_rename:before:1",
    "answer_rename:after:1",
    "request_unlink:before:2",  # the first is that of a draft
    "request_unlink:after:2",
    "answer:after:1",
]


@pytest.mark.parametrize("point", POINTS)
async def test_a_request_is_carried_out_once_although_the_worker_is_killed_meanwhile(
    serve, worker, receiver, config, point
):
    """Then the command does it, or finds that it is done."""
    simulator = await serve()
    run, ids = await refused(simulator, worker, receiver, config)
    run.process.kill()
    await run.end()
    receiver.status = 500  # they die again, once, if they are sent again
    crashing = worker.start(
        "run", "--config", config, base_url=simulator.base_url, program=("tests.integration.failpoints", point)
    )
    await crashing.until("worker.started")
    code, out, error, seconds = await called(worker, "retry", "--all")
    assert (code, out) == (0, f"{EVENTS} to be sent again to hook\n"), error
    assert seconds < 20
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    assert list((worker.state / "requests").iterdir()) == []
    code = await worker.start("run", "--config", config, "--once", base_url=simulator.base_url).end()
    assert code in {0, 1}
    assert sorted(each["id"] for each in listed(worker)) == ids
    receiver.status = 200
    assert (await called(worker, "retry", "--all"))[0] == 0
    assert await worker.start("run", "--config", config, "--once", base_url=simulator.base_url).end() == 0
    assert set(receiver.received) == set(ids)


JOURNAL_POINTS = [
    "claim:after:1",
    "delivered:before:1",
    "dead_letter:after:1",
]


@pytest.mark.parametrize("point", JOURNAL_POINTS)
async def test_a_crash_at_any_step_of_a_delivery_loses_no_event(serve, worker, receiver, config, point):
    simulator = await serve()
    ids = submitted(simulator, worker)
    receiver.status = 500 if point.startswith(("failed", "dead")) else 200
    crashing = worker.start(
        "run",
        "--config",
        config,
        "--once",
        base_url=simulator.base_url,
        program=("tests.integration.failpoints", point),
    )
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    receiver.status = 200
    code = await worker.start("run", "--config", config, "--once", base_url=simulator.base_url).end()
    assert code == int(listed(worker) != []), "dead letters of the run that was killed count as well"
    if code:
        assert (await called(worker, "retry", "--all"))[0] == 0
        assert await worker.start("run", "--config", config, "--once", base_url=simulator.base_url).end() == 0
    assert set(receiver.received) == set(ids)
    assert listed(worker) == []
    repeated = Counter(receiver.received)
    assert sum(repeated.values()) <= EVENTS + 8  # at most what was on its way


async def test_files_that_are_no_requests_cost_nothing_but_a_line(serve, worker, receiver, config):
    simulator = await serve()
    run, ids = await refused(simulator, worker, receiver, config, count=1)
    requests = worker.state / "requests"
    requests.mkdir(0o700)
    (requests / f"{'0' * 32}.json").write_text("{")
    (requests / f"{'1' * 32}.json").symlink_to("/etc/passwd")
    os.mkfifo(requests / f"{'2' * 32}.json")
    (requests / f"{'3' * 32}.json").mkdir()
    (requests / "x.json").write_bytes(b"\xff")
    await eventually(lambda: len(run.logs("dead_letters.request_refused")) == 5, otherwise=lambda: run.stderr)
    code, out, error, _ = await called(worker, "retry", *ids)
    assert (code, out) == (0, "1 to be sent again to hook\n"), error
    await eventually(lambda: receiver.received == ids, otherwise=lambda: run.stderr)
    assert len(run.logs("dead_letters.request_refused")) == 5
    requests.chmod(0o777)
    await run.until("dead_letters.requests_unusable")
    code, _, error, _ = await called(worker, "retry", "--sink", "hook")
    assert code == 2
    assert f"others may write to {requests}" in error
    ids += submitted(simulator, worker, 1)
    await eventually(lambda: sorted(receiver.received) == sorted(ids), otherwise=lambda: run.stderr)
    assert run.process.poll() is None
