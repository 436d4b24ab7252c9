"""What the simulator does below HTTP: bodies that come in pieces, and connections that break."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable, Mapping

from aiohttp import web


def reset(request: web.Request) -> None:
    """Close the connection as a crashing server does: with RST instead of FIN."""
    if request.transport is None:
        return
    raw = request.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


async def stream(
    request: web.Request,
    blocks: Iterable[bytes],
    *,
    size: int | None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    pause: float = 0.0,
    cut: bool = False,
) -> web.StreamResponse:
    """Answer with a body in blocks, with `pause` seconds after each.

    Args:
        request: what is answered.
        blocks: the body, or the part of it that is sent.
        size: the length that the head names, in bytes; None: it names none.
        status: the status.
        headers: further headers.
        pause: seconds.
        cut: whether the connection is closed after the blocks, as when the server dies.
    """
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = "application/json"
    response.content_length = size
    await response.prepare(request)
    for block in blocks:
        await response.write(block)
        if pause:
            await asyncio.sleep(pause)
    if cut and request.transport is not None:
        request.transport.close()
    return response
