"""Recognising a compressed file, whatever it holds."""

import bz2
import gzip
import lzma
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asset_worker.intake.file.checkpoint import Checkpoint, digest
from asset_worker.intake.file.compressed import COMPRESSED_BYTES, compressed_checkpoint

CONTENT = b"".join(b"%024x\n" % (number * 7919**5) for number in range(200_000))
HEAD = CONTENT[:1024]
CHECKPOINT = Checkpoint(1, 2, len(CONTENT), 200_000, len(HEAD), digest(HEAD), 0, digest(b""))


def in_the_largest_window(content: bytes) -> bytes:
    """Compress as fast as xz does, into what takes as much memory to decompress as what its highest level makes."""
    largest = {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}
    return lzma.compress(content, filters=[largest])


def found_in(path: Path) -> tuple[Checkpoint | None, int | None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return compressed_checkpoint(path.name, descriptor, [CHECKPOINT])
    finally:
        os.close(descriptor)


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
