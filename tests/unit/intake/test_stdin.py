"""stdin: whatever it is, read to its end or to the stop; what was read is accepted, or logged."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.submissions import Batch
from asset_worker.intake import descriptor as descriptor_module
from asset_worker.intake.descriptor import CHUNK_BYTES
from asset_worker.intake.splitter import LINE_BYTES_LIMIT
from asset_worker.intake.stdin import StdinIntake
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from tests.doubles.intake import BatchReceiver
from tests.doubles.threads import InlineThread

GRACE = 30.0
"""Real seconds. Only a test that fails waits this long."""


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.threads_of_others = set(threading.enumerate())

    def write(self, data: bytes) -> None:
        os.write(self.writer, data)

    def end(self) -> None:
        with suppress(OSError):
            os.close(self.writer)

    def close(self) -> None:
        self.end()
        for thread in set(threading.enumerate()) - self.threads_of_others:
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
        pytest.param(b"a1\nx2", ["a1", "x2"], id="a last line without newline"),
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


class FailingOs:
    """`os`, where reading fails after some reads."""

    def __init__(self, error: OSError, after: int) -> None:
        self._error = error
        self._left = after

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def read(self, descriptor: int, size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return os.read(descriptor, size)


@pytest.mark.parametrize("number", [errno.EIO, errno.ECONNRESET, errno.ESTALE, errno.EISDIR])
async def test_an_error_is_not_the_end(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, number: int):
    """The partial line before it is rejected, even if it looks whole, and nobody takes the run for a complete one."""
    monkeypatch.setattr(descriptor_module, "os", FailingOs(OSError(number, os.strerror(number)), after=1))
    pipe.write(b"a1\n6298d673f1090f1100476d4c")
    pipe.end()
    receiver = BatchReceiver()
    intake = StdinIntake(pipe.reader, receiver, DaemonThread("stdin"))
    with capture_logs() as logs:
        async with asyncio.timeout(GRACE):
            await intake.run(Stop())
    assert receiver.ids == ["a1"]
    assert receiver.rejections == [(2, b"6298d673f1090f1100476d4c")]
    assert "incomplete" in receiver.batches[-1].rejections[0].reason
    assert [(log["event"], log["log_level"], log["error"]) for log in logs] == [
        ("intake.failed", "error", os.strerror(number))
    ]
    assert (intake.unreadable, intake.has_lost_input) == (os.strerror(number), True)


@pytest.mark.parametrize("text", [b"", b"# comment", b"  "])
async def test_a_comment_before_an_error_is_not_rejected(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, text: bytes):
    monkeypatch.setattr(descriptor_module, "os", FailingOs(OSError(errno.EIO, "broken"), after=1))
    pipe.write(b"a1\n" + text)
    pipe.end()
    receiver = BatchReceiver()
    await run(pipe.reader, receiver)
    assert (receiver.ids, receiver.rejections) == (["a1"], [])


async def test_a_descriptor_that_is_open_for_writing_only_is_an_error(pipe: Pipe):
    """A read end that never has data would be waited for without end."""
    intake = StdinIntake(pipe.writer, BatchReceiver(), DaemonThread("stdin"))
    async with asyncio.timeout(GRACE):
        await intake.run(Stop())
    assert intake.unreadable == "it is open for writing only"


async def test_a_descriptor_that_is_closed_is_an_error(pipe: Pipe):
    closed = os.dup(pipe.reader)
    intake = StdinIntake(closed, BatchReceiver(), DaemonThread("stdin"))
    os.close(closed)
    async with asyncio.timeout(GRACE):
        await intake.run(Stop())
    assert intake.unreadable == "Bad file descriptor"


async def test_an_input_that_was_read_to_its_end_has_lost_nothing(pipe: Pipe):
    pipe.write(b"a1\nx2")
    pipe.end()
    intake = StdinIntake(pipe.reader, BatchReceiver(), DaemonThread("stdin"))
    async with asyncio.timeout(GRACE):
        await intake.run(Stop())
    assert (intake.unreadable, intake.has_lost_input) == (None, False)


@pytest.mark.parametrize("text", [b"6298d673f109", b'{"asset_id":"a1"'])
async def test_the_end_ends_a_line_by_the_rule_of_partial_lines(pipe: Pipe, text: bytes):
    receiver = BatchReceiver()
    pipe.write(b"a1\n" + text)
    pipe.end()
    await run(pipe.reader, receiver)
    assert (receiver.ids, receiver.rejections) == (["a1"], [(2, text)])


class RobbedOs:
    """`os`, where another reader takes the data between the wait for it and the first read."""

    def __init__(self) -> None:
        self.has_read = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def read(self, descriptor: int, size: int) -> bytes:
        if not self.has_read.is_set():
            os.read(descriptor, size)
            self.has_read.set()
            raise BlockingIOError
        return os.read(descriptor, size)


async def test_a_pipe_that_was_made_non_blocking_and_has_another_reader_is_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
):
    """Nothing there any more is not the end."""
    robbed = RobbedOs()
    monkeypatch.setattr(descriptor_module, "os", robbed)
    os.set_blocking(pipe.reader, False)
    receiver = BatchReceiver()
    pipe.write(b"taken\n")
    running = asyncio.create_task(run(pipe.reader, receiver))
    assert await asyncio.to_thread(robbed.has_read.wait, GRACE)
    pipe.write(b"a1\n")
    await until(receiver, 1)
    pipe.end()
    await running
    assert receiver.ids == ["a1"]


async def test_a_pipe_that_never_ends_does_not_hold_up_the_stop(pipe: Pipe):
    receiver, stop = BatchReceiver(), Stop()
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    pipe.write(b"a1\n")
    await until(receiver, 1)
    stop.set("test")
    await running
    assert receiver.ids == ["a1"]


async def test_what_comes_after_the_stop_stays_for_the_next_reader(pipe: Pipe):
    """The thread must not take it while the rest of the process shuts down."""
    receiver, stop = BatchReceiver(), Stop()
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    pipe.write(b"a1\n")
    await until(receiver, 1)
    stop.set("test")
    await running
    pipe.write(b"a2\n")
    await asyncio.sleep(0.1)
    assert os.read(pipe.reader, 100) == b"a2\n"


async def test_the_line_in_which_the_stop_comes_is_read_to_its_end_and_nothing_more(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
):
    """A pipe that is full is read in pieces, which end somewhere. The next reader would take the rest for a line."""
    monkeypatch.setattr(descriptor_module, "CHUNK_BYTES", 5)
    receiver, stop = BatchReceiver(room=1), Stop()
    pipe.write(b"a1\nb2b2\nc3c3\nd4\n")
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    await until(receiver, 1)
    await asyncio.sleep(0.05)
    stop.set("test")
    await running
    assert receiver.ids == ["a1", "b2b2", "c3c3"]
    assert os.read(pipe.reader, 100) == b"d4\n"


async def test_the_last_line_in_which_the_stop_comes_ends_with_the_input(pipe: Pipe):
    receiver, stop = BatchReceiver(room=0), Stop()
    pipe.write(b"a1\nx2")
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    async with asyncio.timeout(GRACE):
        await receiver.asked_for_room.wait()
    pipe.end()
    stop.set("test")
    await running
    assert receiver.ids == ["a1", "x2"]


async def test_a_line_whose_end_has_not_come_at_the_stop_is_logged(pipe: Pipe):
    receiver, stop = BatchReceiver(), Stop()
    intake = StdinIntake(pipe.reader, receiver, DaemonThread("stdin"))
    running = asyncio.create_task(intake.run(stop))
    pipe.write(b"a1\npart\xff")
    await until(receiver, 1)
    stop.set("test")
    with capture_logs() as logs:
        await running
    assert receiver.ids == ["a1"]
    assert [(log["event"], log.get("source"), log.get("line"), log.get("count")) for log in logs] == [
        ("intake.not_accepted", "stdin:2", "part\\xff", None),
        ("intake.not_accepted", None, None, 1),
    ]
    assert "within this line" in logs[0]["reason"]
    assert intake.has_lost_input


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
    assert (receiver.ids, receiver.rejections) == (["a1", "a2"], [])
    receiver.make_room(1)
    await asyncio.sleep(0.01)
    assert (receiver.ids, receiver.rejections) == (["a1", "a2"], [(3, b"!")])
    receiver.make_room(1)
    await asyncio.sleep(0.01)
    assert receiver.ids == ["a1", "a2", "a3"]
    receiver.make_room(100)
    await running
    assert receiver.ids == ["a1", "a2", "a3", "a4", "a5"]
    assert [submission.line for batch in receiver.batches for submission in batch.submissions] == [1, 2, 4, 5, 6]
    assert receiver.rejections == [(3, b"!")]


async def test_what_was_read_is_accepted_at_the_stop_even_if_there_is_no_room(pipe: Pipe):
    """It can't be put back."""
    receiver, stop = BatchReceiver(room=2), Stop()
    pipe.write(b"a1\na2\n!\na3\na4\n")
    running = asyncio.create_task(run(pipe.reader, receiver, stop))
    await until(receiver, 2)
    await asyncio.sleep(0.05)
    assert receiver.ids == ["a1", "a2"]
    stop.set("test")
    await running
    assert receiver.ids == ["a1", "a2", "a3", "a4"]
    assert receiver.rejections == [(3, b"!")]
    assert [submission.line for batch in receiver.batches for submission in batch.submissions] == [1, 2, 4, 5]


