"""What a scan finds in a file, and how a checkpoint recognises its position."""

import os
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import pytest

from asset_worker.sinks.file import scan as scanning
from asset_worker.sinks.file.scan import Checkpoint, ScanResult, scan
from tests.doubles.outbox import FaultyOs

A, B, C = b'{"id":"a"}', b'{"id":"bb"}', b'{"id":"ccc"}'
A_LANDMARK = b"008a1e4e52c6236b7d743169"


def scanned(path: Path, content: bytes, start: int = 0) -> ScanResult:
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        return scan(fd, start, [A, B, C])
    finally:
        os.close(fd)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, scanning.CHUNK_BYTES])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", ScanResult(0, 0), id="empty"),
        pytest.param(A + b"\n", ScanResult(1, 11, starts=(0,)), id="one line"),
        pytest.param(A + b"\n" + B + b"\n" + C + b"\n", ScanResult(3, 36, starts=(0, 11, 23)), id="all"),
        pytest.param(A + b"\n" + B + b"\n" + C, ScanResult(2, 23, (23, 35), (0, 11)), id="only the newline is missing"),
        pytest.param(A + b"\n" + B[:4], ScanResult(1, 11, (11, 15), (0,)), id="partial"),
        pytest.param(A[:1], ScanResult(0, 0, (0, 1)), id="partial after one byte"),
        pytest.param(A + b"\n" + B[:4] + b"\0\0\0", ScanResult(1, 11, (11, 18), (0,)), id="partial, filled with zeros"),
        pytest.param(A[:4] + b"\0" * 300, ScanResult(0, 0, (0, 304)), id="partial, filled with many zeros"),
        pytest.param(A + b"\n" + A[:-2] + b"x", ScanResult(1, 11, starts=(0,)), id="another writer's partial line"),
        pytest.param(
            b"other\n" + A + b"\nother\n\n" + B + b"\n" + b"y" * 500,
            ScanResult(2, 36, starts=(6, 24)),
            id="other writers",
        ),
        pytest.param(
            b"y" * 300 + A + b"\n" + A + b"\n",
            ScanResult(1, 322, starts=(311,)),
            id="an overlong line that ends as ours",
        ),
        pytest.param(A + b"\n" + B + b"\n" + C + b"y\n", ScanResult(2, 23, starts=(0, 11)), id="ours, and more"),
        pytest.param(A + b"\n" + B + b"yy\n", ScanResult(1, 11, starts=(0,)), id="ours, and two bytes more"),
        pytest.param(A + b"\0\0\n", ScanResult(0, 0), id="ours, filled with zeros, and a newline"),
        pytest.param(b"y" * 300 + b"\n" + A[:5], ScanResult(0, 0, (301, 306)), id="partial after an overlong line"),
        pytest.param(B + b"\n" + C + b"\n", ScanResult(0, 0), id="later events only"),
        pytest.param(A + b"\r\n" + A + b"\n", ScanResult(1, 23, starts=(12,)), id="a changed line is not ours"),
    ],
)
def test_a_scan_finds_whole_lines_in_order_and_a_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, content: bytes, expected: ScanResult
):
    """However the file falls into chunks."""
    monkeypatch.setattr(scanning, "CHUNK_BYTES", chunk)
    assert scanned(tmp_path / "events", content) == expected


def test_a_scan_starts_at_its_offset(tmp_path: Path):
    """What stands before is not looked at."""
    assert scanned(tmp_path / "events", A + b"\n" + A + b"\n" + B[:3], start=11) == ScanResult(1, 22, (22, 25), (11,))


def test_a_large_file_is_read_once_and_in_little_memory(tmp_path: Path):
    """64 MB, half of them one line, in a few chunks of memory."""
    path = tmp_path / "events"
    lines = (b"z" * 1500 + b"\n") * 700
    with path.open("wb") as file:
        for _ in range(32):
            file.write(lines)
        file.write(b"w" * (32 << 20))
        file.write(b"\n" + A + b"\n")
    read: list[int] = []

    def before(call: str, _: int, size: int, offset: int) -> None:
        read.append(size)

    fd = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    try:
        with patch.object(scanning, "os", FaultyOs(before)):
            found = scan(fd, 0, [A, B])
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        os.close(fd)
    assert found == ScanResult(1, path.stat().st_size, starts=(path.stat().st_size - len(A) - 1,))
    assert sum(read) < path.stat().st_size + 2 * scanning.CHUNK_BYTES
    assert peak < 8 * scanning.CHUNK_BYTES


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param(lambda path: None, True, id="untouched"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"more\n"), True, id="appended to"),
        pytest.param(lambda path: os.truncate(path, 30), False, id="truncated"),
        pytest.param(lambda path: path.write_bytes(C * 20), False, id="truncated and grown again"),
    ],
)
def test_a_checkpoint_recognises_its_position(tmp_path: Path, change, same: bool):
    """The same inode is not enough."""
    path = tmp_path / "events"
    path.write_bytes(A * 10)
    fd = os.open(path, os.O_RDWR)
    checkpoint = Checkpoint.decode(Checkpoint.at(fd, 60).encode())
    assert checkpoint is not None
    change(path)
    assert checkpoint.matches(fd) is same
    os.close(fd)


def test_a_checkpoint_is_stored_under_the_names_of_earlier_versions(tmp_path: Path):
    path = tmp_path / "events"
    path.write_bytes(A)
    fd = os.open(path, os.O_RDONLY)
    stored = b'{"inode":%d,"offset":10,"landmark":"%s"}' % (path.stat().st_ino, A_LANDMARK)
    assert Checkpoint.at(fd, 10).encode() == stored
    checkpoint = Checkpoint.decode(stored)
    assert checkpoint is not None
    assert checkpoint.matches(fd)
    os.close(fd)


@pytest.mark.parametrize("encoded", [None, b"", b"null", b'{"inode": "x"}', b"\xff"])
def test_a_checkpoint_that_cant_be_read_is_none(encoded: bytes | None):
    """Another version's checkpoint costs a repeat, not a crash."""
    assert Checkpoint.decode(encoded) is None
