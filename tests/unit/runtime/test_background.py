"""The background writer: readers that stop, go on, are slow or gone; and a caller who never waits for them."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.background import PIECE_BYTES, BackgroundWriter
from asset_worker.runtime.line_stream import LineStream

PATIENCE = 30.0
"""Real seconds. Only a test that fails waits this long."""


class Output:
    """A stream that takes what a script lets it take."""

    def __init__(self) -> None:
        self.pieces: list[Sequence[bytes]] = []
        self.entered = threading.Semaphore(0)
        self.permitted = threading.Semaphore(0)
        self.fails: Callable[[Sequence[bytes]], int | None] = lambda _: None

    def write(self, lines: Sequence[bytes]) -> int:
        self.entered.release()
        assert self.permitted.acquire(timeout=PATIENCE)
        taken = self.fails(lines)
        if taken == 0:
            raise OSError(errno.EIO, "Input/output error")
        taken = len(lines) if taken is None else taken
        self.pieces.append(lines[:taken])
        return taken

    def open(self) -> None:
        """Take everything from now on."""
        for _ in range(2_000):
            self.permitted.release()

    @property
    def lines(self) -> list[bytes]:
        return [line for piece in self.pieces for line in piece]


def background(output, **options) -> BackgroundWriter:
    writer = BackgroundWriter(output, **options)
    writer.report_dropped = lambda count: writer.write(b"dropped %d\n" % count)
    return writer


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_lines_come_out_in_order_and_several_at_once():
    output = Output()
    writer = background(output)
    lines = [b"%04d\n" % number for number in range(1000)]
    writer.write(lines[0])
    assert output.entered.acquire(timeout=PATIENCE)
    for line in lines[1:]:
        writer.write(line)
    output.open()
    writer.drain(stall=PATIENCE)
    assert output.lines == lines
    assert [sum(map(len, piece)) for piece in output.pieces] == [5, 4095, 900]
    assert not writer.is_behind


def test_what_does_not_fit_is_dropped_counted_and_reported_where_it_is_missing():
    output = Output()
    writer = background(output, queue_bytes=100)
    writer.write(b"line 0000\n")
    assert output.entered.acquire(timeout=PATIENCE)
    for number in range(1, 30):  # of 10 bytes: ten fit
        writer.write(b"line %04d\n" % number)
    output.permitted.release()
    until(lambda: output.pieces)
    writer.write(b"also lost\n")  # half of the queue is not free yet
    output.open()
    until(lambda: b"dropped 21\n" in output.lines)
    writer.write(b"afterwards\n")
    writer.drain(stall=PATIENCE)
    assert output.lines == [*(b"line %04d\n" % number for number in range(10)), b"dropped 21\n", b"afterwards\n"]


def test_one_line_longer_than_the_queue_is_written_if_nothing_else_waits():
    output = Output()
    writer = background(output, queue_bytes=100)
    output.open()
    writer.write(b"x" * 5 * PIECE_BYTES + b"\n")
    writer.drain(stall=PATIENCE)
    assert [len(line) for line in output.lines] == [5 * PIECE_BYTES + 1]


def test_lines_that_can_not_be_written_are_counted_and_reported_when_it_works_again():
    """A disk that is full, and then is not."""
    output = Output()
    output.open()
    writer = background(output)
    output.fails = lambda _: 0
    for _ in range(3):
        writer.write(b"lost\n")
    until(lambda: not writer.is_behind)
    output.fails = lambda _: None
    writer.write(b"here\n")
    until(lambda: len(output.lines) == 2)
    assert output.lines == [b"here\n", b"dropped 3\n"]


def test_the_end_waits_for_a_reader_that_reads_and_not_for_one_that_does_not():
    output = Output()
    writer = background(output)
    writer.write(b"one\n")
    assert output.entered.acquire(timeout=PATIENCE)
    writer.write(b"two\n")
    began = time.monotonic()
    writer.drain(stall=0.05, longest=PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    assert writer.is_behind
    threading.Timer(0.05, output.open).start()
    writer.drain(stall=PATIENCE)
    assert output.lines == [b"one\n", b"two\n"]
    began = time.monotonic()
    output.permitted = threading.Semaphore(0)
    writer.write(b"three\n")
    writer.drain(stall=PATIENCE, longest=0.05)
    assert time.monotonic() - began < PATIENCE / 2
    output.open()


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    steps=st.lists(st.integers(0, 3), max_size=60),
)
def test_memory_is_bounded_order_is_kept_and_what_is_missing_is_counted(sizes: list[int], steps: list[int]):
    """Whatever is written, and whenever the reader reads."""
    output = Output()
    reports: list[int] = []
    writer = BackgroundWriter(output, queue_bytes=1000)
    writer.report_dropped = reports.append
    written = [b"%03d" % number + b"x" * size + b"\n" for number, size in enumerate(sizes)]
    for line, permits in zip(written, steps + [0] * len(written), strict=False):
        writer.write(line)
        assert writer._held <= 1000
        for _ in range(permits):
            output.permitted.release()
    output.open()
    writer.write(b"last\n")  # perhaps dropped as well; the report comes before or after it
    writer.drain(stall=PATIENCE)
    until(lambda: len(output.lines) + sum(reports) == len(written) + 1)
    assert output.lines == [line for line in [*written, b"last\n"] if line in output.lines]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield master, slave
    os.close(slave)
    os.close(master)


def read_lines(reader: int, count: int) -> list[bytes]:
    found = b""
    while found.count(b"\n") < count:
        assert select.select([reader], [], [], PATIENCE)[0], found[-200:]
        found += os.read(reader, 65_536)
    return found.splitlines(keepends=True)


def test_a_terminal_that_is_stopped_blocks_nobody_and_gets_its_lines_when_it_goes_on(terminal: tuple[int, int]):
    """Ctrl-S and Ctrl-Q."""
    master, slave = terminal
    termios.tcflow(slave, termios.TCOOFF)
    writer = background(LineStream(slave), queue_bytes=20_000)
    lines = [b"line %06d: %s\n" % (number, b"x" * 80) for number in range(1000)]
    for line in lines:
        writer.write(line)
    assert writer.is_behind
    termios.tcflow(slave, termios.TCOON)
    kept = 20_000 // len(lines[0])
    found = read_lines(master, kept + 1)
    assert found == [*lines[:kept], b"dropped %d\n" % (1000 - kept)]


def test_a_terminal_that_is_gone_blocks_nobody():
    """Its end is an error of each write, not of the worker."""
    master, slave = pty.openpty()
    os.close(master)
    writer = background(LineStream(slave))
    for _ in range(100):
        writer.write(b"nobody\n")
    writer.drain(stall=PATIENCE)
    assert not writer.is_behind
    os.close(slave)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_burst_for_a_slow_reader_is_kept(kind: str):
    if kind == "pipe":
        reader, fd = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reader, fd = ours.detach(), theirs.detach()
    writer = background(LineStream(fd))
    lines = [b"line %06d: %s\n" % (number, b"x" * 240) for number in range(1000)]
    began = time.monotonic()
    for line in lines:
        writer.write(line)
    assert time.monotonic() - began < PATIENCE / 2
    assert read_lines(reader, 1000) == lines
    os.close(fd)
    os.close(reader)


def test_streams_to_the_same_file_do_not_write_within_each_others_lines():
    """As with `2>&1`: the log must not appear in the middle of an event."""
    reader, fd = os.pipe()
    other = os.dup(fd)
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)
    log, events = background(LineStream(fd)), LineStream(other)
    lines = [b"event %03d: %s\n" % (number, b"e" * 6000) for number in range(50)]
    sending = threading.Thread(target=lambda: [events.write([line]) for line in lines], daemon=True)
    sending.start()
    for number in range(200):
        log.write(b"log %03d: %s\n" % (number, b"l" * 100))
    found = read_lines(reader, 250)
    assert sorted(found) == sorted([*lines, *(b"log %03d: %s\n" % (number, b"l" * 100) for number in range(200))])
    for each in (reader, fd, other):
        os.close(each)
