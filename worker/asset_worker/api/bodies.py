"""Reading the bodies of answers: bounded in size and depth, and mended where only a text in them is broken."""

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
"""A larger answer than any that the API gives is not read to its end: it can't fill the memory."""

SUSPICIOUS_BRACKETS: Final = 300
"""Only a body with more brackets than this is walked to measure its depth; few have so many."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape in a JSON text; the group is half of a surrogate pair without the other half."""


class VendorError(msgspec.Struct, frozen=True):
    """An error as the API sends it: flat in older endpoints, nested under `error` in newer ones."""

    code: str | None = None
    message: str | None = None
    error: VendorError | None = None


_decode = msgspec.json.Decoder().decode
_decode_error = msgspec.json.Decoder(VendorError).decode


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes, uncompressed.

    Raises:
        MalformedAnswerError: it is larger.
        aiohttp.ClientError, TimeoutError: it did not come in whole.
    """
    if (response.content_length or limit) < limit and "Content-Encoding" not in response.headers:
        return await response.read()  # at most as long as it says; a compressed one might be longer
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise MalformedAnswerError(f"the answer is larger than {limit} bytes")
    return bytes(body)


def decode_body(body: bytes) -> Any:
    """The JSON document of a body. Text that is broken is mended: its place is taken by U+FFFD.

    Raises:
        MalformedAnswerError: it is not JSON, or nests too deep.
    """
    try:
        try:
            document = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = _decode(_mended(body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedAnswerError(f"the answer is not JSON: {error}") from error
    if body.count(b"[") + body.count(b"{") > SUSPICIOUS_BRACKETS and nests_deeper(document, ANSWER_LEVELS):
        raise MalformedAnswerError(f"the answer nests deeper than {ANSWER_LEVELS} levels")
    return document


def decode_error(body: bytes) -> VendorError:
    """The code and message of an error's body; neither if it has none, as a gateway's."""
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return VendorError()
    return error.error or error


def _mended(body: bytes) -> bytes:
    """JSON with U+FFFD for what is no text: half of a surrogate pair (RFC 8259, section 8.2), or no UTF-8.

    An asset must not be waited for in vain because its name was cut within an emoji.
    """
    text = body.decode(errors="replace").encode()
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], text)
