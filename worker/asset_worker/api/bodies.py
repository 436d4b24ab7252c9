"""Reads the bodies of answers, limits their size, and decodes them."""

from __future__ import annotations

from typing import Final

import aiohttp
import msgspec

from asset_worker.api.errors import AnswerTooLargeError, MalformedAnswerError
from asset_worker.api.lenient_json import Decoded, read_document, read_list
from asset_worker.domain.nesting import ANSWER_LEVELS, nests_deeper

ASSET_BYTES_LIMIT: Final = 1 << 20
LIST_BYTES_LIMIT: Final = 4 << 20
ERROR_BYTES_LIMIT: Final = 64 << 10
"""Longer bodies are not read to their end, so that they can't fill the memory. No answer of the API is that long."""

SUSPICIOUS_BRACKETS: Final = 300
"""Only a body with more opening brackets than this is checked for its depth; few have so many."""
LIST_LEVELS: Final = 2
"""Levels of a list around each asset."""


class VendorError(msgspec.Struct, frozen=True):
    """An error as the API sends it: flat in older endpoints, nested under `error` in newer ones."""

    code: str | None = None
    message: str | None = None
    error: VendorError | None = None


_decode = msgspec.json.Decoder().decode
_decode_error = msgspec.json.Decoder(VendorError).decode


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the whole body, decompressed.

    Raises:
        AnswerTooLargeError: it is longer than `limit` bytes.
        aiohttp.ClientError, TimeoutError: it did not arrive completely.
    """
    if (response.content_length or limit) < limit and "Content-Encoding" not in response.headers:
        return await response.read()  # at most as long as its header says, if it is not compressed
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise AnswerTooLargeError(f"the answer is larger than {limit} bytes")
    return bytes(body)


def decode_body(body: bytes) -> Decoded:
    """Return the JSON document of a body, repaired where it is not quite JSON.

    Raises:
        MalformedAnswerError: it is not JSON.
    """
    try:
        document = _decode(body)
        if not _nests_deeper(body, document, ANSWER_LEVELS):
            return Decoded(document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # the lenient reader says what is wrong
    try:
        return read_document(body)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(f"the answer is not JSON: {error}") from error


class DecodedPage(msgspec.Struct, frozen=True):
    """A list of assets, or one page of it."""

    documents: list[Decoded]
    """Of an asset that can't be read, only the `_id` is in its document; None: it is not known."""
    total: int | None = None
    """How many assets the whole list has (`page_info.total_results`); None: that can't be read."""


def decode_list(body: bytes) -> list[Decoded]:
    """Return the documents of the assets in a list; see `decode_page`."""
    return decode_page(body).documents


def decode_page(body: bytes) -> DecodedPage:
    """Return the documents of the assets in a list. If it is not quite JSON, each is read on its own.

    Raises:
        MalformedAnswerError: it is not a list of assets.
    """
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        answer = None  # the lenient reader says what is wrong
    try:
        if answer is None or _nests_deeper(body, answer, ANSWER_LEVELS + LIST_LEVELS):
            return DecodedPage(read_list(body))
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(f"the answer is not JSON: {error}") from error
    if not isinstance(answer, dict) or not isinstance(documents := answer.get("data"), list):
        raise MalformedAnswerError("the answer is not a list of assets")
    return DecodedPage([Decoded(document) for document in documents], _total_in(answer.get("page_info")))


def _total_in(page_info: object) -> int | None:
    total = page_info.get("total_results") if isinstance(page_info, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None


def decode_error(body: bytes) -> VendorError:
    """Return the code and message in the body of an error; the body of a gateway's error has neither."""
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        try:
            return _vendor_error_in(decode_body(body).document)
        except MalformedAnswerError:
            return VendorError()
    return error.error or error


def _vendor_error_in(document: object) -> VendorError:
    """Return what is of the right type in the document of an error."""
    if not isinstance(document, dict):
        return VendorError()
    inner = document.get("error")
    fields = inner if isinstance(inner, dict) else document
    code, message = fields.get("code"), fields.get("message", inner)
    return VendorError(code if isinstance(code, str) else None, message if isinstance(message, str) else None)


def _nests_deeper(body: bytes, document: object, levels: int) -> bool:
    return body.count(b"[") + body.count(b"{") > SUSPICIOUS_BRACKETS and nests_deeper(document, levels)
