"""The assets API of a simulated world, below `asset_worker/api/session.py`: it answers without sockets.

`SimulatedApi.open_pool` returns what stands in for an aiohttp session. What is true of each asset is in `account`; what
goes wrong is in `faults`, which may change at any time: a request meets those that there are when it arrives. What was
asked and answered is in `requests`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from random import Random
from typing import Any, Final, TypeVar

import msgspec
from yarl import URL

from asset_worker.simulator.answers import ERROR_CODES, PAGE_LIMIT, listing_of
from asset_worker.simulator.lifecycles import KINDS, Lifecycle
from asset_worker.simulator.listing import ALL, Filter
from tests.doubles.world import Document
from tests.simulation import faults as f
from tests.simulation.answers import Answer
from tests.simulation.assets import Account, is_asset_id
from tests.simulation.faults import LIES, Fault
from tests.simulation.obedience import Obedience, Violation
from tests.simulation.pool import Kind, Pool, Request
from tests.simulation.rate_limits import UNLIMITED, Charge, Limiter, RateLimits

F = TypeVar("F")

GARBAGE: Final = (None, 7, "ready", [], {}, {"status": "ready"}, {"_id": 12, "status": "ready"}, {"_id": "ID"})
"""Elements of lists that can't be read. `ID` stands for the asset's."""

_encode = msgspec.json.Encoder().encode


class SimulatedApi:
    """The assets API. `random` draws latencies and faults; `now` is the loop's time; `wall` is the server's clock."""

    def __init__(self, random: Random, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self.random = random
        self.now = now
        self.wall = wall
        self.faults: Sequence[Fault] = ()
        """What goes wrong now."""
        self.keys: set[str] | None = None
        """The keys that are accepted; None: all are."""
        self.latency = (0.02, 0.3)
        """The least and the most seconds that an answer takes."""
        self.account = Account()
        self.requests: list[Request] = []
        """Those so far, in the order of their arrival."""
        self.lists: list[tuple[str, ...]] = []
        """The IDs of each list so far."""
        self.obedience = Obedience()
        self._limiter = Limiter(random)
        self._client: object = None

    # What happens in the account.

    def upload(
        self,
        kind: str,
        lifecycle: Lifecycle,
        *,
        asset_id: str,
        at: float | None = None,
        visible_after: float | None = None,
        filename: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Add an asset of a kind (`KINDS`), which was or will be created at `at`, in the loop's time. Return its ID."""
        if visible_after is not None:
            lifecycle = msgspec.structs.replace(lifecycle, visible_after=visible_after)
        born = self.now() if at is None else at
        created_at = self.wall() + born - self.now()
        self.account.add(
            asset_id,
            KINDS[kind],
            lifecycle,
            born=born,
            created_at=created_at,
            filename=filename,
            metadata=metadata,
        )
        return asset_id

    def delete(self, asset_id: str) -> None:
        """Delete an asset, if there is one."""
        self.account.delete(asset_id, self.now())

    def truth(self, asset_id: str, moment: float) -> Document | None:
        """Return the document of an asset at a moment, in the loop's time; None: it was not there, or not visible."""
        return self.account.at(asset_id, moment)

    def timeline(self, asset_id: str, wait_for: Mapping[str, str] | None = None) -> list[tuple[float, str]]:
        """Return what is true of an asset, and from when on; see `Account.timeline`."""
        return self.account.timeline(asset_id, wait_for or {})

    def final_outcome(self, asset_id: str, wait_for: Mapping[str, str] | None = None) -> str:
        """Return the last word of the timeline: an outcome, `waiting` or `missing`."""
        return self.timeline(asset_id, wait_for)[-1][1]

    # What limits there are.

    @property
    def violations_of_limits(self) -> Sequence[Violation]:
        """The requests that came although the client had been told to send none."""
        return self.obedience.violations

    @property
    def limits(self) -> RateLimits | None:
        """The rate limits that hold now; None: there are none."""
        return self._limiter.limits

    @limits.setter
    def limits(self, limits: RateLimits | None) -> None:
        self._limiter.set(limits, self.wall())
        self.obedience.only = limits.only if limits else None

    def use_up_limits(self, *, leave: int = 0) -> None:
        """Let other clients use what is left of every window, but for so many requests."""
        self._limiter.use_up(self.wall(), leave=leave)

    # What the client sees.

    def open_pool(
        self, total_timeout: float, *, client: object = None, check: Callable[[], None] = lambda: None
    ) -> Pool:
        """Return what stands in for a new aiohttp session.

        Args:
            total_timeout: `aiohttp.ClientTimeout(total=…)`, in seconds.
            client: the process that it belongs to; another one than before knows nothing of earlier answers.
            check: called before each request; what it raises ends the request, unsent.
        """
        if client is not self._client:
            self._client = client
            self.obedience.forget()
        return Pool(self, total_timeout, check)

    def draw_latency(self, *, is_list: bool) -> float:
        """Return how many seconds a request takes now, from here to the head of its answer."""
        return self.random.uniform(*self.latency) + sum(
            self.random.uniform(0, each.seconds) for each in self.met(f.Slow, is_list=is_list) if each.part == "head"
        )

    def met(self, kind: type[F], *, is_list: bool) -> list[F]:
        """Return the faults of a kind that a request meets now."""
        if not self.faults:
            return []
        found: list[F] = []
        for each in self.faults:
            if not isinstance(each, kind):
                continue
            where = getattr(each, "where", "everywhere")
            if where != "everywhere" and (where == "list") != is_list:
                continue
            share = getattr(each, "share", 1.0)
            if share >= 1.0 or self.random.random() < share:
                found.append(each)
        return found

    def answer(
        self, url: URL, kind: Kind, asset_ids: tuple[str, ...], key: str
    ) -> tuple[Answer | None, Request, Charge]:
        """Make the answer to a request that arrives now; None: there will be none. Return what is noted of it, too."""
        is_list, now = kind != "retrieve", self.now()
        request = Request(kind, asset_ids, key, now, now)
        clock_off = sum(each.seconds for each in self.met(f.DatesOff, is_list=is_list))
        self.obedience.knows_clock &= not clock_off
        shown_clock = self.wall() + clock_off
        charge = UNLIMITED
        shown: dict[str, Document | None] = {}
        failing = self.met(f.Failing, is_list=is_list)
        if failing and failing[0].page == "html":
            reply = _failure(failing[0])
        elif not key or (self.keys is not None and key not in self.keys):
            reply = _refusal(401, "The API key is invalid or has expired.")
        else:
            charge = self._limiter.charge("list" if is_list else "retrieve", self.wall(), shown=shown_clock)
            if not charge.is_allowed:
                reply = _refusal(429, "You have exceeded the rate limit. Please try again later.")
            elif failing:
                reply = _failure(failing[0])
            else:
                reply, shown = self._reply(url, kind, asset_ids, now)
            reply.headers |= charge.headers
        if self.met(f.Hanging, is_list=is_list):
            return None, msgspec.structs.replace(request, remaining=charge.remaining), charge
        if reply.status == 200 and self.met(f.NotJson, is_list=is_list):
            reply.body, shown = b"Service temporarily unavailable", {}
        reply.headers["Date"] = formatdate(shown_clock, usegmt=True)
        reply.is_cut = bool(self.met(f.Cut, is_list=is_list))
        reply.body_takes = sum(
            self.random.uniform(0, each.seconds) for each in self.met(f.Slow, is_list=is_list) if each.part == "body"
        )
        noted = msgspec.structs.replace(request, status=reply.status, shown=shown, remaining=charge.remaining)
        return reply, noted, charge

    def _reply(
        self, url: URL, kind: Kind, asset_ids: tuple[str, ...], now: float
    ) -> tuple[Answer, dict[str, Document | None]]:
        if not all(map(is_asset_id, asset_ids)):
            return _refusal(400, "The parameter asset_id is invalid: it must be 24 hexadecimal digits."), {}
        if kind == "retrieve":
            [asset_id] = asset_ids
            if self._is_refused(asset_id):
                return _refusal(403, "This asset belongs to another account."), {}
            document = self.account.at(asset_id, now)
            if document is None:
                return _refusal(404, f"Asset with id {asset_id} does not exist."), {asset_id: None}
            return _json(200, document), {asset_id: document}
        if kind == "list":
            return self._list(asset_ids, now)
        return self._page(url, now)

    def _list(self, asset_ids: tuple[str, ...], now: float) -> tuple[Answer, dict[str, Document | None]]:
        self.lists.append(asset_ids)
        lag = sum(each.seconds for each in self.met(f.ListLags, is_list=True))
        view: Any = self._honest
        for each in self.met(f.ListLies, is_list=True):
            view = LIES[each.how](self, view)
        found = view(asset_ids, now - lag)
        ordered = sorted(found, key=self.account.order, reverse=True)
        elements = [
            self._maybe_garbage(asset_id, found[asset_id], pages=False)
            for asset_id in ordered
            if not self._is_refused(asset_id)
        ]
        total, elements = len(elements), elements[:PAGE_LIMIT]
        shown = dict.fromkeys(asset_ids) | {each["_id"]: each for each in elements if _is_readable(each)}
        return _listing(elements, 1, PAGE_LIMIT, total), shown

    def _page(self, url: URL, now: float) -> tuple[Answer, dict[str, Document | None]]:
        query = listing_of(url.query)
        number, length = query["page"], query["page_limit"]
        types, filename = query["asset_types"], query["filename"]
        wanted = Filter(frozenset(types), filename.lower()) if types or filename else ALL
        lag = sum(each.seconds for each in self.met(f.ListLags, is_list=True) if each.pages)
        found = self.account.newest_first(now - lag, wanted)
        shift = 0
        for each in self.met(f.PagesShift, is_list=True):
            shift += self.random.randint(0, each.most) if number > 1 else 0
        begin = max(0, (number - 1) * length - shift)
        part = [document for document in found[begin : begin + length] if not self._is_refused(document["_id"])]
        elements = [self._maybe_garbage(each["_id"], each, pages=True) for each in part]
        shown = {each["_id"]: each for each in elements if _is_readable(each)}
        return _listing(elements, number, length, len(found) + shift), shown

    def _honest(self, asset_ids: Sequence[str], moment: float) -> dict[str, Document | None]:
        found = {each: self.account.at(each, moment) for each in asset_ids}
        return {asset_id: each for asset_id, each in found.items() if each is not None}

    @property
    def assets(self) -> Mapping[str, Any]:
        """What is true of the assets, as the faults of `tests.doubles.list_faults` use it."""
        return self.account.assets

    def _is_refused(self, asset_id: str) -> bool:
        if not self.faults:
            return False
        refused = [each for each in self.faults if isinstance(each, f.AssetRefused)]
        return any(int(asset_id, 16) % each.one_in == each.which for each in refused)

    def _maybe_garbage(self, asset_id: str, document: Document | None, *, pages: bool) -> Any:
        is_hit = any(
            (each.pages or not pages) and self.random.random() < each.share
            for each in self.faults
            if isinstance(each, f.ListMalformed)
        )
        if document is not None and not is_hit:
            return document
        element: Any = self.random.choice(GARBAGE)
        return element | {"_id": asset_id} if isinstance(element, dict) and element.get("_id") == "ID" else element


def _is_readable(element: Any) -> bool:
    return isinstance(element, dict) and isinstance(element.get("_id"), str) and len(element) > 2


def _json(status: int, document: Any) -> Answer:
    return Answer(status, _encode(document), {"Content-Type": "application/json"})


def _refusal(status: int, message: str, code: str | None = None) -> Answer:
    return _json(status, {"code": code or ERROR_CODES[status], "message": message})


def _failure(failing: f.Failing) -> Answer:
    if failing.page == "html":
        answer = Answer(failing.status, b"<html><body><h1>Error</h1></body></html>", {"Content-Type": "text/html"})
    else:
        answer = _refusal(failing.status, "The request failed.", failing.code)
    if failing.retry_after is not None:
        answer.headers["Retry-After"] = str(failing.retry_after)
    return answer


def _listing(elements: list[Any], page: int, length: int, total: int) -> Answer:
    pages = {"page": page, "limit_per_page": length, "total_page": -(-total // length), "total_results": total}
    return _json(200, {"data": elements, "page_info": pages})
