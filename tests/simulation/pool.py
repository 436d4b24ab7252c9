"""What stands in for the aiohttp session of the assets API: requests in virtual time, and what is noted of each."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from yarl import URL

from tests.doubles.world import Document
from tests.simulation.answers import Answer, Response, connection_error, pass_time
from tests.simulation.faults import DeadConnections, Disconnected
from tests.simulation.obedience import Obedience
from tests.simulation.rate_limits import Charge

F = TypeVar("F")
Kind: TypeAlias = Literal["retrieve", "list", "page"]

KEEP_ALIVE_SECONDS: Final = 75.0
"""How long a connection is kept."""


class Request(msgspec.Struct, frozen=True):
    """One request. Instants are in the loop's time."""

    kind: Kind
    asset_ids: tuple[str, ...]
    key: str
    sent_at: float
    arrived_at: float | None = None
    """When the server made the answer; None: the request did not arrive."""
    answered_at: float = math.inf
    """When the client had the whole answer, or knew that there is none; infinite: it ended before that."""
    status: int | None = None
    """That of the answer that was made; None: none was made."""
    error: str | None = None
    """What the client got instead of the whole answer; None: it got that, if `answered_at` is finite."""
    shown: Mapping[str, Document | None] = {}
    """The documents in the answer, by the asset's ID: None of those that were asked for and are not in it, or not
    readably. Of a refusal, an error or a page that is not there: nothing."""
    remaining: tuple[int, ...] = ()
    """How many requests each window of the rate limits allowed before it."""

    @property
    def was_seen(self) -> bool:
        """Whether the client got the whole answer."""
        return self.error is None and math.isfinite(self.answered_at)


class Server(Protocol):
    """What answers."""

    requests: list[Request]
    obedience: Obedience

    @property
    def now(self) -> Callable[[], float]:
        """Returns the loop's time."""
        ...

    def met(self, kind: type[F], *, is_list: bool) -> list[F]:
        """Return the faults of a kind that a request meets now."""
        ...

    def draw_latency(self, *, is_list: bool) -> float:
        """Return how many seconds a request takes now."""
        ...

    def answer(
        self, url: URL, kind: Kind, asset_ids: tuple[str, ...], key: str
    ) -> tuple[Answer | None, Request, Charge]:
        """Make the answer to a request that arrives now; None: there will be none."""
        ...


class Pool:
    """What stands in for an aiohttp session: it sends requests to the API, on connections that it keeps."""

    def __init__(self, api: Server, total_timeout: float, check: Callable[[], None]) -> None:
        self.api = api
        self.total_timeout = total_timeout
        self.check = check
        self._kept: list[tuple[float, float]] = []

    def get(
        self, url: URL, *, headers: Mapping[str, str], allow_redirects: bool = False, trace_request_ctx: Any = None
    ) -> _Exchange:
        """Return the request, which is sent when its context is entered."""
        assert not allow_redirects
        return _Exchange(self, url, headers["x-api-key"], trace_request_ctx)

    async def close(self) -> None:
        """Close the connections."""
        self._kept.clear()

    def take(self, trip: Any) -> float:
        """Take a connection for a request. Return when it was made."""
        now = self.api.now()
        while self._kept:
            made_at, kept_since = self._kept.pop()
            if now < kept_since + KEEP_ALIVE_SECONDS:
                if trip is not None:
                    trip.is_reused = True
                return made_at
        return now

    def keep(self, made_at: float) -> None:
        """Keep a connection whose answer has come to its end."""
        self._kept.append((made_at, self.api.now()))


class _Exchange:
    """One request and its answer."""

    def __init__(self, pool: Pool, url: URL, key: str, trip: Any) -> None:
        self._pool = pool
        self._api = pool.api
        self._url = url
        self._key = key
        self._trip = trip
        self._place: int | None = None
        self._made_at = 0.0

    async def __aenter__(self) -> Response:
        self._pool.check()
        api = self._api
        sent_at = api.now()
        until = asyncio.get_running_loop().time() + self._pool.total_timeout
        kind, asset_ids = _meaning_of(self._url)
        is_list = kind != "retrieve"
        endpoint = "list" if is_list else "retrieve"
        api.obedience.sent(endpoint, sent_at)
        self._made_at = self._pool.take(self._trip)
        latency = api.draw_latency(is_list=is_list)
        request = Request(kind, asset_ids, self._key, sent_at)
        is_dead = any(self._made_at < each.made_before for each in api.met(DeadConnections, is_list=is_list))
        broken = api.met(Disconnected, is_list=is_list)
        try:
            if is_dead:
                await pass_time(math.inf, until=until)
            await pass_time(latency / 2, until=until)
            if broken:
                raise connection_error(broken[0].how)
            answer, made, charge = api.answer(self._url, kind, asset_ids, self._key)
            request = msgspec.structs.replace(made, sent_at=sent_at)
            self._note(request)
            await pass_time(math.inf if answer is None else latency / 2, until=until)
        except Exception as error:
            self._note(msgspec.structs.replace(request, answered_at=api.now(), error=type(error).__name__))
            raise
        assert answer is not None
        self._pool.check()
        api.obedience.told(endpoint, answer.status, charge, made_at=request.arrived_at or 0.0, now=api.now())
        return Response(answer, until=until, ended=self._ended)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _ended(self, error: str | None) -> None:
        self._pool.check()
        assert self._place is not None
        known = self._api.requests[self._place]
        self._api.requests[self._place] = msgspec.structs.replace(known, answered_at=self._api.now(), error=error)
        if error is None:
            self._pool.keep(self._made_at)

    def _note(self, request: Request) -> None:
        if self._place is None:
            self._place = len(self._api.requests)
            self._api.requests.append(request)
        else:
            self._api.requests[self._place] = request


def _meaning_of(url: URL) -> tuple[Kind, tuple[str, ...]]:
    path = url.raw_path
    if not path.endswith("/assets"):
        return "retrieve", (path.rpartition("/")[2],)
    parts = url.raw_query_string.split("&")
    asset_ids = tuple(part[10:] for part in parts if part.startswith("asset_ids="))
    return ("list", asset_ids) if asset_ids else ("page", ())
