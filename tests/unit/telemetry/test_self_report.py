"""The worker's report on itself: what it holds, and when it is written."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from asset_worker.domain.deliveries import SinkProblem
from asset_worker.domain.worker_report import InputReport, ProblemReport, QuotaReport, SinkReport, WorkerReport
from asset_worker.runtime.stop import Stop
from asset_worker.telemetry.self_report import (
    LONGEST_SECONDS,
    changes,
    describe_process,
    keep_report,
    report_on,
    unit_in,
)
from asset_worker.telemetry.sources import Sources
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.threads import HangingThread, InlineThread

RUNNING = WorkerReport("running", 7, version="1.2.3", started_at="2026-11-27T12:00:00.000Z")


def sources(**sink):
    delivery = SimpleNamespace(
        sink="hook",
        backlog=4,
        problem=SinkProblem("down", "the sink hook is down"),
        failing_since=1000.0,
        last_error="status 503",
        next_try=1060.5,
    )
    return Sources(
        queue=SimpleNamespace(
            fleet=None,
            failure=None,
            waiting_for_sinks_since=None,
            pending_count=lambda: 3,
            dead_letters_by_sink=lambda: {"hook": 2, "removed": 1},
        ),
        poller=SimpleNamespace(),
        gate=SimpleNamespace(problem=None, quotas=[QuotaReport("minute", 60, 12, 30.0)]),
        retries=SimpleNamespace(),
        lines=SimpleNamespace(rejected_inputs=[]),
        inputs=[SimpleNamespace(name="queue file", unreadable=None, progress=InputReport(100, 20))],
        deliveries=[delivery, SimpleNamespace(sink="stdout", backlog=0, problem=None)],
        loop_lag=SimpleNamespace(worst=0.0),
    )


def test_it_holds_problems_sinks_inputs_and_quotas():
    clock = ManualClock(1030.0)
    found = report_on(sources(), of=RUNNING, clock=clock)
    assert found == msgspec.structs.replace(
        RUNNING,
        updated_at="1970-01-01T00:17:10.000Z",
        reading=clock.mark().reading,
        pending=3,
        problems=[
            ProblemReport(
                "the sink hook is down",
                "1970-01-01T00:16:40.000Z",
                "status 503",
                "1970-01-01T00:17:40.500Z",
                "sink_down",
                "docs/runbook.md#sink_down",
            )
        ],
        sinks={"hook": SinkReport(4, 2), "stdout": SinkReport(0, 0)},
        intakes={"queue file": InputReport(100, 20)},
        quotas=[QuotaReport("minute", 60, 12, 30.0)],
    )


def test_the_time_alone_is_no_change():
    before, later = (report_on(sources(), of=RUNNING, clock=ManualClock(now)) for now in (1030.0, 1031.0))
    assert changes(before) == changes(later) != changes(msgspec.structs.replace(later, pending=4))


def test_when_a_problem_began_is_no_change_as_it_is_computed_anew_each_time():
    report = report_on(sources(), of=RUNNING, clock=ManualClock(1030.0))
    [problem] = report.problems
    again = msgspec.structs.replace(report, problems=[msgspec.structs.replace(problem, since="a millisecond later")])
    ended = msgspec.structs.replace(report, problems=[])
    assert changes(report) == changes(again) != changes(ended)


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/asset-worker.service\n", "asset-worker.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/worker@2.service\n", "worker@2.service"),
        ("12:cpu:/x\n1:name=systemd:/system.slice/asset-worker.service\n0::/\n", "asset-worker.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1.scope\n", None),
        ("0::/\n", None),
        ("0::/x/.service\n", None),
        ("", None),
    ],
)
def test_the_unit_is_the_last_part_of_a_control_group(cgroups, unit):
    assert unit_in(cgroups) == unit


def test_a_process_is_described_by_what_does_not_change():
    found = describe_process(version="1.2.3", clock=ManualClock(1030.0))
    assert (found.state, found.version, found.started_at) == ("running", "1.2.3", "1970-01-01T00:17:10.000Z")
    assert isinstance(found.pid, int)


@pytest.mark.virtual_time
class TestKeeping:
    """When it is written, in virtual time."""

    def start(self, *, works=lambda: True):
        self.clock, self.stop = LoopClock(asyncio.get_running_loop()), Stop()
        self.report, self.written = RUNNING, []

        def write(report):
            if works():
                self.written.append((round(asyncio.get_running_loop().time()), report.state, report.pending))
            return works()

        return asyncio.ensure_future(
            keep_report(lambda: self.report, write, InlineThread(), clock=self.clock, stop=self.stop)
        )

    async def test_it_is_written_when_it_has_changed_and_every_ten_seconds(self):
        keeping = self.start()
        await asyncio.sleep(3.5)
        for pending in range(10):  # ten changes within a second
            self.report = msgspec.structs.replace(RUNNING, pending=pending)
            await asyncio.sleep(0.05)
        await asyncio.sleep(LONGEST_SECONDS + 1)
        assert self.written == [(0, "running", None), (4, "running", 9), (14, "running", 9)]
        keeping.cancel()

    async def test_what_could_not_be_written_is_written_as_soon_as_that_is_possible(self):
        keeping = self.start(works=lambda: asyncio.get_running_loop().time() > 4.5)
        await asyncio.sleep(8)
        assert self.written == [(5, "running", None)]
        keeping.cancel()

    @pytest.mark.parametrize("reason", ["SIGTERM", None])
    async def test_only_a_stop_in_order_is_reported_as_one(self, reason):
        keeping = self.start()
        await asyncio.sleep(2.5)
        if reason is not None:
            self.stop.set(reason)
        keeping.cancel()
        await asyncio.wait([keeping])
        assert self.written[1:] == ([] if reason is None else [(2, "stopped", None)])

    async def test_a_disk_that_hangs_does_not_hold_up_the_end(self):
        clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
        keeping = asyncio.ensure_future(
            keep_report(lambda: RUNNING, lambda report: True, HangingThread(), clock=clock, stop=stop)
        )
        await asyncio.sleep(1)
        stop.set("SIGTERM")
        began = asyncio.get_running_loop().time()
        keeping.cancel()
        await asyncio.wait([keeping])
        assert asyncio.get_running_loop().time() - began <= 1
