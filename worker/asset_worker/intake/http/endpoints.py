"""The endpoints `/submissions` and `/submissions/{id}`. The port that serves them checks hosts and tokens first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from asset_worker.domain.assets import ASSET_ID, AssetId
from asset_worker.domain.states import AssetState
from asset_worker.domain.submissions import Submission
from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.intake.http import answers
from asset_worker.intake.http.bodies import (
    MOST_BYTES,
    MOST_ITEMS,
    BadRequestError,
    Format,
    Item,
    format_of,
    items_in,
    too_large,
    too_many,
)
from asset_worker.intake.http.intake import Denied, HttpIntake
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.forecast import TimeLeft, never_known

BODY_SECONDS: Final = 10.0
"""How long the body of a request may take to come."""
MOST_READ_AT_ONCE: Final = 16
"""Requests whose bodies are in memory at once, each of up to `MOST_BYTES`. Others wait for their turn."""
LOOKUP_SECONDS: Final = 5.0
"""How long an answer about one asset may take: while the disk fails, the journal is read again and again."""
WORK_SECONDS: Final = 0.005
"""How long a body is parsed before everything else in the event loop gets its turn."""
FULL_RETRY_SECONDS: Final = 10
"""`Retry-After` when there is no room: assets take seconds to minutes, so soon there may be."""
FAILED_RETRY_SECONDS: Final = 5
"""`Retry-After` when the disk fails, or the worker stops: by then another may have started."""
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_DENIALS: Final = {
    Denied.FULL: (429, FULL_RETRY_SECONDS),
    Denied.STOPPING: (503, FAILED_RETRY_SECONDS),
    Denied.NOT_DURABLE: (503, FAILED_RETRY_SECONDS),
}
"""The status of each answer, and when to try again."""


class AssetStates(Protocol):
    """The queue, as these endpoints ask it."""

    async def find(self, asset_id: AssetId) -> AssetState:
        """Return what is known of an asset.

        Raises:
            QueueUnavailableError: the process is about to end, and the journal can't be read.
        """
        ...


class Endpoints:
    """Answers requests."""

    def __init__(
        self,
        intake: HttpIntake,
        states: AssetStates,
        clock: Clock,
        stop: Stop,
        *,
        redact: Callable[[Any], Any],
        time_left: TimeLeft = never_known,
    ) -> None:
        """`redact` redacts secrets in what is answered. `time_left` forecasts how long a wait still lasts."""
        self._intake = intake
        self._states = states
        self._clock = clock
        self._stop = stop
        self._redact = redact
        self._time_left = time_left
        self._turns = asyncio.Semaphore(MOST_READ_AT_ONCE)

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes to serve, behind the token."""
        return (web.post("/submissions", self.submit), web.get("/submissions/{asset_id}", self.show))

    async def submit(self, request: web.Request) -> web.Response:
        """Accept submissions: 202 with what became of each, once that is durable."""
        headers = request.headers
        try:
            form = format_of(headers.get("Content-Type"), headers.get("Content-Encoding"))
            if request.content_length is not None and request.content_length > MOST_BYTES:
                raise too_large()
            async with self._turns:
                if self._intake.is_stopping:
                    return _denied(Denied.STOPPING)
                body = await self._stop.race(_body_of(request))
                if body is None:
                    return _denied(Denied.STOPPING)
                items = await self._items_in(body, form)
        except BadRequestError as error:
            return _answer(error.status, answers.error(self._redact(str(error))))
        submissions = [item for item in items if isinstance(item, Submission)]
        accepted: Sequence[Submission] | Denied = await self._intake.accept(submissions) if submissions else ()
        if isinstance(accepted, Denied):
            return _denied(accepted)
        return _answer(202, answers.receipt(items, [each.asset_id for each in accepted]))

    async def show(self, request: web.Request) -> web.Response:
        """Answer what is known of one asset."""
        text = request.match_info["asset_id"]
        if not ASSET_ID.fullmatch(text):
            return _answer(400, answers.error("an asset ID has 1 to 64 letters, digits, '-' or '_'"))
        asset_id = AssetId(text)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                state = await self._states.find(asset_id)
        except (QueueUnavailableError, TimeoutError):
            return _answer(
                503, answers.error("the journal can't be read now: ask again later"), retry_after=FAILED_RETRY_SECONDS
            )
        steady = self._clock.steady()
        left = None if state.pending is None else self._time_left(asset_id, state.pending, steady)
        shown = answers.shown_state(asset_id, state, ahead=self._clock.now() - steady, left=left)
        if shown is None:
            return _answer(404, answers.error("this asset was never submitted here, or its completion was long ago"))
        return _answer(200, answers.as_json(shown))

    async def _items_in(self, body: bytes, form: Format) -> list[Item]:
        """Return the submissions in a body, in order. Parsing it holds up nothing else.

        Raises:
            BadRequestError: it can't be read, or holds none, or too many.
        """
        loop = asyncio.get_running_loop()
        pause_at = loop.time() + WORK_SECONDS
        items: list[Item] = []
        for item in items_in(body, form, redact=self._redact):
            if item is not None:
                items.append(item)
            if len(items) > MOST_ITEMS:
                raise too_many()
            if loop.time() >= pause_at:
                await asyncio.sleep(0)
                pause_at = loop.time() + WORK_SECONDS
        if not items:
            raise BadRequestError(400, "the request holds no submission: send an asset ID, or an object with one")
        return items


def routes_without_token() -> Sequence[web.RouteDef]:
    """Return routes that answer why nothing can be submitted over HTTP."""

    async def refuse(_request: web.Request) -> web.Response:
        return _answer(404, answers.error("submissions over HTTP are switched off: set admin.token_file"))

    return (web.route("*", "/submissions", refuse), web.route("*", "/submissions/{asset_id}", refuse))


async def _body_of(request: web.Request) -> bytes:
    """Return the body of a request.

    Raises:
        BadRequestError: it is too large, or does not come in time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise too_large()
    except TimeoutError:
        raise BadRequestError(408, f"the body did not come within {BODY_SECONDS:g} s: send it again") from None
    return bytes(body)


def _denied(why: Denied) -> web.Response:
    status, retry_after = _DENIALS[why]
    return _answer(status, answers.error(why.value), retry_after=retry_after)


def _answer(status: int, body: bytes, *, retry_after: int | None = None) -> web.Response:
    headers = _HEADERS if retry_after is None else {**_HEADERS, "Retry-After": str(retry_after)}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
