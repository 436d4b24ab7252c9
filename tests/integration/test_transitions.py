"""Events of steps from a real worker: over kill -9, to files and to webhooks that take none of them."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import time

import pytest
from aiohttp import web

from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.integration.holding import change, waiting
from tests.integration.processes import eventually

COUNT = 3
NEVER = Rendition(math.inf)
STATES = [
    Lifecycle(hls=NEVER, thumbnail=NEVER),
    Lifecycle(hls=NEVER, thumbnail=Rendition()),
    Lifecycle(hls=Rendition(), thumbnail=Rendition()),
]
"""What an asset goes through, each of which makes one step known, and the last its end."""
IN_ORDER = [".processed", ".thumbnail_ready", ".playable", ""]
POINTS = [
    *(f"outbox:after:{hit}" for hit in (1, 3, 5)),
    "progress:after:3",
    *(f"commit:after:{hit}" for hit in (9, 10, 11, 12)),
    "settle:after:1",
    *(f"write:half:{hit}" for hit in (2, 3)),
]
AT_A_WEBHOOK = ["superseded:after:1", "failed:after:1"]


def ids_of(events):
    found = {}
    for event in events:
        found.setdefault(event["subject"], []).append(event["id"])
    return found


def check(worker, ids):
    """Each asset has all of its events once, the completion last."""
    found = ids_of(worker.events())
    assert {each: events[-1] for each, events in found.items()} == {each: f"{each}.1" for each in ids}
    assert {each: sorted(events) for each, events in found.items()} == {
        each: sorted(f"{each}.1{suffix}" for suffix in IN_ORDER) for each in ids
    }


async def go_through(simulator, worker, run, ids):
    """Let all assets go from state to state, each when the events of the one before are written, or the worker died."""
    for number, state in enumerate(STATES, start=1):
        change(simulator, *ids, to=state)
        await eventually(
            lambda number=number: run.process.poll() is not None or len(worker.events()) >= number * len(ids),
            otherwise=lambda: run.stderr,
        )


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_repeats_no_step_and_brings_none_behind_the_completion(serve, worker, point):
    simulator = await serve()
    ids = waiting(simulator, COUNT)
    worker.submit(*ids)
    options = {"base_url": simulator.base_url, "EVENTS__TRANSITIONS": "true"}
    crashing = worker.run("--once", program=("tests.integration.failpoints", point), **options)
    await go_through(simulator, worker, crashing, ids)
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    assert await worker.run("--once", **options).end() == 0
    check(worker, ids)


class Receiver:
    """A receiver that refuses all steps, or does not answer them."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.got: list[tuple[float, str, bool]] = []
        """When each request came, the ID of its event, and whether it was a completion."""

    async def post(self, request: web.Request) -> web.Response:
        event = await request.json()
        is_end = event["data"]["outcome"] is not None
        self.got.append((time.monotonic(), event["id"], is_end))
        if is_end:
            return web.Response(status=204)
        if self.hangs:
            await asyncio.sleep(8)  # longer than the completions may take
        return web.Response(status=400)

    @property
    def ended(self) -> list[str]:
        return [event_id for _, event_id, is_end in self.got if is_end]


