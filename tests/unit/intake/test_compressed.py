"""Recognising a compressed file, whatever it holds."""

import bz2
import gzip
import lzma
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from asset_worker.intake.file import compressed
from asset_worker.intake.file.checkpoint import Checkpoint, digest
from asset_worker.intake.file.compressed import COMPRESSED_BYTES, compressed_checkpoint

CONTENT = b"".join(b"%024x\n" % (number * 7919**5) for number in range(200_000))
HEAD = CONTENT[:1024]
CHECKPOINT = Checkpoint(1, 2, len(CONTENT), 200_000, len(HEAD), digest(HEAD), 0, digest(b""))


def in_the_largest_window(content: bytes) -> bytes:
    """Compress as fast as xz does, into what takes as much memory to decompress as what its highest level makes."""
    largest = {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}
    return lzma.compress(content, filters=[largest])


def found_in(path: Path, *checkpoints: Checkpoint) -> tuple[Checkpoint | None, int | None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return compressed_checkpoint(path.name, descriptor, checkpoints or [CHECKPOINT])
    finally:
        os.close(descriptor)


def checkpoint(head: bytes, offset: int) -> Checkpoint:
    return Checkpoint(1, 2, offset, 1, len(head), digest(head), 0, digest(b""))


def in_gzip(path: Path, size: int) -> Path:
    """A file of so many bytes that begins with `HEAD`, compressed."""
    path.write_bytes(gzip.compress(CONTENT[:9000])[:-4] + (size % 2**32).to_bytes(4, "little"))
    return path


@pytest.mark.parametrize(
    ("suffix", "compress", "size"),
    [(".gz", gzip.compress, len(CONTENT)), (".bz2", bz2.compress, None), (".xz", in_the_largest_window, None)],
    ids=["gzip", "bzip2", "xz"],
)
def test_a_large_file_is_recognised_by_the_beginning_of_its_content(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], size: int | None
):
    data = compress(CONTENT)
    path = tmp_path / f"queue.1{suffix}"
    path.write_bytes(data)
    assert len(data) > COMPRESSED_BYTES
    assert found_in(path) == (CHECKPOINT, size)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        pytest.param(".gz", b"\x1f\x8b\x08\x08" + bytes(6) + b"x", id="a name without end"),
        pytest.param(".gz", gzip.compress(b""), id="zeros without end"),
        pytest.param(".gz", gzip.compress(b"") * 50_000, id="nothing, many times"),
        pytest.param(".bz2", bz2.compress(b"") * 100_000, id="nothing, many times, by bzip2"),
        pytest.param(".xz", b"\x5d" + (3 << 29).to_bytes(4, "little") + b"\xff" * 8 + bytes(5), id="a large window"),
        pytest.param(".gz", b"", id="empty"),
    ],
)
def test_a_hostile_file_takes_neither_time_nor_memory_and_is_not_recognised(tmp_path: Path, suffix: str, data: bytes):
    path = tmp_path / f"queue.1{suffix}"
    path.write_bytes(data)
    os.truncate(path, len(data) + 2**38)
    began = time.process_time()
    assert found_in(path) == (None, None)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("size", [9000, 2**24 + 5, 2**31, 2**32 - 1])
@pytest.mark.parametrize("offset", [1024, 9000])
def test_the_size_of_a_gzip_file_is_known(tmp_path: Path, size: int, offset: int):
    read = checkpoint(HEAD, offset)
    assert found_in(in_gzip(tmp_path / "queue.1.gz", size), read) == (read, size)


@pytest.mark.parametrize("size", [2**32 + 9000, 5 * 2**32 + 9000])
def test_a_gzip_file_of_more_than_four_gigabytes_was_read_to_its_end_if_the_sizes_agree(tmp_path: Path, size: int):
    read = checkpoint(HEAD, size)
    assert found_in(in_gzip(tmp_path / "queue.1.gz", size), read) == (read, size)


def test_of_several_files_the_one_is_recognised_that_began_like_this(tmp_path: Path):
    path = in_gzip(tmp_path / "queue.1.gz", 9000)
    others = [checkpoint(b"", 0), checkpoint(b"b1\n", 3)]
    assert found_in(path, *others, CHECKPOINT) == (CHECKPOINT, 9000)
    assert found_in(path, *others) == (None, None)


@pytest.mark.parametrize("name", ["queue.1.zst", "queue.1", "queue.1.gz"])
def test_another_compression_is_not_recognised(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(zlib.compress(CONTENT[:9000]))
    assert found_in(path) == (None, None)


@pytest.mark.parametrize("checkpoints", [[], [checkpoint(b"", 0)]], ids=["none", "nothing read"])
def test_without_the_beginning_of_any_file_nothing_is_decompressed(
    checkpoints: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
):
    """Without a limit, a small file could decompress to one that fills the memory."""
    monkeypatch.setattr(compressed, "os", None)
    assert compressed_checkpoint("queue.1.gz", -1, checkpoints) == (None, None)
