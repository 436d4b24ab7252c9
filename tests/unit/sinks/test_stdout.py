"""Standard output: readers that are slow, gone or full, and writes that fail half-way."""

import asyncio
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections import deque
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime import line_stream
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.lines import encode
from asset_worker.sinks.ports import SinkUnavailableError
from asset_worker.sinks.stdout import StdoutSink
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import (
    PATIENCE,
    FaultyOs,
    InstantSleep,
    MemoryOutbox,
    stored,
    until_readable,
)
from tests.doubles.threads import InlineThread

ROOT = Path(__file__).parents[3]


def stopped() -> Stop:
    stop = Stop()
    stop.set("test")
    return stop


@pytest.mark.virtual_time
async def test_a_gone_reader_is_an_outage_that_loses_nothing():
    """EPIPE: retried, logged, and kept."""
    reader, writer = os.pipe()
    os.close(reader)
    sink = StdoutSink(InlineThread(), fd=writer)
    with pytest.raises(SinkUnavailableError, match="standard output: Broken pipe"):
        await sink.send([stored(1)])
    outbox = MemoryOutbox()
    outbox.add(2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Delivery(sink, outbox, ManualClock()).run(stopped()), 25)
    assert outbox.depth("stdout") == 2
    os.close(writer)


async def test_a_full_device_is_an_outage_and_a_closed_one_too():
    """ENOSPC and EBADF."""
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(SinkUnavailableError, match="No space left on device"):
        await StdoutSink(InlineThread(), fd=full).send([stored(1)])
    os.close(full)
    with pytest.raises(SinkUnavailableError, match="Bad file descriptor"):
        await StdoutSink(InlineThread(), fd=-1).send([stored(1)])


async def test_an_output_closed_at_the_start_never_becomes_another_file(monkeypatch: pytest.MonkeyPatch):
    """Descriptor 1 is then whatever was opened first."""
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(SinkUnavailableError, match="Bad file descriptor"):
        await StdoutSink(InlineThread()).send([stored(1)])


async def test_a_slow_reader_blocks_its_own_thread_only():
    """The loop goes on, other sinks too; when the reader goes on, so do the events, in order."""
    reader, writer = os.pipe()
    outbox, stop = MemoryOutbox(), Stop()
    outbox.add(10, size=100_000)
    delivery = Delivery(StdoutSink(DaemonThread("stdout"), fd=writer), outbox, ManualClock(), sleep=InstantSleep())
    running = asyncio.create_task(delivery.run(stop))
    await until_readable(reader)
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert (delivery.delivered, running.done()) == (0, False)
    stop.set("test")
    taken = b""
    expected = encode(outbox.events)
    while len(taken) < len(expected):
        taken += await asyncio.to_thread(os.read, reader, 1 << 16)
    await running
    assert taken == expected
    os.close(reader)
    os.close(writer)


async def test_a_non_blocking_output_is_waited_for():
    """Another process that shares the pipe may have made it so."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    events = [stored(position, size=1000) for position in range(1, 21)]
    thread = DaemonThread("stdout")
    sending = asyncio.create_task(StdoutSink(thread, fd=writer).send(events))
    taken = b""
    while len(taken) < len(encode(events)):
        taken += await asyncio.to_thread(os.read, reader, 1500)
    assert (await sending).count == 20
    assert taken == encode(events)
    thread.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("after_stop", [False, True], ids=["while it runs", "while it drains"])
def test_a_stop_while_a_write_is_blocked_does_not_hold_the_process(after_stop: bool):
    """A real process whose reader reads nothing ends as soon as its grace has."""
    script = textwrap.dedent(
        f"""
        import asyncio, signal
        from tests.doubles.clocks import ManualClock
        from tests.doubles.outbox import MemoryOutbox
        from asset_worker.runtime.threads import DaemonThread
        from asset_worker.sinks.delivery import Delivery
        from asset_worker.sinks.stdout import StdoutSink
        from asset_worker.runtime.stop import Stop
        import sys
        async def main():
            outbox, stop = MemoryOutbox(), Stop()
            outbox.add(10, size=100_000)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set, "SIGTERM")
            delivery = Delivery(StdoutSink(DaemonThread("stdout")), outbox, ManualClock())
            task = asyncio.create_task(delivery.run(stop))
            await stop.wait()
            await asyncio.wait([task], timeout={0.1 if after_stop else 0})
            task.cancel()
            await asyncio.wait([task])
            sys.exit(7 if outbox.depth("stdout") == 10 else 8)
        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            written, _, _ = select.select([process.stdout], [], [], PATIENCE)
            assert written, "it is not blocked"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 7
        finally:
            process.kill()


@pytest.mark.parametrize("cut", range(3 * len(stored(1).body) + 3))
async def test_a_write_that_fails_after_any_byte_leaves_no_joined_line(tmp_path: Path, cut: int):
    """What was written whole is not sent again; the partial line is ended before it is."""
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    script: deque[int | OSError] = deque([cut, OSError(errno.EPIPE, "Broken pipe")] if cut else [OSError(5, "EIO")])

    def before(call: str, *_: object) -> int | None:
        step = script.popleft() if script else None
        if isinstance(step, OSError):
            raise step
        return step

    outbox = MemoryOutbox()
    outbox.add(3)
    sink = StdoutSink(InlineThread(), fd=fd)
    with patch.object(line_stream, "os", FaultyOs(before)):
        await Delivery(sink, outbox, ManualClock(), sleep=InstantSleep()).run(stopped())
    os.close(fd)
    bodies = [event.body for event in outbox.events]
    found = (tmp_path / "out").read_bytes().splitlines()
    event, byte = divmod(cut, len(bodies[0]) + 1)
    partial = [bodies[event][:byte]] if byte else []
    assert found == bodies[:event] + partial + bodies[event:]


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    steps=st.lists(
        st.one_of(st.integers(0, 120), st.sampled_from([errno.EPIPE, errno.ENOSPC, errno.EIO]).map(OSError))
    ),
)
def test_any_sequence_of_short_and_failed_writes(sizes: list[int], steps: list[int | OSError]):
    """At least once, in order; each broken line is one that a failure cut, and comes again whole."""
    output = bytearray()
    script = deque(steps)
    failures = 0

    class Output:
        """`os`, as far as a line stream needs it."""

        strerror = staticmethod(os.strerror)

        @staticmethod
        def write(fd: int, data: memoryview) -> int:
            nonlocal failures
            step = script.popleft() if script else len(data)
            if isinstance(step, OSError) or not step:
                failures += 1
                if isinstance(step, OSError):
                    raise step
                return 0
            output.extend(data[:step])
            return min(step, len(data))

    events = [stored(position, size=size) for position, size in enumerate(sizes, 1)]
    outbox = MemoryOutbox(events)
    sink = StdoutSink(InlineThread(), fd=1)
    with patch.object(line_stream, "os", Output):
        asyncio.run(Delivery(sink, outbox, ManualClock(), sleep=InstantSleep()).run(stopped()))
    bodies = [event.body for event in events]
    assert output.endswith(b"\n")
    found = bytes(output).split(b"\n")[:-1]
    whole = [line for line in found if line in bodies]
    assert list(dict.fromkeys(whole)) == bodies
    for position, line in enumerate(found):
        if line not in bodies:
            failures -= 1
            assert any(later in bodies and later.startswith(line) for later in found[position:])
    assert failures >= 0, "more broken lines than failures"
    assert len(whole) - len(bodies) <= sum(isinstance(step, OSError) or not step for step in steps)
