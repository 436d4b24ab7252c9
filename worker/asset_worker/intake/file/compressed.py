"""Recognises a file that was being read in its compressed copy."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Final

from asset_worker.intake.file.checkpoint import Checkpoint, digest

COMPRESSED_BYTES: Final = 1 << 20
"""How many bytes of a compressed file are read at most: more than bzip2 needs for its largest block, which is the least
that it can decompress."""
XZ_MEMORY_BYTES: Final = 80 << 20
"""How much memory the decompression of an xz file may take: a little more than the highest level needs (xz(1))."""

_GZIP: Final = ".gz"
_GZIP_WBITS: Final = 31
_SIZE_MODULUS: Final = 2**32


def compressed_checkpoint(
    name: str, descriptor: int, checkpoints: Sequence[Checkpoint]
) -> tuple[Checkpoint | None, int | None]:
    """Return which of these files was compressed to an open file, and how many bytes it had, if that can be found out.

    The beginning of the content shows which one it is. A gzip file ends in the original size, modulo 2³² (RFC 1952,
    section 2.3.1). Whatever the file holds, this takes little time and memory.
    """
    suffix = PurePath(name).suffix.lower()
    decompress = _DECOMPRESS.get(suffix)
    longest = max((each.head_bytes for each in checkpoints), default=0)
    if decompress is None or not longest:
        return None, None
    try:
        head = decompress(os.pread(descriptor, COMPRESSED_BYTES, 0), longest)
        size = _gzip_size(descriptor) if suffix == _GZIP else None
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return None, None
    for each in checkpoints:
        if each.head_bytes and digest(head[: each.head_bytes]) == each.head:
            return each, each.offset if size == each.offset % _SIZE_MODULUS else size
    return None, None


def _gzip_head(data: bytes, length: int) -> bytes:
    return zlib.decompressobj(_GZIP_WBITS).decompress(data, length)


def _bzip2_head(data: bytes, length: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, length)


def _xz_head(data: bytes, length: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES).decompress(data, length)


_DECOMPRESS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    _GZIP: _gzip_head,
    ".bz2": _bzip2_head,
    ".xz": _xz_head,
}


def _gzip_size(descriptor: int) -> int:
    return int.from_bytes(os.pread(descriptor, 4, max(0, os.fstat(descriptor).st_size - 4)), "little")
