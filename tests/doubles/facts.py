"""What the status page is made from, with something in every part of it."""

from __future__ import annotations

from typing import Any

from asset_worker.domain.assets import AssetId
from asset_worker.domain.finished import FinishedAsset
from asset_worker.domain.progress import Progress
from asset_worker.domain.worker_report import InputReport, QuotaReport
from asset_worker.runtime.measures import LONG_SECONDS
from asset_worker.schedule.forecast import Forecast
from asset_worker.schedule.report import Brief
from asset_worker.telemetry.history import Sample
from asset_worker.telemetry.page.facts import Facts, InputFacts, Process
from asset_worker.telemetry.problems import Problem, Reason
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.values.deliveries import SinkState
from asset_worker.telemetry.waiting import WaitingAsset

NOW = 1_795_748_112.0
"""27 November 2026, 02:55:12 UTC."""
PROCESS = Process("0.1.0", 4121, "media-1", None, NOW - 3_600, "/var/lib/asset-worker")


def facts(**state: Any) -> Facts:
    """A worker in which nothing has happened, but for these fields of its snapshot."""
    return Facts(now=NOW, process=PROCESS, state=Snapshot(**state))


def finished(asset_id: str = "a", **fields: Any) -> FinishedAsset:
    """An asset whose wait ended a minute ago."""
    return FinishedAsset(
        **{
            "asset_id": AssetId(asset_id),
            "filename": "clip.mp4",
            "outcome": "ready",
            "reason": None,
            "at": NOW - 60,
            "took": 12.5,
        }
        | fields
    )


def facts_saying(text: str, *, address: str = "https://cdn.example/a.jpg") -> Facts:
    """A worker with something in every part of the page. `text` is everywhere where text from outside may be."""
    problem = Problem(Reason.SINK_DOWN, text, NOW - 10, text, NOW + 10)
    asset_id = AssetId(text)
    return Facts(
        now=NOW,
        process=Process(text, 1, text, text, NOW - 100, text),
        state=Snapshot(
            pending=12,
            completions={"ready": 1, text: 1},
            waiting_on={text: 12},
            problems=(problem, problem),
            sinks=[SinkState(text, 3, 5.0, 2, problem), SinkState("-", 0, 0.0, 0, None)],
            quotas=[QuotaReport(text, 600, 30, 5.0)],
        ),
        waiting=[WaitingAsset(asset_id, 60.0, 5.0, Progress(waiting_on=(text,)), Forecast(1.0, 2.0))],
        names={asset_id: text},
        finished=[
            finished(text, filename=text, outcome=text, reason=text, addresses={text: address}) for _ in range(12)
        ],
        inputs=[InputFacts(text, InputReport(1, 2), text), InputFacts(text)],
        samples=[Sample(0.0), Sample(30.0, 12, 3, 9, (1, 2, *(0,) * (len(LONG_SECONDS) - 1)))],
        lag_bounds=LONG_SECONDS,
        learned=[Brief(text, 3.0, 1.0, 2.0, 3.0, 2.0, 0.5)],
    )
