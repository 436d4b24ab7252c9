"""A server on loopback whose assets end when their IDs say, in a process of its own: it prints its base URL.

An ID holds the instant of its end, in milliseconds of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from click import echo

from asset_worker.simulator.lifecycles import Created, Lifecycle, Rendition, document

NEVER_MS = 0xFFFFFFFFFFFF
_LIFECYCLE = Lifecycle(ends_after=1.0, hls=Rendition(), thumbnail=Rendition())
_ABOUT = {
    "created_at": "2026-11-24T00:00:00.000Z",
    "filename": "talk.mp4",
    "file_type": "video/mp4",
    "method": "multipart",
    "size": 48_213_377,
}
_TECHNICAL = {
    "technical_metadata": {
        "container": {"format": "mov,mp4,m4a,3gp,3g2,mj2", "bit_rate": 5_128_000, "streams": 2},
        "video": {"codec": "h264", "profile": "High", "width": 1920, "height": 1080, "fps": 29.97, "rotation": 0},
        "audio": {"codec": "aac", "channels": 2, "sample_rate": 48_000, "language": "eng"},
    }
}


def id_of(number: int, ends_at: float | None) -> str:
    """The ID of an asset that ends at this instant; None: never."""
    return f"{NEVER_MS if ends_at is None else int(ends_at * 1000):012x}{number:012x}"


def end_of(asset_id: str) -> float:
    """When an asset ends, in seconds of the monotonic clock."""
    return int(asset_id[:12], 16) / 1000


def _shown(asset_id: str, now: float) -> bytes:
    has_ended = now >= end_of(asset_id)
    template = _ENDED if has_ended else _PROCESSING
    return template.replace(b"#", asset_id.encode())


def _template(age: float) -> bytes:
    shown = document(Created(id="#", duration=61.5, **_ABOUT), _LIFECYCLE, age)
    assert shown is not None
    return json.dumps(shown | (_TECHNICAL if shown["status"] == "ready" else {})).encode()


_PROCESSING, _ENDED = _template(0.0), _template(1.0)


async def _retrieve(request: web.Request) -> web.Response:
    return web.Response(body=_shown(request.match_info["id"], time.monotonic()), content_type="application/json")


async def _list(request: web.Request) -> web.Response:
    now = time.monotonic()
    data = b",".join(_shown(each, now) for each in request.query.getall("asset_ids"))
    return web.Response(body=b'{"data": [%s], "page_info": {}}' % data, content_type="application/json")


async def _serve() -> None:
    app = web.Application()
    app.add_routes([web.get("/v1.3/assets/{id}", _retrieve), web.get("/v1.3/assets", _list)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    echo(f"http://127.0.0.1:{runner.addresses[0][1]}/v1.3")
    await asyncio.Event().wait()


@contextmanager
def serving() -> Iterator[str]:
    """Run a server within this context. The base URL."""
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.server"], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().decode().strip()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
