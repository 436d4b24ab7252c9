"""The assets API over aiohttp: requests out, assets or errors back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    KeyRefusedError,
    ListRefusedError,
    MalformedAnswerError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.domain.assets import Asset, AssetId, MalformedAssetError, asset_from, nests_deeper

LIST_LIMIT: Final = 50
"""Assets that one list request can tell of (`page_limit`'s maximum)."""

LIST_ATTEMPTS: Final = 2
"""A list that fails has a retrieve try instead, which has more."""

ASSET_BYTES_LIMIT: Final = 1 << 20
LIST_BYTES_LIMIT: Final = 4 << 20
ERROR_BYTES_LIMIT: Final = 64 << 10
"""An answer larger than any that the API gives is cut off: it can't fill the memory."""

SUSPICIOUS_BRACKETS: Final = 300
NESTING_LIMIT: Final = 100
"""What can just be decoded could not be walked or encoded again, as a part of an event. Few answers have brackets for
that."""

ErrorOf = Callable[[int, "_ErrorBody", float | None], ApiError]

_OF_A_RESOURCE: Final = re.compile("resource|asset", re.IGNORECASE)
"""What a 404's code names when there is no such asset: `resource_not_exist` today."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape in a JSON text; the group is half of a surrogate pair without the other half."""

_decode = msgspec.json.Decoder().decode


class _ErrorBody(msgspec.Struct):
    """An error as the API tells it: older endpoints flat, newer ones nested under `error`."""

    code: str | None = None
    message: str | None = None
    error: _ErrorBody | None = None


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


class AssetsApi:
    """`GET /assets/{asset_id}` and `GET /assets`, within the limits and with retries."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        key: ApiKey,
        gate: Gate,
        retries: Retries,
        *,
        redact: Callable[[str], str],
    ) -> None:
        """`redact` masks the key in an error's text: a server may send it back."""
        self._session = session
        self._assets = URL(base_url) / "assets"
        self._key = key
        self._gate = gate
        self._retries = retries
        self._redact = redact

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """The asset, as the API tells it now.

        Raises:
            ApiError: it could not be had; the class tells what to make of it.
        """
        try:
            return await self._retrieve(asset_id)
        except TransientError as error:
            return await self._retries.again(partial(self._retrieve, asset_id), error, asset_id=asset_id)

    @property
    def latest_failure(self) -> str | None:
        """What the last request that failed in passing failed of, for people; None: none did."""
        return self._retries.latest_failure

    async def wait_for_capacity(self) -> None:
        """Return when a request would not have to wait behind others at the gate."""
        await self._gate.wait_for_capacity()

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset]:
        """Those of the assets that the list shows, `LIST_LIMIT` IDs at most. What can't be read in it is left out.

        Raises:
            ApiError: the list could not be had.
        """
        try:
            return await self._list(asset_ids)
        except TransientError as error:
            attempt = partial(self._list, asset_ids)
            return await self._retries.again(attempt, error, attempts=LIST_ATTEMPTS, assets=len(asset_ids))

    async def _retrieve(self, asset_id: AssetId) -> Asset:
        # An asset ID holds nothing that a URL would encode.
        asset = _asset(
            await self._get(self._assets.joinpath(asset_id, encoded=True), ASSET_BYTES_LIMIT, error_of=_error)
        )
        if asset.id != asset_id and asset.id.lower() != asset_id.lower():
            raise MalformedAnswerError("the answer is about another asset")
        return asset

    async def _list(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset]:
        query = [("page", "1"), ("page_limit", str(LIST_LIMIT)), *(("asset_ids", asset_id) for asset_id in asset_ids)]
        wanted = {asset_id.lower(): asset_id for asset_id in asset_ids} | {asset_id: asset_id for asset_id in asset_ids}
        answer = await self._get(self._assets.with_query(query), LIST_BYTES_LIMIT, error_of=_list_error)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise MalformedAnswerError("the answer is not a list of assets")
        found = {}
        for document in answer["data"]:
            try:
                asset = asset_from(document)
            except MalformedAssetError:
                continue
            if (asset_id := wanted.get(asset.id) or wanted.get(asset.id.lower())) is not None:
                found[asset_id] = asset
        return found

    async def _get(self, url: URL, limit: int, *, error_of: ErrorOf) -> Any:
        """One attempt, through the gate: the decoded JSON of a 200."""
        async with self._gate.permit() as permit:
            try:
                async with self._session.get(
                    url, headers={"x-api-key": self._key.value}, allow_redirects=False
                ) as response:
                    permit.answered(response.status, response.headers)
                    body = await _read(response, limit if response.status == 200 else ERROR_BYTES_LIMIT)
            except TimeoutError as error:
                raise TransientError("no answer in time") from error
            except aiohttp.ClientHttpProxyError as error:
                raise TransientError(_text("the proxy refuses to connect", error)) from None
            except aiohttp.ClientResponseError as error:
                raise TransientError(_text("no answer that can be read", error)) from None
            except (aiohttp.ClientError, OSError, ValueError, RuntimeError, AssertionError) as error:
                # The last two are what aiohttp and uvloop make of a connection that broke at an unlucky moment.
                raise TransientError(_sendable(f"the request failed: {type(error).__name__}: {error}")) from error
            if response.status == 200:
                return _json(body)
            told = _told_error(body)
            told.message = self._redact(told.message or told.code or "")
            raise error_of(response.status, told, permit.retry_after)


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    if (response.content_length or limit) < limit and "Content-Encoding" not in response.headers:
        return await response.read()  # no longer than it says; a compressed one might be
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise MalformedAnswerError(f"the answer is larger than {limit} bytes")
    return bytes(body)