class StuckReceiver(BatchReceiver):
    """Its disk is full after the first batch."""

    async def accept(self, batch: Batch) -> None:
        if self.batches:
            await asyncio.sleep(36_000)
        await super().accept(batch)


@pytest.mark.parametrize("how", ["cancelled at the end of the grace", "abandoned by a second signal"])
async def test_what_could_not_be_accepted_is_logged_line_by_line_and_counted(pipe: Pipe, how: str):
    receiver, stop = StuckReceiver(room=1), Stop()
    intake = StdinIntake(pipe.reader, receiver, DaemonThread("stdin"))
    pipe.write(b"a1\n# comment\n{bad\n\na5\nhalf")
    running = asyncio.create_task(intake.run(stop))
    await until(receiver, 1)
    stop.set("test")
    await asyncio.sleep(0.05)
    with capture_logs() as logs:
        if how.startswith("abandoned"):
            intake.abandon()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert [(log.get("source"), log.get("line"), log.get("count")) for log in logs] == [
        ("stdin:3", "{bad", None),
        ("stdin:5", "a5", None),
        ("stdin:6", "half", None),
        (None, None, 3),
    ]
    assert {(log["event"], log["log_level"]) for log in logs} == {("intake.not_accepted", "error")}
    assert intake.has_lost_input


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


async def test_zeros_are_no_part_of_a_line(pipe: Pipe):
    receiver = BatchReceiver()
    pipe.write(b"a1\n" + bytes(3000) + b"a2\n")
    pipe.end()
    await run(pipe.reader, receiver)
    assert (receiver.ids, receiver.rejections) == (["a1", "a2"], [])
    assert [run.count for batch in receiver.batches for run in batch.zeros] == [3000]


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
