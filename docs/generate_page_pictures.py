"""Takes the pictures of docs/page: the status page as a browser shows it, served by its own code from made-up facts.

It needs chromium. Run it after the page has changed: `python docs/generate_page_pictures.py`.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator
from math import sin
from pathlib import Path
from typing import Any, Final

from playwright.async_api import async_playwright

from asset_worker.domain.assets import AssetId
from asset_worker.domain.finished import FinishedAsset
from asset_worker.domain.progress import Progress
from asset_worker.domain.worker_report import InputReport, QuotaReport
from asset_worker.runtime.measures import LONG_SECONDS
from asset_worker.schedule.forecast import Forecast
from asset_worker.schedule.report import Brief
from asset_worker.telemetry.admin import serving
from asset_worker.telemetry.history import HOUR, SAMPLE_SECONDS, Sample
from asset_worker.telemetry.page.endpoints import StatusPage
from asset_worker.telemetry.page.facts import Facts, InputFacts, Process
from asset_worker.telemetry.problems import Problem, Reason
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.values.deliveries import SinkState
from asset_worker.telemetry.waiting import WaitingAsset

FOLDER: Final = Path(__file__).parent / "page"
NOW: Final = 1_795_748_112.0
"""27 November 2026, 02:55:12 UTC."""
CDN: Final = "https://cdn.example/6298d673"
PICTURES: Final[dict[str, dict[str, Any]]] = {
    "light": {"viewport": {"width": 1180, "height": 1240}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1180, "height": 1240}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 780}, "color_scheme": "dark", "is_mobile": True},
}
"""The pictures, and the browser that each is taken in."""


def facts() -> Facts:
    """Return a worker at night: its receiver has been down since two o'clock, and the API refuses some requests."""
    down = Problem(
        Reason.SINK_DOWN,
        "the sink hooks is down",
        since=NOW - 3_310,
        last_error="503 Service Unavailable: upstream connect error",
        next_try=NOW + 38,
    )
    samples = list(_samples())
    return Facts(
        now=NOW,
        process=Process("0.1.0", 4121, "media-1", "asset-worker.service", NOW - 9 * 86_400, "/var/lib/asset-worker"),
        state=Snapshot(
            pending=samples[-1].pending,
            due=3,
            oldest_pending_age=7_412.0,
            looks=98_112,
            requests=samples[-1].requests,
            refusals=12,
            retries=31,
            completions={"ready": 21_806, "degraded": 114, "failed": 203, "timed_out": 2},
            outbox_depth=1_284,
            dead_letters=3,
            problems=(down,),
            is_ready=False,
            waiting_on={"asset": 1_190, "hls": 402, "thumbnail": 96, "visibility": 4},
            sinks=[
                SinkState("file:/var/log/asset-worker/events.jsonl", 0, 0.0, 0, None),
                SinkState("hooks", 1_284, 3_310.0, 3, down),
            ],
            quotas=[QuotaReport("x-ratelimit", 600, 412, 23.0)],
            requests_in_flight=2,
            lists_in_use=True,
            loop_lag=0.004,
        ),
        waiting=[
            _waiting("6298d673f1090f1100476d4c", 7_412, ("hls",), None),
            _waiting("6298d673f1090f1100476d51", 1_903, ("hls",), Forecast(240, 900)),
            _waiting("6298d673f1090f1100476e02", 1_377, ("asset",), Forecast(95, 260)),
            _waiting("6298d673f1090f1100476e1f", 61, ("hls", "thumbnail"), Forecast(14, 38)),
        ],
        names={
            AssetId("6298d673f1090f1100476d4c"): "keynote-2026-full.mov",
            AssetId("6298d673f1090f1100476d51"): "interview-cut-3.mp4",
            AssetId("6298d673f1090f1100476e02"): "überblick-neu.mov",
        },
        finished=[
            _finished("6298d673f1090f1100476f90", "clip-0412.mp4", "ready", 4, took=31.4),
            _finished("6298d673f1090f1100476f91", "draft.mp4", "failed", 9, took=12.0, why="The video has no frames."),
            _finished("6298d673f1090f1100476f92", "town-hall.mp4", "degraded", 21, took=941.0, why="hls: error"),
            *_earlier(),
        ],
        inputs=[InputFacts("queue file", InputReport(position=4_812_331, behind=0)), InputFacts("account")],
        samples=samples,
        lag_bounds=LONG_SECONDS,
        learned=[
            Brief("asset video/mp4 direct", 8_412, 41, 118, 260, 3.1, 1.4),
            Brief("hls video/mp4 direct", 7_903, 33, 97, 240, 2.8, 1.6),
            Brief("asset image/jpeg direct", 3_055, 2.1, 4.4, 9.2, 1.9, 0.6),
        ],
    )


def _earlier() -> Iterator[FinishedAsset]:
    for number in range(18):
        asset_id, filename = f"6298d673f1090f11004770{number:02x}", f"clip-{411 - number:04}.mp4"
        yield _finished(asset_id, filename, "ready", 30 + 7 * number, took=28.0 + number)


def _samples() -> Iterator[Sample]:
    completions, requests, lags = 0.0, 0.0, [0] * (len(LONG_SECONDS) + 1)
    for number in range(121):
        wave = 1 + 0.35 * sin(number / 9) + 0.1 * sin(number * 1.7)
        completions += 4.2 * wave
        requests += 9 * wave + (6 if 60 < number < 75 else 0)
        for bucket, count in ((0, 3), (1, 2), (2, 1 + (number % 7 == 0)), (4, number % 11 == 0)):
            lags[bucket] += int(count * wave)
        at = SAMPLE_SECONDS * number
        yield Sample(at, int(1_500 + 260 * wave), int(completions), int(97_000 + requests), tuple(lags))
    assert at == HOUR


def _waiting(asset_id: str, age: float, waiting_on: tuple[str, ...], left: Forecast | None) -> WaitingAsset:
    return WaitingAsset(AssetId(asset_id), age, 4.0, Progress(waiting_on=waiting_on), left)


def _finished(asset_id: str, filename: str, outcome: str, ago: float, *, took: float, why: str = "") -> FinishedAsset:
    names = {"ready": ("hls", "thumbnail"), "degraded": ("thumbnail",)}.get(outcome, ())
    addresses = {name: f"{CDN}/{asset_id}/{name}" for name in names}
    return FinishedAsset(AssetId(asset_id), filename, outcome, why or None, NOW - ago, took, addresses)


async def main() -> None:
    """Take the pictures."""
    FOLDER.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    page = StatusPage(facts, redact=lambda value: value, now=time.monotonic)
    async with (
        serving(Snapshot, host="127.0.0.1", port=port, page=page.routes()),
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        for name, options in PICTURES.items():
            async with await browser.new_context(**options) as context:
                tab = await context.new_page()
                await tab.goto(f"http://127.0.0.1:{port}/")
                await tab.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