def _text(what: str, error: aiohttp.ClientResponseError) -> str:
    """Its own text shows the URL, which may be that of a proxy, its password included."""
    told = " ".join(error.message.split())
    return _sendable(f"{what}: {error.status} {told}"[:300])


def _sendable(text: str) -> str:
    """What came in bytes that are no UTF-8 is in a text as lone surrogates, which can't be told on."""
    return text.encode(errors="backslashreplace").decode()


def _json(body: bytes) -> Any:
    try:
        try:
            document = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = _decode(_mended(body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedAnswerError(f"the answer is not JSON: {error}") from error
    if body.count(b"[") + body.count(b"{") > SUSPICIOUS_BRACKETS and nests_deeper(document, NESTING_LIMIT):
        raise MalformedAnswerError(f"the answer nests deeper than {NESTING_LIMIT} levels")
    return document


def _mended(body: bytes) -> bytes:
    """JSON with U+FFFD for what is no text: half of a surrogate pair (RFC 8259, section 8.2), or no UTF-8.

    An asset is not to be waited for in vain because its name was cut within an emoji.
    """
    text = body.decode(errors="replace").encode()
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], text)


def _asset(document: Any) -> Asset:
    try:
        return asset_from(document)
    except MalformedAssetError as error:
        raise MalformedAnswerError(str(error)) from error


def _error(status: int, told: _ErrorBody, retry_after: float | None) -> ApiError:
    """What an answer other than 200 means for a poller: the table of the vendor's error codes."""
    text = f"{status} {told.message or _phrase(status)}".strip()[:300]
    match status:
        case 401 | 403:
            return KeyRefusedError(text)
        case 429:
            return RateLimitedError(text, retry_after)
        # A gateway's 400 or 404 is no word of the API about an asset: the API's errors have a code. Nor is a 404 that
        # is about the path: it tells of a wrong api.base_url.
        case 404 if told.code and _OF_A_RESOURCE.search(told.code):
            return NotFoundError(text)
        case 404:
            return TransientError(f"{text}: no word about the asset: check api.base_url")
        case 400 if told.code == "parameter_invalid":
            return BadIdError(text)
        case 301 | 302 | 303 | 307 | 308:
            return TransientError(f"{text}: a redirect, which is not followed with the key: check api.base_url")
        case _:
            return TransientError(text, retry_after)


def _list_error(status: int, told: _ErrorBody, retry_after: float | None) -> ApiError:
    """As `_error`, but a 4xx that is about the request, whoever gives it, means that such lists are not to be had."""
    error = _error(status, told, retry_after)
    return ListRefusedError(str(error)) if 400 <= status < 500 and status not in {401, 403, 408, 429} else error


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _told_error(body: bytes) -> _ErrorBody:
    try:
        told = _decode_error(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _ErrorBody()
    return told.error or told