async def hook(receiver, aiohttp_server_of, folder):
    base = await aiohttp_server_of(web.post("/hooks", receiver.post))
    secrets = folder / "secrets"
    secrets.touch(mode=0o600)
    secrets.write_text("whsec_dGhlIGZpcnN0IHNlY3JldCBvZiBhbGwh\n")
    return {"url": f"{base.removesuffix('/v1.3')}/hooks", "name": "hook", "secret_file": str(secrets), "retry": ["1h"]}


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
async def test_a_webhook_that_takes_no_steps_gets_the_completions_at_once(
    serve, worker, aiohttp_server_of, tmp_path, hangs
):
    simulator, receiver = await serve(), Receiver(hangs=hangs)
    table = await hook(receiver, aiohttp_server_of, tmp_path)
    ids = waiting(simulator, COUNT)
    worker.submit(*ids)
    run = worker.run(base_url=simulator.base_url, webhooks=[table], EVENTS__TRANSITIONS="true")
    await run.until("intake.accepted")
    for state in STATES[:2]:
        change(simulator, *ids, to=state)
        await eventually(lambda state=state: len(worker.events()) >= COUNT * (STATES.index(state) + 1))
    change(simulator, *ids, to=STATES[2])
    await eventually(lambda: len(worker.events()) == COUNT * len(IN_ORDER))
    written = time.monotonic()
    await eventually(lambda: len(receiver.ended) == COUNT, within=10, otherwise=lambda: run.stderr)
    assert max(at for at, _, is_end in receiver.got if is_end) - written < 5
    last = {event_id.split(".")[0]: is_end for _, event_id, is_end in receiver.got}
    assert last == dict.fromkeys(ids, True), "a step came after the completion"
    where = ("--state-dir", worker.state)
    listed = worker.start("dead-letters", "list", "--json", *where)
    assert await listed.end() == 0
    letters = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {each["reason"] for each in letters} == {"superseded"}
    assert sorted(each["id"] for each in letters) == sorted(
        f"{each}.1{suffix}" for each in ids for suffix in IN_ORDER if suffix
    )
    retry = worker.start("dead-letters", "retry", "--all", *where)
    assert await retry.end() == 0
    assert "assets that are done" in retry.stderr
    run.send(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.parametrize("point", AT_A_WEBHOOK)
async def test_a_crash_while_steps_are_superseded_sends_none_after_the_completion(
    serve, worker, aiohttp_server_of, tmp_path, point
):
    simulator, receiver = await serve(), Receiver()
    table = await hook(receiver, aiohttp_server_of, tmp_path)
    ids = waiting(simulator, COUNT)
    worker.submit(*ids)
    options = {"base_url": simulator.base_url, "webhooks": [table], "EVENTS__TRANSITIONS": "true"}
    crashing = worker.run("--once", program=("tests.integration.failpoints", point), **options)
    await crashing.until("intake.accepted")
    await go_through(simulator, worker, crashing, ids)
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    assert await worker.run("--once", **options).end() == 0, "a superseded step counts as a failure"
    first = {}
    for number, (_, event_id, is_end) in enumerate(receiver.got):
        asset_id = event_id.split(".")[0]
        assert is_end or asset_id not in first, "a step came after the completion"
        if is_end:
            first.setdefault(asset_id, number)
    assert first.keys() == set(ids)


async def test_an_asset_that_waits_longer_than_its_class_is_overdue_once(serve, worker):
    simulator = await serve()
    kind = KINDS["image"]
    usual = waiting(simulator, 130, kind=kind)
    worker.submit(*usual)
    run = worker.run(base_url=simulator.base_url, EVENTS__TRANSITIONS="true")
    # What ends before a look has shown it waiting teaches nothing about its class.
    await eventually(lambda: len(run.logs("asset.changed")) >= len(usual), otherwise=lambda: run.stderr)
    change(simulator, *usual)
    await eventually(lambda: len(worker.events()) >= len(usual), otherwise=lambda: run.stderr)
    [late] = waiting(simulator, 1, kind=kind)
    worker.submit(late)
    await run.until("asset.overdue")
    await eventually(lambda: f"{late}.1.overdue" in ids_of(worker.events()).get(late, ()))
    change(simulator, late)
    await eventually(lambda: f"{late}.1" in ids_of(worker.events())[late])
    assert ids_of(worker.events())[late] == [f"{late}.1.overdue", f"{late}.1"]
    logged = [log for log in run.logs("asset.overdue") if log["asset_id"] == late]
    assert len(logged) == 1
    assert logged[0]["age"] > logged[0]["p99"] > 0
