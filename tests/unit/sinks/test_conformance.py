"""What every sink promises, held by each of them.

A new sink joins by a row in `KINDS`: how it is made, how its receiver is read, fails and recovers.
"""

import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp import web

from asset_worker.domain.events import Event, Stored
from asset_worker.queue.memory_outbox import MemoryOutbox
from asset_worker.queue.room import Room
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.delivery import BATCH_EVENTS, Delivery
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.independent import IndependentDelivery
from asset_worker.sinks.ports import Delivered, IndependentSink, OrderedSink, SinkUnavailableError
from asset_worker.sinks.stdout import StdoutSink
from tests.doubles.clocks import ManualClock
from tests.doubles.independent import event
from tests.doubles.outbox import InstantSleep, stored
from tests.doubles.threads import InlineThread
from tests.doubles.webhooks import receiving, webhook


class Receiver(Protocol):
    """What a sink sends to."""

    def sink(self) -> OrderedSink | IndependentSink:
        """A sink to this receiver, as after a restart."""
        ...

    def taken(self) -> list[bytes]:
        """The bodies that came, in order."""
        ...

    def fail(self) -> None: ...

    def recover(self) -> None: ...

    def close(self) -> None: ...


class FileReceiver:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "spool"
        self.directory.mkdir()

    def sink(self) -> OrderedSink:
        return FileSink(self.directory / "events.jsonl", InlineThread())

    def taken(self) -> list[bytes]:
        path = self.directory / "events.jsonl"
        return path.read_bytes().splitlines() if path.exists() else []

    def fail(self) -> None:
        self.directory.rename(self.directory.with_suffix(".away"))
        self.directory.write_bytes(b"")

    def recover(self) -> None:
        self.directory.unlink()
        self.directory.with_suffix(".away").rename(self.directory)

    def close(self) -> None:
        pass


class PipeReceiver:
    """A named pipe with a reader in a thread; while it fails, nobody reads."""

    def __init__(self, directory: Path, make: Callable[[Path], OrderedSink]) -> None:
        self.path = directory / "pipe"
        self.make = make
        os.mkfifo(self.path)
        self.received = bytearray()
        self.recover()

    def recover(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        self.reading, self.stopping = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._read, args=(fd, self.stopping), daemon=True)
        # Keeps the pipe from ending while no sink has it open.
        self.keeper = os.open(self.path, os.O_WRONLY)
        self.thread.start()

    def _read(self, fd: int, stopping: threading.Event) -> None:
        while (chunk := os.read(fd, 1 << 16)) != b"":
            self.received += chunk.replace(b"\0", b"")
            if stopping.is_set() and chunk.endswith(b"\0"):
                break
        os.close(fd)

    def fail(self) -> None:
        self.stopping.set()
        os.write(self.keeper, b"\0")
        self.thread.join()
        os.close(self.keeper)

    def sink(self) -> OrderedSink:
        return self.make(self.path)

    def taken(self) -> list[bytes]:
        self.fail()
        self.recover()
        return bytes(self.received).splitlines()

    def close(self) -> None:
        self.fail()


def stdout_to(path: Path) -> OrderedSink:
    fd = os.open(path, os.O_WRONLY)

    class Owning(StdoutSink):
        async def close(self) -> None:
            await super().close()
            os.close(fd)

    return Owning(InlineThread(), fd=fd)


class HookReceiver:
    """A web server; while it fails, it answers 503."""

    def __init__(self, port: int, bodies: list[bytes]) -> None:
        self.port = port
        self.bodies = bodies
        self.is_failing = False

    def sink(self) -> IndependentSink:
        return webhook(f"http://127.0.0.1:{self.port}/hooks")

    def taken(self) -> list[bytes]:
        return self.bodies

    def fail(self) -> None:
        self.is_failing = True

    def recover(self) -> None:
        self.is_failing = False

    def close(self) -> None:
        pass


@asynccontextmanager
async def served(_directory: Path) -> AsyncIterator[Receiver]:
    async def answer(request: web.Request) -> web.Response:
        if hook.is_failing:
            return web.Response(status=503)
        hook.bodies.append(await request.read())
        return web.Response(status=204)

    async with receiving(answer) as server:
        hook = HookReceiver(server.port, [])
        yield hook


def closed(make: Callable[[Path], Receiver]) -> Callable[[Path], AbstractAsyncContextManager[Receiver]]:
    @asynccontextmanager
    async def opened(directory: Path) -> AsyncIterator[Receiver]:
        receiver = make(directory)
        yield receiver
        receiver.close()

    return opened


KINDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Receiver]]] = {
    "file": closed(FileReceiver),
    "stdout": closed(lambda directory: PipeReceiver(directory, stdout_to)),
    "pipe": closed(lambda directory: PipeReceiver(directory, lambda path: FileSink(path, InlineThread()))),
    "webhook": served,
}


@pytest.fixture(params=KINDS)
async def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Receiver]:
    async with KINDS[request.param](tmp_path) as receiver:
        yield receiver


class Outbox:
    """An outbox that outlives the runs of a receiver's sink."""

    def __init__(self, receiver: Receiver) -> None:
        self.kept = MemoryOutbox([receiver.sink().name], Room(1_000_000, ManualClock()))
        self.events: list[Event] = []

    def add(self, count: int, *, size: int = 0) -> None:
        first = len(self.events)
        # Of several completions of some assets: their order must be kept, whatever the kind of the sink.
        added = [event(f"a{number // 3}", number, size=size) for number in range(first, first + count)]
        self.events += added
        self.kept.add(added)

    def bodies(self) -> list[bytes]:
        return [each.body for each in self.events]


async def run(sink: OrderedSink | IndependentSink, outbox: Outbox) -> None:
    """Deliver what there is, and end."""
    stop, clock = Stop(), ManualClock()
    stop.set("test")
    if sink.kind == "ordered":
        await Delivery(sink, outbox.kept, clock, sleep=InstantSleep()).run(stop)
    else:
        await IndependentDelivery(sink, outbox.kept, clock).run(stop)


async def send(sink: OrderedSink | IndependentSink, events: Sequence[Stored]) -> str | None:
    """Send events as a delivery does. Return what went wrong; None: the receiver has them."""
    if sink.kind == "independent":
        results = [await sink.attempt(each) for each in events]
        return next((each.reason for each in results if not isinstance(each, Delivered)), None)
    try:
        while (await sink.send(events)).count == 0:
            pass
    except SinkUnavailableError as error:
        return str(error)
    return None


def by_asset(bodies: list[bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for body in bodies:
        found.setdefault(json.loads(body)["subject"], []).append(body)
    return found


async def test_events_come_once_when_nothing_fails_and_those_of_an_asset_in_order(receiver: Receiver):
    """Over several batches and restarts."""
    outbox = Outbox(receiver)
    for count in (1, 2 * BATCH_EVENTS + 7, 3):
        outbox.add(count)
        sink = receiver.sink()
        sink_is_ordered = sink.kind == "ordered"
        await run(sink, outbox)
    taken = receiver.taken()
    assert by_asset(taken) == by_asset(outbox.bodies())
    if sink_is_ordered:
        assert taken == outbox.bodies()


async def test_large_events_come_whole(receiver: Receiver):
    """Larger than a pipe's buffer, and than a batch."""
    outbox = Outbox(receiver)
    outbox.add(3, size=400_000)
    outbox.add(1, size=1_500_000)
    await run(receiver.sink(), outbox)
    assert by_asset(receiver.taken()) == by_asset(outbox.bodies())


async def test_an_outage_is_transient_and_loses_nothing(receiver: Receiver):
    """It begins after the sink was used, and ends while events wait."""
    outbox = Outbox(receiver)
    outbox.add(5)
    sink = receiver.sink()
    events = [Stored(position, each.id, each.body) for position, each in enumerate(outbox.events, start=1)]
    assert await send(sink, events[:2]) is None
    receiver.fail()
    problem = await send(sink, events[2:])
    assert problem is not None
    assert "subject" not in problem, "an event's content is in the error"
    receiver.recover()
    assert await send(sink, events[2:]) is None
    await sink.close()
    assert receiver.taken() == outbox.bodies()


async def test_a_name_is_the_same_after_a_restart(receiver: Receiver):
    """The outbox knows the sink by it."""
    one, other = receiver.sink(), receiver.sink()
    assert one.name == other.name
    await one.close()
    await other.close()


async def test_an_ordered_sink_counts_no_more_than_it_was_sent(receiver: Receiver):
    """And asks at most once for a checkpoint to be recorded before it makes progress."""
    sink = receiver.sink()
    if sink.kind == "ordered":
        sink.resume(None)
        counts = [(await sink.send([stored(1), stored(2)])).count for _ in range(2)]
        assert counts in ([2, 2], [0, 2])
    await sink.close()


async def test_a_sink_that_sent_nothing_can_be_closed(receiver: Receiver):
    """And one that has nothing to send touches nothing."""
    await run(receiver.sink(), Outbox(receiver))
    assert receiver.taken() == []
