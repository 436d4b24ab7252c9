"""Delivery: order, retries, dead letters, the stop."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import repeat

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.events import Stored
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.delivery import BATCH_BYTES, BATCH_EVENTS, SHUTDOWN_RETRY_SECONDS, Delivery, backoff
from asset_worker.sinks.ports import OrderedSink, Sent, SinkUnavailableError
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import InstantSleep, MemoryOutbox, stored


class ScriptedSink:
    """Does with each `send` what its script says: a count, an error, or None for all; then takes everything."""

    def __init__(self, script: Iterable[int | Exception | None] = (), name: str = "scripted") -> None:
        self.name = name
        self.script = iter(script)
        self.taken: list[Stored] = []
        self.batches: list[int] = []
        self.resumed: list[bytes | None] = []
        self.closed = False

    def resume(self, checkpoint: bytes | None) -> None:
        self.resumed.append(checkpoint)

    async def check(self) -> None:
        """Nothing is wrong."""

    async def send(self, events: Sequence[Stored]) -> Sent:
        self.batches.append(len(events))
        step = next(self.script, None)
        if isinstance(step, Exception):
            raise step
        count = len(events) if step is None else step
        self.taken += events[:count]
        return Sent(count, b"checkpoint %d" % len(self.taken))

    async def close(self) -> None:
        self.closed = True


def delivery_to(
    sink: OrderedSink, outbox: MemoryOutbox, sleep: InstantSleep | None = None, clock: ManualClock | None = None
) -> Delivery:
    return Delivery(sink, outbox, clock or ManualClock(), sleep=sleep or InstantSleep())


def stopped() -> Stop:
    stop = Stop()
    stop.set("test")
    return stop


async def test_events_go_out_in_order_and_their_progress_is_recorded_with_the_checkpoint():
    """What was sent is recorded together with the sink's checkpoint."""
    outbox, sink = MemoryOutbox(), ScriptedSink()
    events = outbox.add(3)
    delivery = delivery_to(sink, outbox)
    await delivery.run(stopped())
    assert sink.taken == events
    assert (outbox.positions["scripted"], outbox.checkpoints["scripted"]) == (3, b"checkpoint 3")
    assert (delivery.delivered, sink.closed) == (3, True)


async def test_a_restart_hands_the_recorded_checkpoint_back_and_sends_only_what_follows():
    """A sink goes on from its own checkpoint."""
    outbox = MemoryOutbox()
    outbox.add(3)
    await outbox.advance("scripted", 2, b"before")
    sink = ScriptedSink()
    await delivery_to(sink, outbox).run(stopped())
    assert sink.resumed == [b"before"]
    assert [event.position for event in sink.taken] == [3]


@pytest.mark.virtual_time
async def test_events_that_come_later_are_sent_as_they_come_and_the_stop_flushes():
    """It waits without polling, and its stop leaves nothing behind."""
    outbox, sink, stop, sleep = MemoryOutbox(), ScriptedSink(), Stop(), InstantSleep()
    async with asyncio.TaskGroup() as group:
        group.create_task(delivery_to(sink, outbox, sleep).run(stop))
        await asyncio.sleep(0.01)
        first = outbox.add(1)
        await asyncio.sleep(0.01)
        assert sink.taken == first
        rest = outbox.add(2)
        stop.set("test")
    assert sink.taken == first + rest
    assert sleep.taken == []


