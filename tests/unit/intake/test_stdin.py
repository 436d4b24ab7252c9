"""stdin: whatever it is, read to its end or to the stop."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake import stdin
from asset_worker.intake.splitter import LINE_BYTES_LIMIT
from asset_worker.intake.stdin import CHUNK_BYTES, StdinIntake
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from tests.doubles.intake import BatchReceiver
from tests.doubles.threads import InlineThread

GRACE = 30.0
"""Real seconds. Only a test that fails waits this long."""


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def write(self, data: bytes) -> None:
        os.write(self.writer, data)

    def end(self) -> None:
        with suppress(OSError):
            os.close(self.writer)

    def close(self) -> None:
        self.end()
        for thread in threading.enumerate():
            if thread.name == "stdin":  # it would read on from whatever gets the descriptor's number next
                thread.join(GRACE)
        os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


async def run(descriptor: int, receiver: BatchReceiver, stop: Stop | None = None) -> None:
    """To the end, in a thread as in the service."""
    async with asyncio.timeout(GRACE):
        await StdinIntake(descriptor, receiver, DaemonThread("stdin")).run(stop or Stop())


async def until(receiver: BatchReceiver, count: int) -> None:
    async with asyncio.timeout(GRACE):
        while len(receiver.ids) < count:
            await receiver.changed()


async def test_a_pipe_is_read_to_its_end(pipe: Pipe):
    receiver = BatchReceiver()
    pipe.write(b"a1\n# comment\n\na2\n../bad\na3\n")
    pipe.end()
    await run(pipe.reader, receiver)
    assert receiver.ids == ["a1", "a2", "a3"]
    assert receiver.rejections == [(5, b"../bad")]
    assert [submission.source for submission in receiver.batches[0].submissions] == ["stdin:1", "stdin:4", "stdin:6"]
    assert receiver.positions == {}


async def test_lines_are_accepted_while_the_pipe_stays_open(pipe: Pipe):
    receiver = BatchReceiver()
    running = asyncio.create_task(run(pipe.reader, receiver))
    pipe.write(b"a1\nab")
    await until(receiver, 1)
    pipe.write(b"cd\n")
    await until(receiver, 2)
    pipe.end()
    await running
    assert receiver.ids == ["a1", "abcd"]


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\n", [], id="a blank line"),
        pytest.param(b"a1\na2", ["a1", "a2"], id="a last line without newline"),
        pytest.param(b"\xef\xbb\xbfa1\r\na2\r\n", ["a1", "a2"], id="a byte-order mark and CRLF"),
        pytest.param(b"# only a comment", [], id="a comment without newline"),
    ],
)
async def test_an_input_that_ends_at_once_is_read(pipe: Pipe, data: bytes, ids: list[str]):
    receiver = BatchReceiver()
    pipe.write(data)
    pipe.end()
    await run(pipe.reader, receiver)
    assert receiver.ids == ids


async def test_dev_null_has_ended():
    """A sidecar's usual stdin."""
    receiver = BatchReceiver()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        await run(descriptor, receiver)
    finally:
        os.close(descriptor)
    assert receiver.batches == []


