"""A pipe of log lines, and a reader that stops reading."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from asset_worker.telemetry.pipe_writer import ATOMIC_BYTES, PipeWriter, is_pipe


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def fill(self) -> int:
        """Write until the pipe is full; return how many bytes went in."""
        os.set_blocking(self.writer, False)
        count = 0
        try:
            while True:
                count += os.write(self.writer, bytes(ATOMIC_BYTES))
        except BlockingIOError:
            os.set_blocking(self.writer, True)
            return count

    def read(self, size: int = 1 << 20) -> bytes:
        data = b""
        try:
            while len(data) < size and (more := os.read(self.reader, size - len(data))):
                data += more
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    it = Pipe()
    yield it
    os.close(it.reader)
    os.close(it.writer)


def test_lines_go_through(pipe: Pipe):
    writer = PipeWriter(pipe.writer)
    writer.write("one")
    writer.write("zwei: \u00fc, \ud800")
    assert pipe.read() == b"one\nzwei: \xc3\xbc, \\ud800\n"
    assert writer.dropped == 0


def test_a_line_that_a_full_pipe_does_not_take_is_dropped_and_counted(pipe: Pipe):
    """Waiting would block the whole worker."""
    filled = pipe.fill()
    writer = PipeWriter(pipe.writer, timeout=0.01)
    writer.write("lost")
    writer.write("lost as well")
    assert (writer.dropped, writer.is_stalled) == (2, True)
    pipe.read(filled)
    writer.write("after")
    assert pipe.read() == b"after\n"
    assert (writer.dropped, writer.is_stalled) == (2, False)


def test_a_stalled_reader_is_waited_for_only_once(pipe: Pipe, monkeypatch: pytest.MonkeyPatch):
    """Otherwise each line would block the event loop for as long."""
    waits: list[float] = []

    class Poll:
        def register(self, descriptor: int, events: int) -> None:
            assert (descriptor, events) == (pipe.writer, select.POLLOUT)

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            waits.append(milliseconds)
            return []

    monkeypatch.setattr(select, "poll", Poll)
    writer = PipeWriter(pipe.writer, timeout=0.01)
    for number in range(3):
        writer.write(f"{number}")
    assert waits == [10, 0, 0]


def test_a_partial_line_ends_before_the_next(pipe: Pipe):
    """A reader of lines drops one, not two."""
    filled = pipe.fill()
    pipe.read(ATOMIC_BYTES)
    writer = PipeWriter(pipe.writer, timeout=0.01)
    writer.write("x" * 3 * ATOMIC_BYTES)
    assert writer.dropped == 1
    pipe.read(filled - ATOMIC_BYTES)
    writer.write("next")
    partial, following, rest = pipe.read().split(b"\n")
    assert partial == b"x" * ATOMIC_BYTES
    assert (following, rest) == (b"next", b"")


def test_a_reader_that_has_gone_raises_an_error(pipe: Pipe):
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        PipeWriter(writer).write("nobody")
    os.close(writer)


def test_only_pipes_and_sockets_have_readers(pipe: Pipe, tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert [is_pipe(pipe.writer), is_pipe(file.fileno()), is_pipe(10_000)] == [True, False, False]
