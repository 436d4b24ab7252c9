"""The client of the assets API, over aiohttp: sends requests, and returns assets or raises errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import aiohttp
from yarl import URL

from asset_worker.api.bodies import (
    ASSET_BYTES_LIMIT,
    ERROR_BYTES_LIMIT,
    LIST_BYTES_LIMIT,
    decode_body,
    decode_error,
    read_body,
)
from asset_worker.api.errors import MalformedAnswerError, TransientError
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.responses import error_of
from asset_worker.api.retry import Retries
from asset_worker.api.session import Session
from asset_worker.domain.assets import Asset, AssetId, MalformedAssetError, asset_from

LIST_LIMIT: Final = 50
"""Assets in one list at most (the maximum of `page_limit`)."""

LIST_ATTEMPTS: Final = 2
"""Attempts of a list request. If it fails, a retrieve follows, which has more attempts."""


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
        redact: Callable[[str], str],
    ) -> None:
        """`redact` removes the key from the message of an error: a server may echo it."""
        self._session = session
        self._assets = URL(base_url) / "assets"
        self._key = key
        self._gate = gate
        self._retries = retries
        self._redact = redact

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """Return the asset as the API shows it now.

        Raises:
            ApiError: there is no asset to return; the class says why.
        """
        try:
            return await self._retrieve(asset_id)
        except TransientError as error:
            return await self._retries.again(partial(self._retrieve, asset_id), error, asset_id=asset_id)

    @property
    def latest_failure(self) -> str | None:
        """The text of the latest transient failure, for people; None: there was none."""
        return self._retries.latest_failure

    async def wait_for_capacity(self) -> None:
        """Wait until a request would not have to queue behind others at the gate."""
        await self._gate.wait_for_capacity()

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset]:
        """Return the assets that the list shows, by the IDs asked for, at most `LIST_LIMIT` of them.

        Assets that the list leaves out, or that can't be read, are missing from the result.

        Raises:
            ApiError: there is no list; the class says why.
        """
        try:
            return await self._list(asset_ids)
        except TransientError as error:
            attempt = partial(self._list, asset_ids)
            return await self._retries.again(attempt, error, attempts=LIST_ATTEMPTS, assets=len(asset_ids))

    async def _retrieve(self, asset_id: AssetId) -> Asset:
        # An asset ID has no characters that a URL would encode.
        url = self._assets.joinpath(asset_id, encoded=True)
        document = await self._get(url, ASSET_BYTES_LIMIT, is_list=False)
        try:
            asset = asset_from(document)
        except MalformedAssetError as error:
            raise MalformedAnswerError(str(error)) from error
        if asset.id != asset_id and asset.id.lower() != asset_id.lower():
            raise MalformedAnswerError("the answer is about another asset")
        return asset

    async def _list(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset]:
        query = [("page", "1"), ("page_limit", str(LIST_LIMIT)), *(("asset_ids", asset_id) for asset_id in asset_ids)]
        wanted = {asset_id.lower(): asset_id for asset_id in asset_ids} | {asset_id: asset_id for asset_id in asset_ids}
        answer = await self._get(self._assets.with_query(query), LIST_BYTES_LIMIT, is_list=True)
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

    async def _get(self, url: URL, limit: int, *, is_list: bool) -> Any:
        """Make one attempt, through the gate. Return the decoded JSON of a 200.

        Raises:
            ApiError: another answer, none, or one of more than `limit` bytes.
        """
        async with self._gate.permit() as permit:
            try:
                async with self._session.get(url, headers={"x-api-key": self._key.value}) as response:
                    permit.answered(response.status, response.headers)
                    body = await read_body(response, limit if response.status == 200 else ERROR_BYTES_LIMIT)
            except TimeoutError as error:
                raise TransientError("no answer in time") from error
            except aiohttp.ClientHttpProxyError as error:
                raise TransientError(_text("the proxy refuses to connect", error)) from None
            except aiohttp.ClientResponseError as error:
                raise TransientError(_text("no answer that can be read", error)) from None
            except (aiohttp.ClientError, OSError, ValueError, RuntimeError, AssertionError) as error:
                # aiohttp and uvloop raise the last two if a connection breaks at an unexpected moment.
                raise TransientError(_encodable(f"the request failed: {type(error).__name__}: {error}")) from error
            if response.status == 200:
                return decode_body(body)
            failure = decode_error(body)
            message = self._redact(failure.message or failure.code or "")
            raise error_of(response.status, failure.code, message, is_list=is_list, retry_after=permit.retry_after)


def _text(what: str, error: aiohttp.ClientResponseError) -> str:
    """Return the text of an error. `str(error)` would show the URL, which may be a proxy's, with its password."""
    message = " ".join(error.message.split())
    return _encodable(f"{what}: {error.status} {message}"[:300])


def _encodable(text: str) -> str:
    """Return `text` with lone surrogates escaped: they stand for invalid UTF-8, and can't be encoded for a log."""
    return text.encode(errors="backslashreplace").decode()
