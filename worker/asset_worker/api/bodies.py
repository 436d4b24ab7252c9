"""Reads the bodies of answers: limits their size and depth, and repairs invalid text in them."""

from __future__ import annotations

import re
from typing import Any, Final

import aiohttp
import msgspec

from asset_worker.api.errors import MalformedAnswerError
from asset_worker.domain.nesting import ANSWER_LEVELS, nests_deeper

ASSET_BYTES_LIMIT: Final = 1 << 20
LIST_BYTES_LIMIT: Final = 4 << 20
ERROR_BYTES_LIMIT: Final = 64 << 10
"""Longer bodies are not read to their end, so that they can't fill the memory. No answer of the API is that long."""

SUSPICIOUS_BRACKETS: Final = 300
"""Only a body with more opening brackets than this is checked for its depth; few have so many."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape in JSON; the group matches one half of a surrogate pair without the other half."""


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
        MalformedAnswerError: it is longer than `limit` bytes.
        aiohttp.ClientError, TimeoutError: it did not arrive completely.
    """
    if (response.content_length or limit) < limit and "Content-Encoding" not in response.headers:
        return await response.read()  # at most as long as its header says, if it is not compressed
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise MalformedAnswerError(f"the answer is larger than {limit} bytes")
    return bytes(body)


def decode_body(body: bytes) -> Any:
    """Return the JSON document of a body. Invalid text in it is replaced with U+FFFD.

    Raises:
        MalformedAnswerError: it is not JSON, or nests too deeply.
    """
    try:
        try:
            document = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = _decode(_repaired(body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedAnswerError(f"the answer is not JSON: {error}") from error
    if body.count(b"[") + body.count(b"{") > SUSPICIOUS_BRACKETS and nests_deeper(document, ANSWER_LEVELS):
        raise MalformedAnswerError(f"the answer nests deeper than {ANSWER_LEVELS} levels")
    return document


def decode_error(body: bytes) -> VendorError:
    """Return the code and message in the body of an error; the body of a gateway's error has neither."""
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return VendorError()
    return error.error or error


def _repaired(body: bytes) -> bytes:
    """Return the JSON with U+FFFD for invalid UTF-8 and for halves of surrogate pairs (RFC 8259, section 8.2).

    The wait for an asset must not fail because its name was cut within an emoji.
    """
    text = body.decode(errors="replace").encode()
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], text)
