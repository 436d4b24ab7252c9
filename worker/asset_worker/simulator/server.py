"""The simulator's HTTP server: the API's endpoints under `/v1.3`, and controls under `/_simulator`.

With a receiver of webhooks (`receiver`), it serves that, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from itertools import repeat
from random import Random
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from asset_worker.simulator.answers import RefusedError, Reply, asset_id_of, listing_of, upload_of
from asset_worker.simulator.clock import ServerClock
from asset_worker.simulator.controls import MOST_ASSETS, NewAssets, body_of, refusal
from asset_worker.simulator.faults import OF_API, Fault, FaultKind, Faults
from asset_worker.simulator.lifecycles import outcome
from asset_worker.simulator.limits import Limit, Window
from asset_worker.simulator.receiver import PATH, Receiver, ReceiverOptions
from asset_worker.simulator.stats import UNKNOWN_PATHS_LIMIT, Stats
from asset_worker.simulator.store import Store
from asset_worker.simulator.transport import reset, stream

PREFIX: Final = "/v1.3"
UPLOAD_BYTES_LIMIT: Final = 200 << 20
DONE_SECONDS: Final = 1e9
"""After so many simulated seconds, each asset that ever ends is done."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the simulator behaves when it starts."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    key: str | None = None
    """The API key that is accepted; None: any."""
    seed: int = 0
    """The same seed makes the same lifecycles."""
    time_scale: float = 1.0
    """Simulated seconds in one real second: with 60, assets take seconds instead of minutes."""
    clock_skew: float = 0.0
    """Seconds by which the server's clock, which `Date` and `created_at` show, is ahead of ours."""
    limit: Limit | None = None
    faults: tuple[Fault, ...] = ()
    receiver: ReceiverOptions | None = None
    """None: webhooks are not received."""


