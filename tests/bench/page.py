"""Measures what the status page and a scrape cost while a million assets are pending: `python -m tests.bench.page`.

The API can't be reached, as in an outage at night. Each answer is asked for once a second or so: the page is made anew.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
from prometheus_client.utils import floatToGoString

from tests.integration.admin import admin_of
from tests.integration.processes import Run, Worker

PATHS = ("/", "/metrics")
ROUNDS = 20
PAUSE_SECONDS = 1.1
"""After that, the page is made anew."""


async def measured(folder: Path, pending: int) -> dict[str, list[float]]:
    """The seconds that each answer took, by its path."""
    worker = Worker(folder)
    worker.queue_file.write_text("".join(f"{number:024x}\n" for number in range(pending)))
    run = worker.run("--admin-port", "0", base_url="http://127.0.0.1:9/v1.3", LOG__LEVEL="info")
    try:
        return await _times(run, pending)
    finally:
        worker.kill_all()


async def _times(run: Run, pending: int) -> dict[str, list[float]]:
    admin, found = await admin_of(run), dict[str, list[float]]()
    async with aiohttp.ClientSession(admin) as client:
        wanted = f"asset_worker_pending_assets {floatToGoString(pending)}"
        while wanted not in await _text(client, "/metrics"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(1)
        for _ in range(ROUNDS):
            await asyncio.sleep(PAUSE_SECONDS)
            for path in PATHS:
                began = time.perf_counter()
                await _text(client, path)
                found.setdefault(path, []).append(time.perf_counter() - began)
    return found


async def _text(client: aiohttp.ClientSession, path: str) -> str:
    async with client.get(path) as response:
        response.raise_for_status()
        return await response.text()


def main() -> None:
    """Print the median and the worst time of each path, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", type=int, nargs="+", default=[1_000, 1_000_000])
    for pending in parser.parse_args().pending:
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(measured(Path(folder), pending))
        for path, times in found.items():
            median, worst = 1000 * statistics.median(times), 1000 * max(times)
            print(f"{pending:>9,} pending  {path:<9} median {median:6.1f} ms  worst {worst:6.1f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
