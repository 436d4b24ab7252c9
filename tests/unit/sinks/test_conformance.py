"""What every sink promises, held by each of them.

A new sink joins by a row in `KINDS`: how it is made, how its receiver is read, fails and recovers.
"""

import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from asset_worker.runtime.stop import Stop
from asset_worker.sinks.delivery import BATCH_EVENTS, Delivery
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import OrderedSink, Outbox, SinkUnavailableError
from asset_worker.sinks.stdout import StdoutSink
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import InstantSleep, MemoryOutbox, stored
from tests.doubles.threads import InlineThread


class Receiver(Protocol):
    """What a sink sends to."""

    def sink(self) -> OrderedSink:
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


KINDS: dict[str, Callable[[Path], Receiver]] = {
    "file": FileReceiver,
    "stdout": lambda directory: PipeReceiver(directory, stdout_to),
    "pipe": lambda directory: PipeReceiver(directory, lambda path: FileSink(path, InlineThread())),
}


@pytest.fixture(params=KINDS)
async def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Receiver]:
    receiver = KINDS[request.param](tmp_path)
    yield receiver
    receiver.close()


async def run(sink: OrderedSink, outbox: Outbox, sleep: InstantSleep | None = None) -> None:
    stop = Stop()
    stop.set("test")
    await Delivery(sink, outbox, ManualClock(), sleep=sleep or InstantSleep()).run(stop)


def bodies(outbox: MemoryOutbox) -> list[bytes]:
    return [event.body for event in outbox.events]


async def test_events_come_in_order_and_once_when_nothing_fails(receiver: Receiver):
    """Over several batches and restarts."""
    outbox = MemoryOutbox()
    for count in (1, 2 * BATCH_EVENTS + 7, 3):
        outbox.add(count)
        await run(receiver.sink(), outbox)
    assert receiver.taken() == bodies(outbox)


async def test_large_events_come_whole(receiver: Receiver):
    """Larger than a pipe's buffer, and than a batch."""
    outbox = MemoryOutbox()
    outbox.add(3, size=400_000)
    outbox.add(1, size=1_500_000)
    await run(receiver.sink(), outbox)
    assert receiver.taken() == bodies(outbox)


async def test_an_outage_is_transient_and_loses_nothing(receiver: Receiver):
    """It begins after the sink was opened, and ends while events wait."""
    outbox = MemoryOutbox()
    outbox.add(2)
    sink = receiver.sink()
    while (sent := await sink.send(outbox.events)).count == 0:
        pass
    await outbox.advance(sink.name, 2, sent.checkpoint)
    outbox.add(3)
    receiver.fail()
    with pytest.raises(SinkUnavailableError) as caught:
        await sink.send(outbox.events[2:])
    assert "asset" not in str(caught.value), "an event's content is in the error"
    receiver.recover()
    while (sent := await sink.send(outbox.events[2:])).count == 0:
        pass
    await outbox.advance(sink.name, 5, sent.checkpoint)
    await sink.close()
    assert receiver.taken() == bodies(outbox)


async def test_a_name_is_the_same_after_a_restart(receiver: Receiver):
    """The outbox knows the sink by it."""
    one, other = receiver.sink(), receiver.sink()
    assert one.name == other.name
    await one.close()
    await other.close()


async def test_a_sink_counts_no_more_than_it_was_sent(receiver: Receiver):
    """And asks at most once for a checkpoint to be recorded before it makes progress."""
    sink = receiver.sink()
    sink.resume(None)
    counts = [(await sink.send([stored(1), stored(2)])).count for _ in range(2)]
    await sink.close()
    assert counts in ([2, 2], [0, 2])


async def test_a_sink_that_sent_nothing_can_be_closed(receiver: Receiver):
    """And one that has nothing to send touches nothing."""
    await run(receiver.sink(), MemoryOutbox())
    assert receiver.taken() == []
