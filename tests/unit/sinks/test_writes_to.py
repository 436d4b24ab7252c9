"""Which files a sink knows as its own, so that none of them is read as a queue file."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops while a test looks at its files

import os
from pathlib import Path

import pytest

from asset_worker.sinks.file.sink import LEFT_KEPT, FileSink
from asset_worker.sinks.stdout import StdoutSink
from asset_worker.wiring import output_of
from tests.doubles.outbox import MemoryOutbox
from tests.doubles.threads import InlineThread


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def knows(sink: FileSink | StdoutSink, path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sink.writes_to(descriptor)
    finally:
        os.close(descriptor)


async def send(sink: FileSink, outbox: MemoryOutbox) -> bytes | None:
    """Send one more event; return the last checkpoint."""
    outbox.add(1)
    while not (sent := await sink.send(outbox.events[-1:])).count:
        pass
    return sent.checkpoint


async def test_the_file_is_known_under_every_name_and_others_are_not(path: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.write_text("")
    sink = FileSink(path, InlineThread())
    await send(sink, MemoryOutbox())
    (tmp_path / "link").hardlink_to(path)
    assert [knows(sink, each) for each in (path, tmp_path / "link", other)] == [True, True, False]
    path.unlink()
    assert knows(sink, tmp_path / "link")
    await sink.close()


async def test_it_is_known_before_the_first_event_is_in_it(path: Path, monkeypatch: pytest.MonkeyPatch):
    path.write_text("")
    sink = FileSink(path, InlineThread())
    known: list[bool] = []
    write = os.write

    def noting(descriptor: int, data: bytes) -> int:
        known.append(knows(sink, path))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", noting)
    await send(sink, MemoryOutbox())
    assert known == [True]
    await sink.close()


async def test_files_that_were_rotated_are_known_until_their_inodes_are_reused(path: Path, tmp_path: Path):
    sink, outbox = FileSink(path, InlineThread()), MemoryOutbox()
    rotated = []
    for number in range(LEFT_KEPT + 1):
        await send(sink, outbox)
        rotated.append(path.rename(tmp_path / str(number)))
    await send(sink, outbox)
    assert [knows(sink, each) for each in rotated] == [False] + [True] * LEFT_KEPT
    rotated[-1].write_text("a new queue file\n" * 1000)
    assert not knows(sink, rotated[-1])
    await sink.close()


@pytest.mark.parametrize("how", ["its checkpoint", "a check"])
async def test_the_file_of_an_earlier_run_is_known_before_it_is_opened(path: Path, how: str):
    before = FileSink(path, InlineThread())
    checkpoint = await send(before, MemoryOutbox())
    await before.close()
    sink = FileSink(path, InlineThread())
    assert not knows(sink, path)
    if how == "a check":
        await sink.check()
    else:
        sink.resume(checkpoint)
        path = path.rename(path.with_suffix(".1"))
    assert knows(sink, path)
    await sink.close()


async def test_an_empty_file_from_before_is_no_file_of_ours(path: Path):
    """Nothing in it could be read, and its inode may be reused."""
    path.write_text("")
    sink = FileSink(path, InlineThread())
    await sink.check()
    assert not knows(sink, path)
    await sink.close()


async def test_standard_streams_are_outputs_wherever_events_go(path: Path, monkeypatch: pytest.MonkeyPatch):
    """The log goes to standard error."""
    path.write_text("")
    descriptor = os.open(path, os.O_RDWR)
    sink = StdoutSink(InlineThread(), fd=descriptor)
    assert knows(sink, path)
    is_same = os.path.sameopenfile
    for stream, expected in ((1, True), (2, True), (3, False)):
        monkeypatch.setattr(
            os.path, "sameopenfile", lambda one, other, stream=stream: is_same(descriptor, other) and one == stream
        )
        assert output_of([])(descriptor) == expected
    monkeypatch.undo()
    assert output_of([sink])(descriptor)
    assert not output_of([])(descriptor)
    os.close(descriptor)
