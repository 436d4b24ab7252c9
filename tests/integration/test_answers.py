"""Answers that may be about one asset or about everything: the real command finds out which.

The simulator can't answer about one asset in another way than about the others: these tests have an API of their own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tests.integration.admin import admin_of, status_of
from tests.integration.processes import eventually

A, B, C = (f"{number:024x}" for number in (1, 2, 3))
PAGE = "<html><body>Just a moment...</body></html>"


class Api:
    """Answers as its functions say, in the loop's time since the first request."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """The ID of each retrieve, and `list` for each list."""
        self.began: float | None = None
        self.special: Callable[[str | None, float], web.Response | None] = lambda asset_id, since: None
        """What is answered instead, to a retrieve of this asset or (None) to a list."""
        self.missing: set[str] = set()
        """The assets that lists leave out."""
        self.takes = 0.0
        """Seconds until all assets are ready."""

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1.3/assets", self._list), web.get("/v1.3/assets/{id}", self._retrieve)]

    def _since(self) -> float:
        now = asyncio.get_running_loop().time()
        if self.began is None:
            self.began = now
        return now - self.began

    def _asset(self, asset_id: str) -> dict[str, Any]:
        return {"_id": asset_id, "status": "ready" if self._since() >= self.takes else "processing"}

    async def _retrieve(self, request: web.Request) -> web.Response:
        asset_id = request.match_info["id"]
        self.requests.append(asset_id)
        return self.special(asset_id, self._since()) or web.json_response(self._asset(asset_id))

    async def _list(self, request: web.Request) -> web.Response:
        self.requests.append("list")
        shown = [self._asset(each) for each in request.query.getall("asset_ids") if each not in self.missing]
        return self.special(None, self._since()) or web.json_response({"data": shown})


def page(status: int) -> web.Response:
    return web.Response(status=status, text=PAGE, content_type="text/html")


def refusal(status: int, code: str) -> web.Response:
    return web.json_response({"code": code, "message": "no access to this resource"}, status=status)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_page_of_something_on_the_way_is_ridden_out(aiohttp_server_of, worker, status):
    api = Api()
    api.special = lambda _, since: page(status) if since < 2 else None
    run = worker.start("wait", A, "--timeout", "60", base_url=await aiohttp_server_of(*api.routes()))
    assert await run.end() == 0, run.stderr
    assert [event["data"]["outcome"] for event in run.events()] == ["ready"]


@pytest.mark.parametrize("batch", ["auto", "off"])
@pytest.mark.parametrize("takes", [0.0, 1.0], ids=["the other is ready", "the other takes a while"])
@pytest.mark.parametrize(
    "answer", [lambda: refusal(403, "unauthorized"), lambda: page(404)], ids=["refused", "404 without a code"]
)
async def test_wait_ends_an_asset_that_alone_is_denied_as_not_found(aiohttp_server_of, worker, answer, takes, batch):
    api = Api()
    api.takes, api.missing = takes, {B}
    api.special = lambda asset_id, _: answer() if asset_id == B else None
    base_url = await aiohttp_server_of(*api.routes())
    settings = {"POLL__NOT_FOUND_GRACE": "2", "POLL__BATCH": batch}
    run = worker.start("wait", B, A, "--timeout", "60", base_url=base_url, **settings)
    assert await run.end() == 1, run.stderr
    found = {event["subject"]: event["data"] for event in run.events()}
    assert {asset_id: data["outcome"] for asset_id, data in found.items()} == {A: "ready", B: "not_found"}
    assert "denied for 2 s or more while others were answered: 40" in found[B]["reason"]
    assert api.requests.count(A) <= api.requests.count(B) + 10


async def test_an_id_that_was_reserved_is_not_given_up_before_its_own_grace_ends_even_after_a_crash(
    aiohttp_server_of, worker
):
    api, uploaded = Api(), asyncio.Event()
    api.missing = {B, C}
    api.special = lambda asset_id, _: (
        refusal(404, "resource_not_exist") if asset_id in {B, C} and not uploaded.is_set() else None
    )
    base_url = await aiohttp_server_of(*api.routes())
    settings = {"POLL__NOT_FOUND_GRACE": "1", "POLL__DEADLINE": "2"}
    worker.submit(f'{{"asset_id": "{B}", "not_found_grace": "10m"}}', C)
    run = worker.run(base_url=base_url, **settings)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGKILL)
    await run.end()
    run = worker.run(base_url=base_url, **settings)
    await eventually(lambda: api.requests[-1] == B, otherwise=lambda: run.stderr)
    uploaded.set()
    api.missing = set()
    await eventually(lambda: len(worker.events()) == 2, otherwise=lambda: run.stderr)
    assert [(event["subject"], event["data"]["outcome"]) for event in worker.events()] == [
        (C, "not_found"),
        (B, "ready"),
    ]


async def test_wait_gives_up_at_once_if_the_only_asset_is_refused(aiohttp_server_of, worker):
    api = Api()
    api.special = lambda *_: refusal(403, "unauthorized")
    run = worker.start("wait", B, "--timeout", "60", base_url=await aiohttp_server_of(*api.routes()))
    assert await run.end() == 3, run.stderr
    assert run.events() == []
    assert len(api.requests) <= 4


async def test_after_a_refused_key_recovers_lists_are_used_as_before(aiohttp_server_of, worker):
    api = Api()
    api.takes = 1e9
    api.special = lambda _, since: refusal(401, "api_key_invalid") if 3 < since < 8 else None
    run = worker.run(base_url=await aiohttp_server_of(*api.routes()))
    await run.until("worker.started")
    worker.submit(*(f"{number:024x}" for number in range(1, 41)))
    await run.until("api.recovered")
    before = len(api.requests)
    await asyncio.sleep(3)
    after = api.requests[before:]
    assert run.logs("api.list_doubted") == []
    assert after.count("list") > 2
    assert len(after) < 2 * after.count("list") + 5, after


async def test_the_present_cause_is_reported_while_a_refused_key_turns_into_an_outage(aiohttp_server_of, worker):
    api = Api()
    state: dict[str, Callable[[], web.Response | None]] = {"answer": lambda: refusal(401, "api_key_invalid")}
    api.special = lambda *_: state["answer"]()
    run = worker.run("--admin-port", "0", base_url=await aiohttp_server_of(*api.routes()))
    admin = await admin_of(run)
    worker.submit(A, C)

    async def until_reported(problems: list[str]) -> None:
        async with asyncio.timeout(60):
            while (await status_of(admin))[1] != problems:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    await until_reported(["the API refuses the key"])
    state["answer"] = lambda: page(502)
    await until_reported(["the API is unavailable"])
    state["answer"] = lambda: web.Response(status=429, headers={"Retry-After": "2"})
    await until_reported(["the API's rate limit is used up"])
    state["answer"] = lambda: None
    await until_reported([])
    await eventually(lambda: len(worker.events()) == 2, otherwise=lambda: run.stderr)
    logged = [line["event"] for line in run.logs() if line["event"].startswith("api.") and line["level"] == "error"]
    assert logged == ["api.key_refused", "api.unavailable"]
