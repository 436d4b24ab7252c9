"""The receiver of webhooks, beside the API on the same port: `POST /hooks`, and controls under `/_simulator/receiver`.

It verifies each signature, takes each event once, and fails on request. Faults are of two kinds. Most come before the
event is accepted. With those of `LOSE_THE_ANSWER` the event is accepted, and the sender may not learn it: it sends the
event again, and a receiver must recognise that by its ID.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from itertools import repeat
from random import Random
from typing import Final

import msgspec
from aiohttp import web

from asset_worker.simulator.controls import body_of
from asset_worker.simulator.deliveries import MOST_EVENTS, Deliveries, delivery_of
from asset_worker.simulator.faults import OF_RECEIVER, Fault, FaultKind, Faults
from asset_worker.simulator.signatures import find_problem, secrets_of
from asset_worker.simulator.transport import reset, stream

PATH: Final = "/hooks"
BODY_BYTES: Final = 8 << 20
"""The longest body that is accepted: more than an event can have."""
LOSE_THE_ANSWER: Final = frozenset({FaultKind.SLOW, FaultKind.CUT, FaultKind.DRIP, FaultKind.HUGE})
EVENTS_SHOWN: Final = 10_000
"""How many events one answer shows unless `limit` says otherwise."""
_HANG_SECONDS: Final = 86_400.0
_BLOCK: Final = b" " * (1 << 16)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Control = Callable[[Callable[[web.Request], Awaitable[web.Response]]], Handler]


class ReceiverOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the receiver behaves when it starts."""

    secrets: tuple[bytes, ...]
    """A signature with any of them is accepted."""
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    report: Callable[[str], None] = lambda _: None
    """Is called with a short line about each request."""


class Receiver:
    """Receives webhooks. `deliveries` says what has come."""

    def __init__(self, options: ReceiverOptions) -> None:
        self.secrets = options.secrets
        self.faults = Faults(Random(options.seed), OF_RECEIVER)
        self.faults.replace(*options.faults)
        self.deliveries = Deliveries()
        self._report = options.report

    def routes(self, control: Control) -> list[web.RouteDef]:
        """Return what it serves. `control` protects what only this machine's own programs may ask for."""
        at = "/_simulator/receiver"
        return [
            web.post(PATH, self._receive),
            web.get(at, control(self._get)),
            web.delete(at, control(self._delete)),
            web.put(f"{at}/faults", control(self._put_faults)),
            web.put(f"{at}/secrets", control(self._put_secrets)),
        ]

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.clone(client_max_size=BODY_BYTES).read()
        known, now = self.deliveries, time.time()
        known.requests += 1
        if (problem := find_problem(request.headers, body, self.secrets, now=now)) is not None:
            known.bad_signatures += 1
            return self._refuse(401, problem)
        try:
            delivery = delivery_of(request.headers, body)
        except ValueError as error:
            known.malformed += 1
            return self._refuse(400, f"not an event: {error}")
        attempt = known.count_attempt(delivery.id)
        fault = self.faults.pick()
        is_repeat = (fault is None or fault.kind in LOSE_THE_ANSWER) and known.accept(delivery, at=now)
        answer = _name_of(fault)
        known.by_answer[answer] += 1
        self._report(f"{delivery.title} attempt {attempt} -> {answer}{', a repeat' if is_repeat else ''}")
        return await _answer(request, fault)

    def _refuse(self, status: int, why: str) -> web.Response:
        self.deliveries.by_answer[str(status)] += 1
        self._report(f"{why} -> {status}")
        return web.Response(status=status, text=f"{why}\n")

    async def _get(self, request: web.Request) -> web.Response:
        """Show what has come: `?after=NUMBER&limit=COUNT` selects events."""
        after, limit = (_count(request, name, default) for name, default in (("after", 0), ("limit", EVENTS_SHOWN)))
        return _json(self.deliveries.report(after=after, limit=limit))

    async def _delete(self, _: web.Request) -> web.Response:
        """Forget what has come. Faults and secrets stay."""
        self.deliveries.reset()
        return _json(None)

    async def _put_faults(self, request: web.Request) -> web.Response:
        """Replace the faults: `["status=503:0.3"]`; `[]`: no faults."""
        faults: list[str] = await body_of(request, list[str])
        self.faults.replace(*faults)
        return _json(self.faults.current)

    async def _put_secrets(self, request: web.Request) -> web.Response:
        """Replace the secrets: `["whsec_…"]`."""
        secrets: list[str] = await body_of(request, list[str])
        self.secrets = secrets_of("\n".join(secrets))
        return _json(len(self.secrets))


def _name_of(fault: Fault | None) -> str:
    """Return what is answered: a status, or the kind of the fault if it gives no status."""
    match fault:
        case None:
            return "204"
        case Fault(kind=FaultKind.STATUS | FaultKind.HTML):
            return f"{fault.number:.0f}"
        case Fault(kind=FaultKind.GONE):
            return "410"
        case Fault(kind=FaultKind.RETRY_AFTER):
            return "503"
        case _:
            return fault.kind.value


async def _answer(request: web.Request, fault: Fault | None) -> web.StreamResponse:
    match fault:
        case None:
            pass
        case Fault(kind=FaultKind.STATUS):
            return web.Response(status=int(fault.number), text="Ordered from the simulator.\n")
        case Fault(kind=FaultKind.HTML):
            text = "<html><body><h1>Bad gateway</h1></body></html>"
            return web.Response(status=int(fault.number), text=text, content_type="text/html")
        case Fault(kind=FaultKind.GONE):
            return web.Response(status=410, text="This receiver wants no more events.\n")
        case Fault(kind=FaultKind.RETRY_AFTER):
            return web.Response(status=503, headers={"Retry-After": str(math.ceil(fault.number))})
        case Fault(kind=FaultKind.REDIRECT):
            return web.Response(status=307, headers={"Location": fault.argument})
        case Fault(kind=FaultKind.HANG):
            await asyncio.sleep(_HANG_SECONDS)
        case Fault(kind=FaultKind.RESET):
            reset(request)
        case Fault(kind=FaultKind.SLOW):
            await asyncio.sleep(fault.number)
        case Fault(kind=FaultKind.CUT):
            return await stream(request, [b"{"], size=2, cut=True)
        case Fault(kind=FaultKind.DRIP):
            return await stream(request, repeat(b" "), size=None, pause=fault.number)
        case Fault(kind=FaultKind.HUGE):
            size = int(fault.number)
            return await stream(request, repeat(_BLOCK, -(-size // len(_BLOCK))), size=None)
    return web.Response(status=204)


def _count(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{name}: a number from 0 on")
    return min(int(text), MOST_EVENTS) if name == "limit" else int(text)


def _json(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")
