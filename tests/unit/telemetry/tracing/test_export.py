"""The export of spans, in virtual time: it loses nothing while it can, holds nothing up, and takes limited memory."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.memory import MemoryQueue
from asset_worker.queue.outbox_readers import TRACES
from asset_worker.telemetry.tracing import export, waiting_spans
from asset_worker.telemetry.tracing.context import AssetTraces, SpanContext
from asset_worker.telemetry.tracing.export import (
    LEAST_STOP_SECONDS,
    LOAD_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    STOP_SECONDS,
    SpanExport,
)
from asset_worker.telemetry.tracing.looks import SeenChanges
from asset_worker.telemetry.tracing.results import Refused, Sent, Unavailable
from asset_worker.telemetry.tracing.sampling import Sampler
from asset_worker.telemetry.tracing.spans import Span, changed
from asset_worker.telemetry.tracing.waiting_spans import WaitingSpans
from tests.doubles.clocks import LoopClock
from tests.doubles.local_queue import open_local, put, rejection, settle
from tests.doubles.threads import HangingThread, InlineThread
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS

pytestmark = pytest.mark.virtual_time

ALL = Sampler(1.0)


class Collector:
    """Takes spans, or returns what a test wants."""

    def __init__(self):
        self.spans = []
        self.attempts = []
        self.result = Sent()

    def send(self, spans):
        self.attempts.append(asyncio.get_running_loop().time())
        if isinstance(self.result, Sent):
            self.spans += spans
        return self.result

    @property
    def assets(self):
        return [each.attributes["asset_worker.asset.id"] for each in self.spans if each.name == "asset"]


class World:
    """An export beside a queue, both with doubles around them."""

    def __init__(self, queue, clock, *, sampler=ALL, thread=None):
        self.queue = queue
        self.collector = Collector()
        self.changes = SeenChanges()
        self.waiting = WaitingSpans()
        self.opened = 0
        self.export = SpanExport(
            queue.outbox,
            TRACES,
            traces=AssetTraces("s", sampler),
            changes=self.changes,
            waiting=self.waiting,
            open_sender=self.open,
            thread=thread or InlineThread(),
            clock=clock,
            redact=lambda data: data,
        )

    def open(self):
        self.opened += 1
        return self.collector

    def call(self, number=1):
        """The span of a request ends."""
        self.waiting.add(Span("GET", SpanContext(1, number, is_sampled=True), 0, 1, {}))


def loop_clock():
    return LoopClock(asyncio.get_running_loop())


@pytest.fixture
async def world():
    clock = loop_clock()
    return World(MemoryQueue(clock, sinks=[TRACES], dedupe_window=DEDUPE_WINDOW, max_pending=10**6), clock)


def events(logs):
    return [line["event"] for line in logs if line["event"].startswith("traces.")]


async def test_spans_are_sent_together_soon_after_they_end(world):
    world.changes.looked(f"{IDS[0]}.1", None, None, at=1.0)
    async with world.export.running():
        await settle(world.queue, 0, 1)
        world.call()
        await asyncio.sleep(1.5)
        assert world.collector.assets == [IDS[0], IDS[1]]
        assert len(world.collector.spans) == 3
        assert len(world.collector.attempts) == 1
        assert world.queue.outbox.owed(TRACES) == len(world.waiting) == 0


async def test_more_spans_than_a_request_holds_don_t_wait_for_others(world, monkeypatch):
    monkeypatch.setattr(export, "BATCH", 2)
    async with world.export.running():
        await asyncio.sleep(0.01)
        await settle(world.queue, 0, 1, 2, 3)
        for number in range(4):
            world.call(number)
        await asyncio.sleep(0.5)
        assert len(world.collector.spans) == 8


async def test_the_end_of_the_run_sends_what_is_left(world):
    async with world.export.running():
        await asyncio.sleep(0.01)
        await settle(world.queue, 0)
        world.call()
        began = asyncio.get_running_loop().time()
    assert len(world.collector.spans) == 2
    assert asyncio.get_running_loop().time() - began < 0.1


class HangingSends(HangingThread):
    """A thread in which OpenTelemetry is loaded, and then the collector never answers."""

    async def run(self, call, /, *args, **kwargs):
        return await super().run() if args else call()


@pytest.mark.parametrize(
    ("thread", "seconds"), [(HangingSends, STOP_SECONDS), (HangingThread, LOAD_SECONDS + LEAST_STOP_SECONDS)]
)
async def test_a_collector_that_hangs_costs_the_end_of_the_run_less_than_a_second(world, thread, seconds):
    """What loading OpenTelemetry took is a part of that, unless it took longer."""
    hanging = thread()
    world.export = World(world.queue, loop_clock(), thread=hanging).export
    async with world.export.running():
        await settle(world.queue, 0)
        await asyncio.sleep(5)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began == pytest.approx(seconds)
    assert hanging.closed
    assert world.queue.outbox.owed(TRACES) == 1


async def test_a_collector_that_fails_is_tried_less_and_less_often_and_loses_nothing(world):
    """The log has one line at the beginning and one at the end. At the end of the run it is not tried once more."""
    world.collector.result = Unavailable("HTTP 503")
    with capture_logs() as logs:
        async with world.export.running():
            await settle(world.queue, 0)
            world.call()
            await asyncio.sleep(600)
            attempts = world.collector.attempts
            pauses = [later - earlier for earlier, later in pairwise(attempts)]
            assert max(pauses) <= LONGEST_BACKOFF_SECONDS + 1.1
            assert 20 < len(attempts) < 35
            assert events(logs) == ["traces.failed"]
            world.collector.result = Sent()
            await asyncio.sleep(LONGEST_BACKOFF_SECONDS + 1)
            assert events(logs) == ["traces.failed", "traces.recovered"]
            assert world.collector.assets == [IDS[0]]
            assert len(world.collector.spans) == 2
            world.collector.result = Unavailable("HTTP 503")
            world.call()
            await asyncio.sleep(3)
            tried = len(world.collector.attempts)
        assert len(world.collector.attempts) == tried


async def test_a_collector_that_works_and_fails_in_turn_fills_no_log(world):
    with capture_logs() as logs:
        async with world.export.running():
            for number in range(200):
                world.collector.result = Unavailable("HTTP 503") if number % 2 else Sent()
                world.call()
                await asyncio.sleep(3)
    assert events(logs) == ["traces.failed", "traces.recovered"]


@pytest.mark.parametrize("result", [Refused("HTTP 400"), Sent(1, "too old")], ids=["refused", "partial"])
async def test_spans_that_are_refused_are_given_up_and_counted(world, result):
    world.collector.result = result
    with capture_logs() as logs:
        async with world.export.running():
            for number in range(4):
                await settle(world.queue, number)
                await asyncio.sleep(3)
    assert events(logs) == ["traces.dropped"]
    assert world.export.dropped == 4
    assert world.queue.outbox.owed(TRACES) == 0


@pytest.mark.parametrize("result", [Unavailable("HTTP 503"), None], ids=["fails", "hangs"])
async def test_what_is_kept_for_a_collector_that_is_away_is_limited(world, monkeypatch, result):
    monkeypatch.setattr(export, "MOST_EVENTS_BEHIND", 3)
    monkeypatch.setattr(waiting_spans, "MOST_SPANS", 4)
    clock = loop_clock()
    if result is None:
        world.export = World(world.queue, clock, thread=HangingThread()).export
    world.collector.result = result
    with capture_logs() as logs:
        async with world.export.running():
            for number in range(90):
                await put(world.queue, events=[rejection(str(number))])
                await settle(world.queue, number % 8) if number < 8 else None
                world.call(number)
                await asyncio.sleep(1)
                assert world.queue.outbox.owed(TRACES) <= 3 + 4  # two are added between two checks
            assert len(world.waiting) == 4
    assert events(logs).count("traces.dropped") == 1


async def test_spans_that_were_moved_on_from_while_they_were_sent_are_not_gone_back_to(world, monkeypatch):
    monkeypatch.setattr(export, "MOST_EVENTS_BEHIND", 2)

    class SlowThread(InlineThread):
        async def run(self, call, /, *args, **kwargs):
            await asyncio.sleep(10 if args else 0)
            return call(*args, **kwargs)

    slow = World(world.queue, loop_clock(), thread=SlowThread())
    with capture_logs() as logs:
        async with slow.export.running():
            await settle(world.queue, 0)
            await asyncio.sleep(3)
            await settle(world.queue, 1, 2, 3, 4)
            await asyncio.sleep(3)
            assert world.queue.outbox.position(TRACES) == 3
            await asyncio.sleep(30)
    assert slow.collector.assets == [IDS[0], IDS[3], IDS[4]]
    assert slow.export.dropped == 3  # the one that was being sent counts: nobody knew that it would arrive
    assert world.queue.outbox.owed(TRACES) == 0
    assert events(logs) == ["traces.dropped"]


async def test_what_was_not_sent_before_a_crash_is_sent_after_it_with_the_same_ids(tmp_path):
    """Also if only the position was not recorded: it is sent again."""
    path = tmp_path / FILE_NAME
    queue = open_local(path, loop_clock(), sinks=["a", TRACES])
    await queue.begin(ends_by_itself=False)
    await settle(queue, 0, 1)
    await queue.outbox.advance("a", 2, None)
    before = World(queue, loop_clock())
    before.queue.outbox.advance = lambda *_: asyncio.sleep(3600)
    async with before.export.running():
        await asyncio.sleep(5)
    assert before.collector.assets == [IDS[0], IDS[1]]
    queue.crash()

    again = open_local(path, loop_clock(), sinks=["a", TRACES])
    await again.begin(ends_by_itself=False)
    after = World(again, loop_clock())
    async with after.export.running():
        await asyncio.sleep(5)
    assert [each.context for each in after.collector.spans] == [each.context for each in before.collector.spans]
    assert again.journal.events_after(0, 9) == []
    await again.close()


async def test_spans_outside_the_sample_are_not_sent(world):
    world.export = World(world.queue, loop_clock(), sampler=Sampler(0.0)).export
    async with world.export.running():
        await settle(world.queue, 0)
        await asyncio.sleep(5)
    assert world.collector.attempts == []
    assert world.queue.outbox.owed(TRACES) == 0


async def test_what_looks_have_changed_is_forgotten_once_it_is_sent(world):
    seen = changed("status", None, "ready", at=1_000_000_000)
    world.changes._changes[f"{IDS[0]}.1"] = [seen]
    world.collector.result = Unavailable("HTTP 503")
    async with world.export.running():
        await settle(world.queue, 0)
        await asyncio.sleep(5)
        assert world.changes.of(f"{IDS[0]}.1") == (seen,)
        world.collector.result = Sent()
        await asyncio.sleep(10)
        assert world.collector.spans[0].events == [seen]
        assert world.changes.of(f"{IDS[0]}.1") == ()


async def test_an_exporter_that_can_t_be_loaded_is_a_failure_that_may_pass(world):
    """A certificate that is not there yet, say. The run goes on."""
    is_broken = True
    load = world.export._open_sender

    def open_sender():
        if is_broken:
            raise ValueError("no such file")
        return load()

    world.export._open_sender = open_sender
    with capture_logs() as logs:
        async with world.export.running():
            await settle(world.queue, 0)
            await asyncio.sleep(5)
            assert [line.get("error") for line in logs if line["event"] == "traces.failed"] == [
                "ValueError: no such file"
            ]
            is_broken = False
            await asyncio.sleep(60)
    assert world.collector.assets == [IDS[0]]


async def test_a_journal_that_can_t_be_read_ends_no_run(world):
    async def read(*_):
        raise OSError("disk")

    world.queue.outbox.read = read
    with capture_logs() as logs:
        async with world.export.running():
            await settle(world.queue, 0)
            await asyncio.sleep(100)
    assert events(logs) == ["traces.failed"]
