"""What people are told of a request that got no answer."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from asset_worker.runtime.failed_requests import failure_text


async def test_a_server_that_does_not_speak_tls_is_told_of_in_plain_words():
    """A handshake that fails otherwise than by its certificate: a port without TLS, or a portal on the way."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorSSLError) as failed:
            await session.get(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    text = failure_text(failed.value, host="api.example")
    assert text is not None
    assert text.startswith("TLS with api.example fails (")
    assert "wrong version number" in text
