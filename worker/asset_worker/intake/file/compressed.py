"""Recognises a file that was being read in its compressed copy."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from asset_worker.intake.file.checkpoint import Checkpoint, digest

_GZIP: Final = ".gz"
_SIZE_MODULUS: Final = 2**32


def compressed_checkpoint(path: Path, checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint | None, int | None]:
    """Return which of these files was compressed to `path`, and how many bytes it had, as far as that can be found out.

    The beginning of the content shows which one it is. A gzip file ends in the original size, modulo 2³² (RFC 1952,
    section 2.3.1).
    """
    suffix = path.suffix.lower()
    read = _HEADS.get(suffix)
    longest = max((each.head_bytes for each in checkpoints), default=0)
    if read is None or not longest:
        return None, None
    try:
        head = read(path, longest)
        size = _gzip_size(path) if suffix == _GZIP else None
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return None, None
    for each in checkpoints:
        if each.head_bytes and digest(head[: each.head_bytes]) == each.head:
            return each, each.offset if size == each.offset % _SIZE_MODULUS else size
    return None, None


def _gzip_head(path: Path, length: int) -> bytes:
    with gzip.open(path) as file:
        return file.read(length)


def _bzip2_head(path: Path, length: int) -> bytes:
    with bz2.open(path) as file:
        return file.read(length)


def _xz_head(path: Path, length: int) -> bytes:
    with lzma.open(path) as file:
        return file.read(length)


_HEADS: Final[Mapping[str, Callable[[Path, int], bytes]]] = {_GZIP: _gzip_head, ".bz2": _bzip2_head, ".xz": _xz_head}


def _gzip_size(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")
