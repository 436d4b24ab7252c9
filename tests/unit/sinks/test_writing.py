"""Events that were found in a file are written over themselves, and nothing else is touched."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from asset_worker.sinks.file import writing
from asset_worker.sinks.file.scan import scan
from asset_worker.sinks.file.writing import write_again
from tests.doubles.outbox import FaultyOs

A, B = b'{"id":"a"}', b'{"id":"bb"}'
BEFORE = b"recorded\n"
CONTENT = BEFORE + A + b"\nother's\npartial\n" + B + b"\nlast"


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file that is open as the sink has it."""
    path = tmp_path / "events"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def rewrite(fd: int, start: int = len(BEFORE), *, written_at_most: int | None = None) -> list[tuple[int, bytes]]:
    """Return what was written, and where."""
    wrote: list[tuple[int, bytes]] = []

    def before(call: str, _: int, data: bytes, offset: int) -> int | None:
        wrote.append((offset, data))
        return written_at_most

    with patch.object(writing, "os", FaultyOs(before)):
        write_again(fd, start, scan(fd, start, [A, B]), [A, B])
    return wrote


def content(fd: int) -> bytes:
    return os.pread(fd, 1 << 20, 0)


def test_each_event_is_written_again_with_the_newline_before_it(fd: int):
    """What stands before the start of the scan is not touched, nor are lines of others."""
    assert rewrite(fd) == [(len(BEFORE), A + b"\n"), (CONTENT.index(B) - 1, b"\n" + B + b"\n")]
    assert content(fd) == CONTENT
    os.write(fd, b"!")
    assert content(fd) == CONTENT + b"!"


@pytest.mark.parametrize("written", [0, 5])
def test_an_event_that_can_not_be_written_again_as_a_whole_is_an_error(fd: int, written: int):
    """Nothing is lost meanwhile, and the file is appended to as before."""
    with pytest.raises(OSError, match=r"only [05] of 11 bytes") as refused:
        rewrite(fd, written_at_most=written)
    assert refused.value.errno == errno.ENOSPC
    assert content(fd) == CONTENT
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND


def test_a_file_that_may_only_be_appended_to_is_left_as_it_is(fd: int):
    """As after `chattr +a`: that it is appended to can't be changed."""
    real = fcntl.fcntl

    def refused(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(fd, command, argument)

    with patch.object(fcntl, "fcntl", refused):
        assert rewrite(fd) == []
    assert content(fd) == CONTENT