class Simulator:
    """The simulator: `async with Simulator() as simulator:` serves at `simulator.base_url` until the block ends."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.random = Random(self.options.seed)
        self.clock = ServerClock(self.options.clock_skew)
        self.store = Store(Random(self.options.seed + 1), self.clock.now, time_scale=self.options.time_scale)
        self.stats = Stats()
        self.key = self.options.key
        self._window = Window(self.options.limit) if self.options.limit else None
        self.faults = Faults(self.random, OF_API)
        self.receiver = Receiver(self.options.receiver) if self.options.receiver else None
        self.base_url = ""

    async def __aenter__(self) -> Self:
        """Bind and serve.

        Raises:
            OSError: the address can't be bound.
        """
        self.set_faults(*self.options.faults)
        app = web.Application(client_max_size=UPLOAD_BYTES_LIMIT)
        app.add_routes(
            [
                web.get(f"{PREFIX}/assets", self._endpoint("list", self._list)),
                web.post(f"{PREFIX}/assets", self._endpoint("create", self._create)),
                web.get(f"{PREFIX}/assets/{{id}}", self._endpoint("retrieve", self._retrieve)),
                web.delete(f"{PREFIX}/assets/{{id}}", self._endpoint("delete", self._delete)),
                web.post("/_simulator/assets", self._control(self._post_assets)),
                web.put("/_simulator/faults", self._control(self._put_faults)),
                web.put("/_simulator/limit", self._control(self._put_limit)),
                web.put("/_simulator/key", self._control(self._put_key)),
                web.get("/_simulator/stats", self._control(self._get_stats)),
                *(self.receiver.routes(self._control) if self.receiver else ()),
                web.route("*", "/{path:.*}", self._endpoint("stray", self._refuse_path)),
            ]
        )
        # A handler that hangs on purpose must not outlive its client, nor delay shutting down.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port, backlog=1024)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def hooks_url(self) -> str:
        """Where webhooks are received, if they are."""
        return self.base_url.removesuffix(PREFIX) + PATH

    def set_faults(self, *faults: Fault | str) -> None:
        """Replace the faults; their times count from now.

        Raises:
            ValueError: a text is not a fault.
        """
        self.faults.replace(*faults)

    def set_limit(self, limit: Limit | None) -> None:
        """Replace the rate limit; None: no limit."""
        self._window = Window(limit) if limit else None

    def use_up_limit(self) -> None:
        """Use what is left in the present window of the rate limit, as another program with the same key would."""
        while self._window is not None and self._window.charge(self.clock.now()).allowed:
            pass

    def _endpoint(
        self, name: str, act: Callable[[web.Request, Fault | None], Awaitable[Reply]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            stats = self.stats
            with stats.one_in_flight():
                stats.by_route[name] += 1
                stats.times.append(asyncio.get_running_loop().time())
                fault = self.faults.pick(is_list=name == "list")
                if fault is not None:
                    stats.by_fault[fault.kind] += 1
                headers: dict[str, str] = {}
                try:
                    headers = self._admit(request)
                    reply = await self._apply_early_fault(request, fault) or await act(request, fault)
                except RefusedError as refusal:
                    reply = refusal.reply
                response = await self._send(request, reply.corrupted(fault), {**headers, **reply.headers}, fault)
                stats.by_status[response.status] += 1
                return response

        return answer

    def _admit(self, request: web.Request) -> dict[str, str]:
        """Return the headers that report the limit.

        Raises:
            RefusedError: the key is not accepted, or the limit is exceeded.
        """
        sent = request.headers.get("x-api-key", "")
        if not sent or self.key not in {None, sent}:
            raise RefusedError(401, "api_key_invalid", "The API key is invalid or has expired.")
        if self._window is None:
            return {}
        answer = self._window.charge(self.clock.now())
        if not answer.allowed:
            raise RefusedError(429, "too_many_requests", answer.message, answer.headers)
        return answer.headers

    async def _apply_early_fault(self, request: web.Request, fault: Fault | None) -> Reply | None:
        """Apply a fault that comes before the answer. Return a reply to send instead, or None.

        Raises:
            RefusedError: the fault is an error status.
        """
        match fault:
            case Fault(kind=FaultKind.SLOW):
                await asyncio.sleep(fault.number)
            case Fault(kind=FaultKind.HANG):
                await asyncio.sleep(86_400)
            case Fault(kind=FaultKind.RESET):
                reset(request)
                return Reply(503)
            case Fault(kind=FaultKind.STATUS):
                raise RefusedError(int(fault.number), None, "Ordered from the simulator.")
            case Fault(kind=FaultKind.HTML):
                return Reply(int(fault.number), "<html><body><h1>Bad gateway</h1></body></html>", "text/html")
            case Fault(kind=FaultKind.REDIRECT):
                return Reply(307, "", "text/plain", {"Location": fault.argument})
        return None

    async def _send(
        self, request: web.Request, reply: Reply, headers: dict[str, str], fault: Fault | None
    ) -> web.StreamResponse:
        body = reply.encoded
        dated = {"Date": formatdate(self.clock.now(), usegmt=True), **headers}
        head: dict[str, Any] = {"status": reply.status, "headers": dated}
        match fault:
            case Fault(kind=FaultKind.CUT) if body:
                return await stream(request, [body[: len(body) // 2]], size=len(body), cut=True, **head)
            case Fault(kind=FaultKind.DRIP):
                single_bytes = [body[place : place + 1] for place in range(len(body))]
                return await stream(request, single_bytes, size=len(body), pause=fault.number, **head)
            case Fault(kind=FaultKind.HUGE):
                block = b" " * (1 << 20)
                size = int(fault.number)
                return await stream(request, repeat(block, size >> 20), size=size, **head)
        return web.Response(status=reply.status, body=body, content_type=reply.content_type, headers=dated)

    async def _retrieve(self, request: web.Request, fault: Fault | None) -> Reply:
        asset_id = asset_id_of(request.match_info["id"])
        self.stats.count_looks([asset_id], self.clock.now())
        asset = self.store.view(asset_id, ago=_staleness(fault))
        if asset is None:
            raise RefusedError(404, "resource_not_exist", f"Asset with id {asset_id} does not exist.")
        return Reply(200, asset)

    async def _list(self, request: web.Request, fault: Fault | None) -> Reply:
        parameters = listing_of(request.query)
        assets, total = self.store.page(**parameters, ago=_staleness(fault))
        self.stats.count_looks((asset["_id"] for asset in assets), self.clock.now())
        if not parameters["asset_ids"]:
            self.stats.pages[parameters["page"]] += 1
        limit = parameters["page_limit"]
        pages = {
            "page": parameters["page"],
            "limit_per_page": limit,
            "total_page": -(-total // limit),
            "total_results": total,
        }
        return Reply(200, {"data": assets, "page_info": pages})

    async def _create(self, request: web.Request, _: Fault | None) -> Reply:
        asset_id = self.store.upload(**await upload_of(request))
        return Reply(201, self.store.as_created(asset_id))

    async def _delete(self, request: web.Request, _: Fault | None) -> Reply:
        asset_id = asset_id_of(request.match_info["id"])
        if not self.store.delete(asset_id):
            raise RefusedError(404, "resource_not_exist", f"Asset with id {asset_id} does not exist.")
        return Reply(204)

    async def _refuse_path(self, request: web.Request, _: Fault | None) -> Reply:
        if len(self.stats.unknown_paths) < UNKNOWN_PATHS_LIMIT:
            self.stats.unknown_paths.append(f"{request.method} {request.raw_path}")
        raise RefusedError(404, "endpoint_not_exist", "There is no such endpoint.")

    def _control(
        self, act: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            if (why := refusal(request.host, request.headers.get("Origin"))) is not None:
                raise web.HTTPForbidden(text=why)
            try:
                return await act(request)
            except ValueError as error:
                raise web.HTTPBadRequest(text=str(error)) from error

        return answer

    async def _post_assets(self, request: web.Request) -> web.Response:
        """Create assets: `{"count": 20, "kind": "clip"}`; without a kind, of random kinds."""
        wanted: NewAssets = await body_of(request, NewAssets, default=b"{}")
        kind, created_at = wanted.chosen_kind(), wanted.chosen_created_at()
        if len(self.store) + wanted.count > MOST_ASSETS:
            raise ValueError(f"there are {len(self.store)} assets, and may be {MOST_ASSETS}")
        ids = [
            self.store.add(kind=kind, age=age, created_at=created_at, visible_after=wanted.visible_after)
            for age in wanted.ages()
        ]
        return _json({"assets": [{"id": each, "outcome": outcome(self.store.lifecycle(each))} for each in ids]})

    async def _put_faults(self, request: web.Request) -> web.Response:
        """Replace the faults: `["status=503:0.1"]`; `[]`: no faults."""
        faults: list[str] = await body_of(request, list[str])
        self.set_faults(*faults)
        return _json(self.faults.current)

    async def _put_limit(self, request: web.Request) -> web.Response:
        """Replace the rate limit: `"60/60:vendor"`; null: no limit."""
        text: str | None = await body_of(request, str | None)
        self.set_limit(None if text is None else Limit.parse(text))
        return _json(text)

    async def _put_key(self, request: web.Request) -> web.Response:
        """Replace the API key that is accepted: `"tlk_…"`; null: any."""
        key: str | None = await body_of(request, str | None)
        if key == "":
            raise ValueError("the key is empty: write null to accept any")
        self.key = key
        return _json(None)

    async def _get_stats(self, _: web.Request) -> web.Response:
        return _json(self.stats.report() | {"assets": len(self.store)})


def _staleness(fault: Fault | None) -> float:
    """Return how many simulated seconds ago the state that is shown was present; negative: it is yet to come."""
    match fault:
        case Fault(kind=FaultKind.STALE | FaultKind.LAG):
            return fault.number
        case Fault(kind=FaultKind.LIE):
            return -DONE_SECONDS
    return 0.0


def _json(document: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")
