"""How the file, pipe or device at a path is opened: which errors are told, and that nothing stays open."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from asset_worker.sinks.file import opening
from asset_worker.sinks.file.opening import checkpoint_at_end, locked, open_checkpointed, open_special
from asset_worker.sinks.file.scan import Checkpoint
from tests.doubles.outbox import FaultyOs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events"


@contextmanager
def nothing_stays_open() -> Iterator[None]:
    before = set(os.listdir("/dev/fd"))  # noqa: PTH208
    yield
    assert set(os.listdir("/dev/fd")) == before  # noqa: PTH208


def failing_to_open(number: int) -> FaultyOs:
    def before(call: str, *_: object) -> None:
        if call == "open":
            raise OSError(number, os.strerror(number))

    return FaultyOs(before)


def test_a_pipe_that_can_not_be_opened_says_why(path: Path):
    """Only one without a reader says that nobody reads it."""
    os.mkfifo(path)
    with patch.object(opening, "os", failing_to_open(errno.EACCES)), pytest.raises(PermissionError):
        open_special(path, path.stat())
    with pytest.raises(OSError, match="nobody reads this pipe"):
        open_special(path, path.stat())


def test_a_device_that_is_not_there_is_no_pipe_without_a_reader():
    null = Path("/dev/null")
    with (
        patch.object(opening, "os", failing_to_open(errno.ENXIO)),
        pytest.raises(OSError, match="No such device or address"),
    ):
        open_special(null, null.stat())


def test_a_write_to_a_pipe_waits_for_its_reader(path: Path):
    """Only the opening does not."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fd = open_special(path, path.stat())
    assert os.get_blocking(fd)
    os.close(fd)
    os.close(reader)


def made_at(path: Path, content: bytes) -> Checkpoint:
    path.write_bytes(content)
    found = checkpoint_at_end(path)
    assert found is not None
    return found


def test_files_that_are_not_the_one_of_a_checkpoint_are_closed(path: Path):
    """Neither what is at the path, nor one that has its inode and other bytes."""
    checkpoint = made_at(path, b"one\n")
    with nothing_stays_open():
        path.rename(path.with_suffix(".1")).write_bytes(b"another one\n")
        path.write_bytes(b"new\n")
        assert open_checkpointed(path, checkpoint) is None
        assert checkpoint_at_end(path) == Checkpoint.decode(made_at(path, b"new\n").encode())


def test_what_takes_the_place_of_a_file_before_it_is_opened_is_not_used(path: Path):
    """The next attempt looks again."""
    path.write_bytes(b"one\n")

    def before(call: str, *_: object) -> None:
        if call == "open":
            path.unlink()
            os.mkfifo(path)

    with (
        nothing_stays_open(),
        patch.object(opening, "os", FaultyOs(before)),
        pytest.raises(OSError, match="was replaced at this moment") as refused,
    ):
        checkpoint_at_end(path)
    assert refused.value.errno == errno.EAGAIN


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(("timeout", "tries"), [(0.0, 0), (0.02, 1), (0.03, 2)])
def test_a_lock_is_waited_for_as_long_as_is_said(path: Path, timeout: float, tries: int):
    """In steps of 20 ms, and not at all if no time is given."""
    path.touch()
    other, mine = (os.open(path, os.O_RDWR) for _ in range(2))
    fcntl.flock(other, fcntl.LOCK_EX)
    clock = Time()
    with (
        patch.object(opening, "time", clock),
        pytest.raises(BlockingIOError, match="another process holds the lock"),
        locked(mine, timeout),
    ):
        pytest.fail("it is held by another")
    assert clock.slept == [0.02] * tries
    os.close(other)
    os.close(mine)
