"""The client of the assets API, over aiohttp: sends requests, and returns assets or raises errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec
from yarl import URL

from asset_worker.api.bodies import (
    ASSET_BYTES_LIMIT,
    ERROR_BYTES_LIMIT,
    LIST_BYTES_LIMIT,
    decode_body,
    decode_error,
    decode_list,
    decode_page,
    read_body,
)
from asset_worker.api.errors import (
    AnswerTooLargeError,
    ApiError,
    HeldError,
    MalformedAnswerError,
    RateLimitedError,
    TransientError,
    UncertainNotFoundError,
)
from asset_worker.api.gate import Gate, Permit
from asset_worker.api.key import ApiKey
from asset_worker.api.observing import WatchRequest, unwatched
from asset_worker.api.odd_answers import OddAnswers
from asset_worker.api.responses import LONGEST_TEXT, error_of, is_success
from asset_worker.api.retry import Retries, retry_after_of
from asset_worker.api.session import Session
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.domain.assets import Asset, AssetId, MalformedAssetError, asset_from
from asset_worker.domain.listings import PAGE_LENGTH, NoPage, Page
from asset_worker.runtime.calls import Call
from asset_worker.runtime.failed_requests import failure_text
from asset_worker.runtime.http_fields import parse_http_date

T = TypeVar("T")

LIST_LIMIT: Final = 50
"""Assets in one list at most (the maximum of `page_limit`)."""

SHORTEST_LIST: Final = 10
"""After a list that was too large, lists are shorter, but not shorter than this: it may be due to one of its assets."""

LIST_ATTEMPTS: Final = 2
"""Attempts of a list request. If it fails, a retrieve follows, which has more attempts."""


PAGE_PARTS: Final = 5
"""A page that is too large is read in so many parts, and if need be these again: two assets are never too large."""


class _Answer(msgspec.Struct, Generic[T], frozen=True):
    body: T
    date: str | None
    """The field `Date`; None: there is none."""


class AssetsApi:
    """Sends `GET /assets/{asset_id}` and `GET /assets`, within the limits and with retries."""

    def __init__(
        self,
        session: Session,
        base_url: str,
        key: ApiKey,
        gate: Gate,
        retries: Retries,
        *,
        redact: Callable[[Any], Any],
        watch: WatchRequest = unwatched,
    ) -> None:
        """Send nothing yet.

        `redact` removes secrets from text and decoded JSON: a server may echo the key, in any field of an answer.
        `watch` watches each attempt of a request.
        """
        self._session = session
        self._assets = URL(base_url) / "assets"
        self._key = key
        self._gate = gate
        self._retries = retries
        self._redact = redact
        self._watch = watch
        self._odd = OddAnswers()
        self._list_length = LIST_LIMIT
        """Assets in one list at most, so that it is not too large."""

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """Return the asset as the API shows it now.

        Raises:
            ApiError: there is no asset to return; the class says why.
        """
        subject = Subject(Endpoint.RETRIEVE, asset_id)
        attempt = partial(self._retrieve, asset_id, subject)
        try:
            return await attempt()
        except HeldError:
            raise
        except TransientError as error:
            return await self._retries.again(attempt, error, may_repeat=self._may_repeat(subject), asset_id=asset_id)

    @property
    def latest_failure(self) -> str | None:
        """The text of the latest transient failure, for people; None: there was none."""
        return self._retries.latest_failure

    @property
    def stalled_for(self) -> float:
        """Seconds for which no request could be sent, or each one failed; 0: neither."""
        return self._gate.stalled_for

    @property
    def has_capacity(self) -> bool:
        """Whether a request would not have to queue behind others at the gate now."""
        return self._gate.has_capacity

    async def wait_for_capacity(self) -> None:
        """Wait until a request would not have to queue behind others at the gate."""
        await self._gate.wait_for_capacity()

    @property
    def may_list(self) -> bool:
        """Whether lists are sent now; if not, retrieves are."""
        return self._gate.may_list

    @property
    def lists_are_limited(self) -> bool:
        """Whether lists alone are limited, so that retrieves can be sent instead."""
        return self._gate.lists_are_limited

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset | None]:
        """Return the assets that the list shows, by the IDs asked for, at most `LIST_LIMIT` of them.

        None: the list shows the asset, but not so that it can be read, or twice and not alike; a retrieve may show it.
        Assets that the list leaves out are missing from the result. Assets that make too large a list are asked for in
        shorter ones.

        Raises:
            ApiError: there is no list; the class says why.
        """
        found: dict[AssetId, Asset | None] = {}
        length = self._list_length
        for start in range(0, len(asset_ids), length):
            part = asset_ids[start : start + length]
            found |= await self._list_or_halves(part)
        return found

    async def _list_or_halves(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset | None]:
        """Return what a list shows; if it is too large, what lists of its halves show. None: left to a retrieve."""
        try:
            found = await self._list_with_retries(asset_ids)
        except AnswerTooLargeError as error:
            self._odd.report([f"a list is too large: {error}"])
        else:
            # After shorter ones, longer again step by step, so that few requests are useless.
            if len(asset_ids) == self._list_length < LIST_LIMIT:
                self._list_length += 1
            return found
        half = (len(asset_ids) + 1) // 2
        self._list_length = min(self._list_length, max(half, SHORTEST_LIST))
        found = dict.fromkeys(asset_ids)
        for part in (asset_ids[:half], asset_ids[half:]):
            if len(part) > 1:
                found |= await self._list_or_halves(part)
        return found

    async def page(self, number: int, *, types: Sequence[str] = (), filename: str = "") -> Page | NoPage:
        """Return a page of all assets of these types with this text in their names; empty: any. Pages count from 1.

        Of a page that is too large, parts are requested one by one. `NoPage` says why it can't be read now.
        """
        filters = [("asset_types", each) for each in types] + ([("filename", filename)] if filename else [])
        try:
            return await self._page_or_parts(number, PAGE_LENGTH, filters)
        except ApiError as error:
            return NoPage(str(error), retry_after_of(error))

    async def _page_or_parts(self, number: int, length: int, filters: list[tuple[str, str]]) -> Page:
        subject = Subject(Endpoint.LIST, "")
        try:
            return await self._with_retries(partial(self._page, number, length, filters, subject), subject, length)
        except AnswerTooLargeError as error:
            if length < PAGE_PARTS:
                raise
            self._odd.report([f"a list is too large: {error}"])
        first = (number - 1) * PAGE_PARTS + 1
        parts = [
            await self._page_or_parts(each, length // PAGE_PARTS, filters) for each in range(first, first + PAGE_PARTS)
        ]
        assets = tuple(asset for part in parts for asset in part.assets)
        return Page(assets, sum(part.unreadable for part in parts), parts[-1].total, parts[0].served_at)

    async def _page(self, number: int, length: int, filters: list[tuple[str, str]], subject: Subject) -> Page:
        url = self._assets.with_query([("page", str(number)), ("page_limit", str(length)), *filters])
        answer = await self._get(url, LIST_BYTES_LIMIT, decode_page, subject, ())
        assets: list[Asset] = []
        for decoded in answer.body.documents:
            try:
                asset = asset_from(self._redact(decoded.document))
            except MalformedAssetError as error:
                self._odd.report([f"an element of the list of all assets: {error}"])
                continue
            assets.append(asset)
            if decoded.repairs or asset.oddities:
                self._odd.report((*decoded.repairs, *asset.oddities), asset.id)
        served_at = None if answer.date is None else parse_http_date(answer.date)
        return Page(tuple(assets), len(answer.body.documents) - len(assets), answer.body.total, served_at)

    async def _list_with_retries(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset | None]:
        subject = Subject(Endpoint.LIST, asset_ids[0])
        return await self._with_retries(partial(self._list, asset_ids, subject), subject, len(asset_ids))

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]], subject: Subject, assets: int) -> T:
        try:
            return await attempt()
        except (AnswerTooLargeError, HeldError, RateLimitedError):
            # After a pause, a retrieve goes first: it shows whether lists alone are limited.
            raise
        except TransientError as error:
            may_repeat = self._may_repeat(subject)
            return await self._retries.again(
                attempt, error, attempts=LIST_ATTEMPTS, may_repeat=may_repeat, assets=assets
            )

    def _may_repeat(self, subject: Subject) -> Callable[[BaseException], bool]:
        """Return what decides whether one more attempt may be made soon after an error.

        After a 404 that may be a gateway's, always: the asset may be settled by it, so one attempt proves too little.
        """
        return lambda error: isinstance(error, UncertainNotFoundError) or self._gate.may_repeat(subject)

    async def _retrieve(self, asset_id: AssetId, subject: Subject) -> Asset:
        # An asset ID has no characters that a URL would encode.
        url = self._assets.joinpath(asset_id, encoded=True)
        decoded = (await self._get(url, ASSET_BYTES_LIMIT, decode_body, subject, [asset_id])).body
        try:
            asset = asset_from(self._redact(decoded.document))
        except MalformedAssetError as error:
            raise MalformedAnswerError(str(error)) from error
        if asset.id != asset_id and asset.id.lower() != asset_id.lower():
            raise MalformedAnswerError("the answer is about another asset")
        self._odd.report((*decoded.repairs, *asset.oddities), asset_id)
        return asset

    async def _list(self, asset_ids: Sequence[AssetId], subject: Subject) -> dict[AssetId, Asset | None]:
        query = [("page", "1"), ("page_limit", str(LIST_LIMIT)), *(("asset_ids", asset_id) for asset_id in asset_ids)]
        wanted = {asset_id.lower(): asset_id for asset_id in asset_ids} | {asset_id: asset_id for asset_id in asset_ids}
        found: dict[AssetId, Asset | None] = {}
        unreadable: list[AssetId] = []
        url = self._assets.with_query(query)
        answer = (await self._get(url, LIST_BYTES_LIMIT, decode_list, subject, asset_ids)).body
        documents = self._redact([decoded.document for decoded in answer])
        for decoded, document in zip(answer, documents, strict=True):
            try:
                asset = asset_from(document)
            except MalformedAssetError:
                shown = decoded.document.get("_id") if isinstance(decoded.document, dict) else None
                # Without a known ID, it may be any of those that the list seems to leave out.
                known = wanted.get(shown) or wanted.get(shown.lower()) if isinstance(shown, str) else None
                unreadable += asset_ids if known is None else [known]
                continue
            if (asset_id := wanted.get(asset.id) or wanted.get(asset.id.lower())) is not None:
                found[asset_id] = asset if found.setdefault(asset_id, asset) == asset else None
                if decoded.repairs or asset.oddities:
                    self._odd.report((*decoded.repairs, *asset.oddities), asset_id)
        return dict.fromkeys(unreadable) | found

    async def _get(
        self,
        url: URL,
        limit: int,
        decode: Callable[[bytes], T],
        subject: Subject,
        asset_ids: Sequence[AssetId],
    ) -> _Answer[T]:
        """Make one attempt, through the gate. Return the body of a success, decoded, and its date.

        Raises:
            ApiError: another answer, none, or one of more than `limit` bytes.
        """
        async with self._gate.permit(subject) as permit:
            with self._watch(url, asset_ids) as call:
                return await self._attempt(url, limit, decode, subject, permit=permit, call=call)

    async def _attempt(
        self, url: URL, limit: int, decode: Callable[[bytes], T], subject: Subject, *, permit: Permit, call: Call
    ) -> _Answer[T]:
        try:
            async with self._session.get(url, headers={"x-api-key": self._key.value}) as response:
                permit.answered(response.status, response.headers)
                call.answered(response.status)
                if is_success(response.status):
                    body = await read_body(response, limit)
                else:
                    body = await _error_body(response)
        except TimeoutError as error:
            raise TransientError("no answer in time") from error
        except aiohttp.ClientHttpProxyError as error:
            raise TransientError(self._text("the proxy refuses to connect", error)) from None
        except aiohttp.ClientResponseError as error:
            raise TransientError(self._text("no answer that can be read", error)) from None
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError, AssertionError) as error:
            # aiohttp and uvloop raise the last two if a connection breaks at an unexpected moment.
            known = failure_text(error, host=self._assets.authority)
            why = self._redact(f"the request failed: {known or f'{type(error).__name__}: {error}'}")
            raise TransientError(_encodable(why)[:LONGEST_TEXT]) from error
        if is_success(response.status):
            return _Answer(decode(body), response.headers.get("Date"))
        failure = decode_error(body)
        message = self._redact(failure.message or failure.code or "")
        is_list = subject.endpoint is Endpoint.LIST
        raise error_of(response.status, failure.code, message, is_list=is_list, retry_after=permit.retry_after)

    def _text(self, what: str, error: aiohttp.ClientResponseError) -> str:
        """Return the text of an error. `str(error)` would show the URL, which may be a proxy's, with its password."""
        message = self._redact(" ".join(error.message.split()))
        return _encodable(f"{what}: {error.status} {message}")[:LONGEST_TEXT]


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an error; empty if it is too long for one of the API's: what matters then is the status."""
    try:
        return await read_body(response, ERROR_BYTES_LIMIT)
    except MalformedAnswerError:
        return b""


def _encodable(text: str) -> str:
    """Return `text` with lone surrogates escaped: they stand for invalid UTF-8, and can't be encoded for a log."""
    return text.encode(errors="backslashreplace").decode()
