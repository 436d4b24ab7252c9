"""What a file sink makes of its target as it is written, and of what takes the place of its file."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops while a test looks at its files

import errno
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks import registry
from asset_worker.sinks.file import sink as file_sink
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import SinkContext, SinkUnavailableError
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import FaultyOs, MemoryOutbox, stored
from tests.doubles.threads import InlineThread
from tests.unit.sinks.test_writes_to import knows, send


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def counts(sink: FileSink, *positions: int, calls: int) -> list[int]:
    """What each of some calls counts as sent."""
    return [(await sink.send([stored(each) for each in positions])).count for _ in range(calls)]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param("./-", "./-", id="as a path it would be stdout"),
        pytest.param("events//a", "events//a", id="as it is written"),
        pytest.param("~/events", "/home/ada/events", id="the home directory"),
        pytest.param("a~", "a~", id="a tilde elsewhere"),
    ],
)
async def test_a_target_is_kept_as_it_is_written_but_for_the_home_directory(monkeypatch, written: str, kept: str):
    monkeypatch.setenv("HOME", "/home/ada")
    assert registry.checked_target(written) == kept


async def test_a_target_is_opened_as_a_file_of_that_name(monkeypatch, tmp_path: Path):
    """Also one that nobody has checked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    sink = registry.open_sink("~/events", SinkContext(ManualClock(), Secrets()))
    assert sink.name == f"file:{tmp_path}/events"
    await sink.close()


async def test_a_file_in_place_of_a_pipe_is_written_to_as_a_file(path: Path):
    """Its end is recorded first, so that nothing is repeated after a crash."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(path, InlineThread())
    assert await counts(sink, 1, calls=1) == [1]
    path.unlink()
    assert await counts(sink, 2, calls=2) == [0, 1]
    assert path.read_bytes() == stored(2).body + b"\n"
    await sink.close()
    os.close(reader)


async def test_after_a_restart_without_the_file_one_record_is_enough_to_go_on(path: Path):
    """That of the new file's end."""
    sink, outbox = FileSink(path, InlineThread()), MemoryOutbox()
    checkpoint = await send(sink, outbox)
    await sink.close()
    path.unlink()
    sink = FileSink(path, InlineThread())
    sink.resume(checkpoint)
    assert await counts(sink, 2, 3, calls=2) == [0, 2]
    await sink.close()


@pytest.mark.parametrize("call", ["write", "fdatasync"])
async def test_after_a_write_that_was_taken_back_the_next_one_sends_at_once(path: Path, call: str):
    """It is known what the file holds: nothing has to be searched or recorded."""
    sink = FileSink(path, InlineThread())
    assert await counts(sink, 1, calls=2) == [0, 1]

    def before(name: str, *_: object) -> None:
        if name == call:
            raise OSError(errno.EIO, "Input/output error")

    with patch.object(file_sink, "os", FaultyOs(before)), pytest.raises(SinkUnavailableError):
        await sink.send([stored(2)])
    assert await counts(sink, 2, calls=1) == [1]
    assert path.read_bytes() == stored(1).body + b"\n" + stored(2).body + b"\n"
    await sink.close()


async def test_a_copy_of_a_rotated_file_is_no_file_of_ours(path: Path, tmp_path: Path):
    sink, outbox = FileSink(path, InlineThread()), MemoryOutbox()
    await send(sink, outbox)
    rotated, copy = path.rename(tmp_path / "1"), tmp_path / "copy"
    copy.write_bytes(rotated.read_bytes())
    await send(sink, outbox)
    assert [knows(sink, each) for each in (rotated, copy)] == [True, False]
    await sink.close()


async def test_a_file_of_another_program_in_place_of_ours_is_not_known_by_a_check(path: Path, tmp_path: Path):
    """Only before anything was sent, the file at the path is the one of an earlier run."""
    sink, outbox = FileSink(path, InlineThread()), MemoryOutbox()
    await send(sink, outbox)
    rotated = path.rename(tmp_path / "1")
    path.write_bytes(b"other\n")
    await sink.check()
    assert [knows(sink, each) for each in (rotated, path)] == [True, False]
    await sink.close()


async def test_a_closed_file_is_known_by_what_it_holds(path: Path):
    """Its inode alone may be that of another file by then."""
    sink, outbox = FileSink(path, InlineThread()), MemoryOutbox()
    await send(sink, outbox)
    await sink.close()
    assert knows(sink, path)
    path.write_bytes(b"a new queue file\n" * 1000)
    assert not knows(sink, path)
