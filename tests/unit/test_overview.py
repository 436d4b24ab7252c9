"""What the status page is made from, read from a run: counters and few assets, however many are pending."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from asset_worker.domain.progress import Progress
from asset_worker.domain.worker_report import InputReport
from asset_worker.overview import Overview
from asset_worker.poller.recent import Recent
from asset_worker.runtime.measures import LONG_SECONDS, Distribution
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import never_known
from asset_worker.telemetry.history import SAMPLE_SECONDS
from asset_worker.telemetry.page.view import WAITING_SHOWN, view_of
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.waiting import WaitingAsset
from tests.doubles.clocks import LoopClock


class Run:
    """A run with a million pending assets."""

    def __init__(self, schedule=never_known):
        self.state = Snapshot(pending=1_000_000, completions={"ready": 3, "failed": 1}, requests=9)
        self.asked: list[int] = []
        clock = LoopClock(asyncio.get_running_loop())
        inputs = [SimpleNamespace(name="queue file", progress=InputReport(5, 0), unreadable=None)]
        self.overview = Overview(
            SimpleNamespace(schedule=schedule),
            SimpleNamespace(inputs=inputs),
            Recent(clock),
            snapshot=lambda: self.state,
            waiting=self.waiting,
            is_stopping=lambda: False,
            state_dir="/var/lib/asset-worker",
            clock=clock,
        )

    def waiting(self, limit):
        self.asked.append(limit)
        return [WaitingAsset(f"a{number}", 5.0, 1.0, Progress()) for number in range(limit)]


async def test_only_the_assets_that_are_shown_are_asked_for():
    run = Run()
    found = run.overview.read()
    assert run.asked == [WAITING_SHOWN]
    assert (found.state.pending, len(found.waiting), found.learned) == (1_000_000, WAITING_SHOWN, None)
    assert [(each.name, each.progress.position) for each in found.inputs] == [("queue file", 5)]
    assert (found.process.version, found.process.state_dir) == (found.process.version, "/var/lib/asset-worker")
    assert view_of(found).more_waiting == "999,990"


async def test_what_a_schedule_has_learned_is_shown_if_it_learns():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    assert Run(schedule).overview.read().learned == []


@pytest.mark.virtual_time
async def test_the_last_hour_is_sampled_and_ends_with_the_present():
    run = Run()
    sampling = asyncio.create_task(run.overview.keep_history())
    await asyncio.sleep(2.5 * SAMPLE_SECONDS)
    lags = Distribution((1, *(0,) * len(LONG_SECONDS)), 0.5, LONG_SECONDS)
    run.state = Snapshot(pending=7, completions={"ready": 5}, requests=10, detection_lags={(): lags})
    samples = run.overview.read().samples
    assert [(each.pending, each.completions, each.requests) for each in samples] == [
        *[(1_000_000, 4, 9)] * 2,
        (7, 5, 10),
    ]
    assert [each.at - samples[0].at for each in samples] == [0.0, 30.0, 75.0]
    assert [sum(each.lags) for each in samples] == [0, 0, 1]
    assert run.overview.read().lag_bounds == LONG_SECONDS
    sampling.cancel()