@pytest.mark.parametrize(
    ("events", "batches"),
    [
        pytest.param([0] * (BATCH_EVENTS + 1), [BATCH_EVENTS, 1], id="number of events"),
        pytest.param([BATCH_BYTES // 2, BATCH_BYTES // 3, BATCH_BYTES // 2], [2, 1], id="bytes"),
        pytest.param([BATCH_BYTES * 2, 10], [1, 1], id="an event larger than a batch goes alone"),
    ],
)
async def test_a_batch_is_bounded(events: list[int], batches: list[int]):
    """A large outbox goes out in bounded batches."""
    outbox = MemoryOutbox([stored(position, size=size) for position, size in enumerate(events, 1)])
    sink = ScriptedSink()
    await delivery_to(sink, outbox).run(stopped())
    assert sink.batches == batches
    assert sink.taken == outbox.events


async def test_an_outage_is_logged_once_and_its_end_once():
    """However long it lasts."""
    sink = ScriptedSink([SinkUnavailableError("no space left")] * 5)
    outbox, clock, stop = MemoryOutbox(), ManualClock(), Stop()
    outbox.add(2)

    def on_sleep(count: int) -> None:
        clock.move(10)
        assert (delivery.failing_since, delivery.last_error) == (1_000_000.0, "no space left")
        if count == 5:
            stop.set("test")

    delivery = delivery_to(sink, outbox, InstantSleep(on_sleep), clock)
    with capture_logs() as logs:
        await delivery.run(stop)
    assert [log["event"] for log in logs] == ["sink.failed", "sink.recovered"]
    assert {**logs[0], "retry_in": 0} == {
        "event": "sink.failed",
        "log_level": "error",
        "sink": "scripted",
        "trouble": "failing",
        "error": "no space left",
        "retry_in": 0,
    }
    assert 0.25 <= logs[0]["retry_in"] <= 0.5
    assert (logs[1]["sink"], logs[1]["failed_for"]) == ("scripted", 50.0)
    assert (delivery.failing_since, delivery.delivered, delivery.last_error) == (None, 2, "no space left")


async def test_tries_are_spaced_by_a_doubling_wait_with_jitter():
    """0.5 s doubling to 30 s; the upper half of each is drawn at random."""
    sleep, stop = InstantSleep(), Stop()
    sleep.on_sleep = lambda count: stop.set("test") if count == 10 else None
    outbox = MemoryOutbox()
    outbox.add()
    await delivery_to(ScriptedSink([SinkUnavailableError("away")] * 10), outbox, sleep).run(stop)
    ceilings = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert all(ceiling / 2 <= seconds <= ceiling for seconds, ceiling in zip(sleep.taken, ceilings, strict=True)), (
        sleep.taken
    )
    assert len({seconds / ceiling for seconds, ceiling in zip(sleep.taken, ceilings, strict=True)}) > 5


async def test_a_stop_ends_the_wait_for_the_next_try():
    """A sink that failed for long is tried at once when the stop comes, and then often."""
    stop, tried = Stop(), asyncio.Event()
    sink = ScriptedSink([SinkUnavailableError("away")] * 3)
    outbox = MemoryOutbox()
    outbox.add()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        tried.set()
        if len(waits) == 1:
            await asyncio.Event().wait()

    delivery = Delivery(sink, outbox, ManualClock(), sleep=sleep, wait=backoff(first=600, longest=600))
    async with asyncio.TaskGroup() as group:
        group.create_task(delivery.run(stop))
        await tried.wait()
        stop.set("test")
    assert waits == [pytest.approx(450, abs=150), 1.0, 1.0]
    assert len(sink.taken) == 1


@pytest.mark.virtual_time
async def test_a_sink_that_fails_beyond_the_grace_loses_nothing():
    """Cancelled while it fails: the events stay in the outbox, and the sink is closed."""
    outbox, sink = MemoryOutbox(), ScriptedSink(repeat(SinkUnavailableError("away")))
    outbox.add(3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(25):
            await Delivery(sink, outbox, ManualClock()).run(stopped())
    assert len(sink.batches) > 25 / SHUTDOWN_RETRY_SECONDS, "it was tried until the grace was over"
    assert (outbox.depth("scripted"), sink.closed) == (3, True)


async def test_what_a_sink_took_before_it_failed_is_not_sent_again():
    """Part of a batch is progress."""
    outbox, sink = MemoryOutbox(), ScriptedSink([2, SinkUnavailableError("away"), None])
    events = outbox.add(5)
    await delivery_to(sink, outbox).run(stopped())
    assert sink.taken == events
    assert sink.batches == [5, 3, 3]


async def test_a_checkpoint_is_recorded_before_anything_is_sent_after_it():
    """A sink that asks for its checkpoint to be recorded gets the same events again; this ends no failure."""
    outbox = MemoryOutbox()
    outbox.add(2)
    await outbox.advance("scripted", 1, None)
    outbox.add(1)
    seen: list[tuple[int, bytes | None]] = []

    class Watching(ScriptedSink):
        async def send(self, events: Sequence[Stored]) -> Sent:
            seen.append((outbox.positions[self.name], outbox.checkpoints[self.name]))
            return await super().send(events)

    sink = Watching([0, SinkUnavailableError("away"), 0, SinkUnavailableError("away"), None])
    with capture_logs() as logs:
        await delivery_to(sink, outbox).run(stopped())
    assert seen[0:2] == [(1, None), (1, b"checkpoint 0")]
    assert [event.position for event in sink.taken] == [2, 3]
    assert [log["event"] for log in logs] == ["sink.failed", "sink.recovered"]


@pytest.mark.virtual_time
async def test_a_failing_sink_holds_up_no_other():
    """Each has its own delivery."""
    outbox = MemoryOutbox()
    well, ill = ScriptedSink(name="well"), ScriptedSink(repeat(SinkUnavailableError("away")), name="ill")
    deliveries = [asyncio.create_task(Delivery(sink, outbox, ManualClock()).run(Stop())) for sink in (ill, well)]
    for _ in range(3):
        outbox.add(3)
        tried = len(ill.batches)
        await asyncio.sleep(60)
        assert (well.taken, ill.taken) == (outbox.events, [])
        assert len(ill.batches) > tried
    for delivery in deliveries:
        delivery.cancel()
    await asyncio.wait(deliveries)


async def test_an_unexpected_error_is_not_hidden():
    """An error that is no failure of the sink stops the delivery."""
    outbox, sink = MemoryOutbox(), ScriptedSink([ZeroDivisionError()])
    outbox.add()
    with pytest.raises(ZeroDivisionError):
        await delivery_to(sink, outbox).run(Stop())
    assert (outbox.depth("scripted"), sink.closed) == (1, True)


class Unusable(ScriptedSink):
    """A sink whose target is missing until a test makes it."""

    problem: str | None = "/x/events can't be created: the directory /x does not exist: create it"

    async def check(self) -> None:
        if self.problem is not None:
            raise SinkUnavailableError(self.problem)


@pytest.mark.virtual_time
async def test_a_sink_that_cannot_be_used_is_reported_before_there_is_an_event_and_recovers_by_itself():
    sink, stop = Unusable(), Stop()
    delivery = delivery_to(sink, MemoryOutbox())
    with capture_logs() as logs:
        running = asyncio.ensure_future(delivery.run(stop))
        await asyncio.sleep(10)
        began = delivery.failing_since
        assert began is not None
        sink.problem = None
        await asyncio.sleep(2)
        assert delivery.failing_since is None
        stop.set("test")
        await running
    assert [(log["event"], log["log_level"], log.get("error")) for log in logs] == [
        ("sink.failed", "error", Unusable.problem),
        ("sink.recovered", "info", None),
    ]


@pytest.mark.virtual_time
async def test_an_event_is_sent_although_the_check_says_that_the_sink_cannot_be_used():
    """The check may be wrong about rights; only sending shows it."""
    outbox, sink, stop = MemoryOutbox(), Unusable(), Stop()
    running = asyncio.ensure_future(delivery_to(sink, outbox).run(stop))
    await asyncio.sleep(3)
    events = outbox.add(2)
    await asyncio.sleep(1)
    assert sink.taken == events
    stop.set("test")
    await running


@pytest.mark.virtual_time
async def test_a_sink_that_cannot_be_used_and_is_owed_nothing_holds_up_no_stop():
    stop = Stop()
    running = asyncio.ensure_future(delivery_to(Unusable(), MemoryOutbox()).run(stop))
    await asyncio.sleep(3)
    stop.set("test")
    async with asyncio.timeout(0.1):
        await running


async def test_attempts_are_counted_and_timed():
    """Each failed attempt, each event that was accepted, and how long the sink took over both."""
    clock = ManualClock()

    class Slow(ScriptedSink):
        async def send(self, events: Sequence[Stored]) -> Sent:
            clock.move(3)
            return await super().send(events)

    outbox = MemoryOutbox()
    outbox.add(5)
    delivery = delivery_to(Slow([SinkUnavailableError("no space left"), 2]), outbox, clock=clock)
    assert delivery.attempts.results == {"delivered": 0, "failed": 0}
    await delivery.run(stopped())
    assert delivery.attempts.results == {"delivered": 5, "failed": 1}
    made = delivery.attempts.made
    assert (made.count, made.durations.read()[()].sum, made.succeeded_at) == (3, 9.0, clock.now())


async def test_each_attempt_is_reported_with_its_events_and_its_failure():
    """What a sink takes of a batch is one attempt, and the rest is another."""
    outbox, reports, clock = MemoryOutbox(), [], ManualClock()
    first, second, third = outbox.add(3)
    sink = ScriptedSink([SinkUnavailableError("the disk is full"), 0, 2])

    usual = sink.send

    async def send(events: Sequence[Stored]) -> Sent:
        clock.mono += 1.5
        return await usual(events)

    sink.send = send
    delivery = Delivery(sink, outbox, clock, sleep=InstantSleep(), report=lambda *report: reports.append(report))
    await delivery.run(stopped())
    assert reports == [
        ("scripted", [first, second, third], 1.5, "the disk is full"),
        ("scripted", [first, second], 1.5, None),
        ("scripted", [third], 1.5, None),
    ]
