"""What a delivery to an ordered sink says about itself: to `status`, to metrics, to the probes of health."""

import asyncio
import random
from collections.abc import Sequence

import pytest
from tenacity import wait_fixed

from asset_worker.domain.deliveries import SinkProblem
from asset_worker.domain.events import Stored
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.ports import Sent, SinkUnavailableError
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import InstantSleep, MemoryOutbox

FAILS = SinkProblem("failing", "the sink file fails")


class Sink:
    """Is unavailable until a test says otherwise. A check of it may hang."""

    kind = "ordered"
    name = "file"
    fails = True
    hangs = False

    def resume(self, checkpoint: bytes | None) -> None:
        """Nothing is kept."""

    async def check(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise SinkUnavailableError("no such directory")

    async def send(self, events: Sequence[Stored]) -> Sent:
        if self.fails:
            raise SinkUnavailableError("no space left")
        return Sent(len(events), None)

    async def close(self) -> None:
        """Nothing is open."""


class Outbox(MemoryOutbox):
    """Knows when its oldest event was made."""

    made_at: float | None = None

    def owed(self, sink: str) -> int:
        return self.depth(sink)

    def oldest_at(self, sink: str) -> float | None:
        return self.made_at if self.depth(sink) else None


def status_of(delivery):
    return delivery.problem, delivery.failing_for, delivery.failing_since, delivery.last_error, delivery.next_try


def test_the_backlog_is_what_the_sink_lacks_and_its_age_that_of_the_oldest():
    """A wall clock that was set back makes no age negative."""
    outbox, clock = Outbox(), ManualClock(wall=2_000.0)
    delivery = Delivery(Sink(), outbox, clock)
    assert (delivery.backlog, delivery.oldest_age) == (0, 0.0)
    outbox.add(3)
    assert (delivery.backlog, delivery.oldest_age) == (3, 0.0), "it is not known yet"
    outbox.made_at = 1_940.0
    assert (delivery.backlog, delivery.oldest_age) == (3, 60.0)
    clock.wall = 1_900.0
    assert delivery.oldest_age == 0.0


@pytest.mark.virtual_time
async def test_a_check_says_whether_the_sink_can_be_used():
    """One that hangs says nothing against it: the first event will show for how long."""
    sink, clock = Sink(), ManualClock(wall=2_000.0)
    delivery = Delivery(sink, Outbox(), clock)
    assert await delivery.check() is False
    assert status_of(delivery) == (FAILS, 0.0, 2_000.0, "no such directory", 2_001.0)
    clock.move(3)
    sink.hangs = True
    assert await delivery.check() is True
    assert status_of(delivery) == (FAILS, 3.0, 2_000.0, "no such directory", 2_001.0)
    sink.hangs = sink.fails = False
    assert await delivery.check() is True
    assert status_of(delivery) == (None, None, None, "no such directory", None)


async def test_while_a_sink_fails_it_is_told_since_when_and_when_it_is_tried_again():
    """The wait is counted from the attempt that failed last."""
    sink, outbox, clock, stop = Sink(), Outbox(), ManualClock(wall=2_000.0), Stop()
    seen = []

    def on_sleep(count):
        seen.append(status_of(delivery))
        clock.move(7)
        sink.fails = count < 2
        if count == 2:
            stop.set("test")

    delivery = Delivery(sink, outbox, clock, wait=wait_fixed(7), sleep=InstantSleep(on_sleep))
    outbox.add(1)
    await delivery.run(stop)
    assert seen == [
        (FAILS, 0.0, 2_000.0, "no space left", 2_007.0),
        (FAILS, 7.0, 2_000.0, "no space left", 2_014.0),
    ]
    assert status_of(delivery) == (None, None, None, "no space left", None)


@pytest.mark.parametrize(
    ("drawn", "waits"),
    [
        pytest.param(0, [0.25, 0.5, 1, 2, 4, 8, 15, 15], id="the shortest"),
        pytest.param(1, [0.5, 1, 2, 4, 8, 16, 30, 30], id="the longest"),
    ],
)
async def test_the_jitter_is_up_to_half_of_a_wait(monkeypatch, drawn, waits):
    """0.5 s doubling to 30 s."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low + drawn * (high - low))
    sink, outbox, stop = Sink(), Outbox(), Stop()

    def on_sleep(count):
        if count == len(waits):
            sink.fails = False
            stop.set("test")

    sleep = InstantSleep(on_sleep)
    outbox.add(1)
    await Delivery(sink, outbox, ManualClock(), sleep=sleep).run(stop)
    assert sleep.taken == waits