async def test_a_regular_file_is_read_to_its_end(tmp_path: Path):
    path = tmp_path / "ids"
    ids = [f"asset{number:06}" for number in range(3 * CHUNK_BYTES // 12)]
    path.write_text("\n".join(ids))
    receiver = BatchReceiver()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        await run(descriptor, receiver)
    finally:
        os.close(descriptor)
    assert receiver.ids == ids


async def test_a_terminal_that_goes_away_has_ended():
    leader, follower = os.openpty()
    os.write(leader, b"a1\n")
    receiver = BatchReceiver()
    running = asyncio.create_task(run(follower, receiver))
    await until(receiver, 1)
    os.close(leader)
    await running
    os.close(follower)
    assert receiver.ids == ["a1"]


async def test_a_descriptor_that_is_closed_has_ended(pipe: Pipe):
    """As when the program is started with `<&-`."""
    receiver = BatchReceiver()
    closed = os.dup(pipe.reader)
    os.close(closed)
    await run(closed, receiver)
    assert receiver.batches == []


class NotingOs:
    """`os`, where a read that finds nothing yet is recorded."""

    def __init__(self) -> None:
        self.found_nothing = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def read(self, descriptor: int, size: int) -> bytes:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            self.found_nothing.set()
            raise


async def test_a_pipe_that_was_made_non_blocking_is_waited_for(pipe: Pipe, monkeypatch: pytest.MonkeyPatch):
    """Whoever shares it may do that; nothing there yet is not the end."""
    noting = NotingOs()
    monkeypatch.setattr(stdin, "os", noting)
    os.set_blocking(pipe.reader, False)
    receiver = BatchReceiver()
    running = asyncio.create_task(run(pipe.reader, receiver))
    assert await asyncio.to_thread(noting.found_nothing.wait, GRACE)
    pipe.write(b"a1\n")
    await until(receiver, 1)
    pipe.end()
    await running
    assert receiver.ids == ["a1"]


async def test_a_pipe_that_never_ends_does_not_hold_up_the_stop(pipe: Pipe):
    receiver, stop = BatchReceiver(), Stop()
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    pipe.write(b"a1\npartial")
    await until(receiver, 1)
    stop.set("test")
    await running
    assert receiver.ids == ["a1"]


async def test_a_stop_before_the_start_reads_nothing(pipe: Pipe):
    receiver, stop = BatchReceiver(), Stop()
    pipe.write(b"a1\n")
    stop.set("test")
    await run(pipe.reader, receiver, stop)
    assert receiver.batches == []


@pytest.mark.virtual_time
async def test_no_more_is_read_than_there_is_room_for(pipe: Pipe):
    receiver = BatchReceiver(room=2)
    pipe.write(b"a1\na2\n!\na3\na4\na5\n")
    pipe.end()
    intake = StdinIntake(pipe.reader, receiver, InlineThread())
    running = asyncio.create_task(intake.run(Stop()))
    await asyncio.sleep(0.01)
    assert receiver.ids == ["a1", "a2"]
    receiver.make_room(1)
    await asyncio.sleep(0.01)
    assert receiver.ids == ["a1", "a2", "a3"]
    receiver.make_room(100)
    await running
    assert receiver.ids == ["a1", "a2", "a3", "a4", "a5"]
    assert [submission.line for batch in receiver.batches for submission in batch.submissions] == [1, 2, 4, 5, 6]
    assert receiver.rejections == [(3, b"!")]


async def test_a_stop_while_there_is_no_room_ends_the_reading(pipe: Pipe):
    receiver, stop = BatchReceiver(room=0), Stop()
    pipe.write(b"a1\n")
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    async with asyncio.timeout(GRACE):
        await receiver.asked_for_room.wait()
    stop.set("test")
    await running
    assert receiver.batches == []


async def test_a_line_that_is_too_long_is_rejected_and_the_next_one_read(tmp_path: Path):
    path = tmp_path / "ids"
    path.write_bytes(b"x" * 300_000 + b"\na1\n" + b"y" * 300_000)
    receiver = BatchReceiver()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        await run(descriptor, receiver)
    finally:
        os.close(descriptor)
    assert receiver.ids == ["a1"]
    assert receiver.rejections == [(1, b"x" * 1024), (3, b"y" * 1024)]


async def test_an_id_followed_by_more_blanks_than_a_line_may_hold_is_rejected(tmp_path: Path):
    """What is kept of such a line is an ID, and not the whole."""
    path = tmp_path / "ids"
    path.write_bytes((b"a1" + b" " * 70 * 1024 + b"\n") * 2 + b"a2\n")
    receiver = BatchReceiver()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        await run(descriptor, receiver)
    finally:
        os.close(descriptor)
    assert receiver.ids == ["a2"]
    assert receiver.rejections == [(1, b"a1".ljust(1024)), (2, b"a1".ljust(1024))]
    reasons = [found.reason for batch in receiver.batches for found in batch.rejections]
    assert all(str(LINE_BYTES_LIMIT) in reason for reason in reasons)


async def test_the_same_bad_line_of_another_run_is_another_rejection():
    keys = []
    for _ in range(2):
        pipe, receiver = Pipe(), BatchReceiver()
        pipe.write(b"!\n!\n")
        pipe.end()
        await run(pipe.reader, receiver)
        keys += [found.key for found in receiver.batches[0].rejections]
        pipe.close()
    assert len(set(keys)) == 4
