"""What the simulator reads from requests, and its replies: as values, with errors in the words of the API."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import BodyPartReader, web
from multidict import MultiMapping

from asset_worker.simulator.faults import Fault, FaultKind

ERROR_CODES: Final = {
    400: "parameter_invalid",
    401: "api_key_invalid",
    403: "api_not_allowed",
    404: "resource_not_exist",
    429: "too_many_requests",
}
PAGE_LIMIT: Final = 50
URL_BYTES: Final = 5_000_000
"""The assumed size of a file that is uploaded by its URL: the URL is not fetched."""
BLOCK_BYTES: Final = 1 << 18

_ASSET_ID = re.compile(r"[0-9a-f]{24}")


class Reply(msgspec.Struct, frozen=True):
    """A reply of the simulator."""

    status: int
    document: Any = None
    """Text is sent as it is, anything else as JSON."""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}

    @property
    def encoded(self) -> bytes:
        """The body."""
        if self.document is None:
            return b""
        return self.document.encode() if isinstance(self.document, str) else msgspec.json.encode(self.document)

    def corrupted(self, fault: Fault | None) -> Reply:
        """Return the reply as the fault changes it. Only documents with status 200 are changed."""
        if fault is None or self.status != 200 or not isinstance(self.document, dict):
            return self
        match fault.kind:
            case FaultKind.TEXT:
                return Reply(200, "Service temporarily unavailable", "text/plain")
            case FaultKind.TYPES:
                return Reply(200, _with_fields(self.document, {"status": 7, "hls": "ready", "filename": ["?"]}))
            case FaultKind.STRANGER:
                return Reply(200, _with_fields(self.document, {"_id": "f" * 24}))
            case FaultKind.OMIT | FaultKind.MIX | FaultKind.BARE if "data" in self.document:
                return Reply(200, self.document | {"data": _altered(self.document["data"], fault.kind)})
        return self


def _altered(assets: list[dict[str, Any]], kind: FaultKind) -> list[dict[str, Any]]:
    """Return the assets of a list as a fault of lists changes them."""
    match kind:
        case FaultKind.OMIT:
            return assets[::2]
        case FaultKind.MIX:
            following = assets[1:] + assets[:1]
            return [other | {"_id": asset["_id"]} for asset, other in zip(assets, following, strict=True)]
        case _:
            return [{name: asset[name] for name in asset if name not in {"hls", "thumbnail"}} for asset in assets]


def _with_fields(document: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the document with these fields replaced in its asset, or in each asset of a list."""
    if "data" in document:
        return document | {"data": [asset | fields for asset in document["data"]]}
    return document | fields


class RefusedError(Exception):
    """The request is answered with an error in the words of the API. `reply` is that answer."""

    def __init__(self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        document = {"code": code or ERROR_CODES.get(status, "internal_server_error"), "message": message}
        self.reply = Reply(status, document, headers=headers or {})


def asset_id_of(text: str) -> str:
    """Return the asset ID in a path or query.

    Raises:
        RefusedError: the text is not an asset ID.
    """
    if not _ASSET_ID.fullmatch(text):
        raise RefusedError(400, None, "The parameter asset_id is invalid: it must be 24 hexadecimal digits.")
    return text


def listing_of(query: MultiMapping[str]) -> dict[str, Any]:
    """Return the parameters of a list request as keyword arguments for `Store.page`.

    Raises:
        RefusedError: a parameter is invalid.
    """

    def number(name: str, default: int, largest: int) -> int:
        text = query.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= largest):
            raise RefusedError(400, None, f"The parameter {name} is invalid: it must be from 1 to {largest}.")
        return int(text)

    return {
        "page": number("page", 1, 10**9),
        "page_limit": number("page_limit", 10, PAGE_LIMIT),
        "asset_ids": [asset_id_of(text) for text in query.getall("asset_ids", [])],
        "asset_types": query.getall("asset_types", []),
        "filename": query.get("filename", ""),
    }


async def upload_of(request: web.Request) -> dict[str, Any]:
    """Return the parameters of an upload as keyword arguments for `Store.upload`. The file is read and dropped.

    Raises:
        RefusedError: a parameter is invalid or missing.
    """
    if not request.content_type.startswith("multipart/"):
        raise RefusedError(400, None, "The body must be a multipart form.")
    fields: dict[str, str] = {}
    size, file_type, sent_name = 0, None, None
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise RefusedError(400, None, "The form must not hold another one.")
            if part.name == "file":
                sent_name, file_type = part.filename, part.headers.get("Content-Type")
                while block := await part.read_chunk(BLOCK_BYTES):
                    size += len(block)
            elif part.name:
                fields[part.name] = await part.text()
    except (ValueError, LookupError) as error:  # no boundary, no such charset, or text that is not of its charset
        raise RefusedError(400, None, "The body is not a valid multipart form.") from error
    match fields.get("method"):
        case "direct" if sent_name is not None:
            name = fields.get("filename") or sent_name
        case "url" if fields.get("url"):
            size = URL_BYTES
            name = fields.get("filename") or PurePosixPath(urlsplit(fields["url"]).path).name or "file"
        case _:
            raise RefusedError(400, None, "The parameter method must be direct (with a file) or url (with a url).")
    guessed = mimetypes.guess_type(name)[0]
    if file_type in {None, "application/octet-stream"}:
        file_type = guessed or "application/octet-stream"
    return {
        "filename": name,
        "file_type": file_type,
        "method": fields["method"],
        "size": size,
        "enable_hls": fields.get("enable_hls", "true").lower() != "false",
        "enable_thumbnail": fields.get("enable_thumbnail", "true").lower() != "false",
        "user_metadata": _metadata(fields.get("user_metadata")),
    }


def _metadata(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | float | bool | list[str]])
    except msgspec.DecodeError as error:
        raise RefusedError(400, None, "The parameter user_metadata must be a JSON object of plain values.") from error
