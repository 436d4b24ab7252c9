"""Finds the stored position of a file, under whatever name it was stored.

Positions are kept by the real path of a file. Its name may have changed since: the path is written otherwise, leads
through another link, or its directory was moved. Earlier versions kept positions by the path as it was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, decode
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.tail_reader import TailReader

_PREFIX: Final = "file:"


def find_position(queue_file: QueueFile, positions: Mapping[str, bytes]) -> bytes | None:
    """Return the position from which a path is read on; None: it was never read.

    That is the most advanced of the positions in the files that are at the path and beside it. If there is none, it is
    the one that was stored for this path.
    """
    path = queue_file.path
    named = [name for name in (f"{_PREFIX}{os.path.realpath(path)}", f"{_PREFIX}{path}") if name in positions]
    stored = {name: value for name, value in positions.items() if name.startswith(_PREFIX)}
    if stored.keys() <= {*named[:1]}:
        return positions[named[0]] if named else None
    states = {name: state for name, value in stored.items() if (state := decode(value)) is not None}
    found = {name: _progress(queue_file, name, state) for name, state in states.items()}
    best = max(found, key=lambda name: (found[name], name in named), default=None)
    if best is not None and found[best] > 0:
        return positions[best]
    linked = [name for name, state in states.items() if state.path == str(path)]
    return next((positions[name] for name in (*named, *linked)), None)


def _progress(queue_file: QueueFile, name: str, state: FollowerState) -> int:
    """Return how many bytes had been read, by this state, of the files that are at a path and beside it."""
    inodes = {checkpoint.inode for checkpoint in state.files if checkpoint.offset}
    read: dict[tuple[int, int], int] = {}
    for candidate in _candidates(queue_file, inodes):
        with suppress(OSError), ExitStack() as opened:
            file = queue_file.open(candidate)
            opened.callback(file.close)
            held = [each.offset for each in state.files if _is_same(each, file, name) and file.holds(each)]
            read[file.identity] = max(held, default=0)
    return sum(read.values())


def _candidates(queue_file: QueueFile, inodes: set[int]) -> Iterator[Path]:
    """Yield the path, and the files beside it that are on one of these inodes."""
    yield queue_file.path
    with suppress(OSError):
        directory = queue_file.places()[-1].parent
        with os.scandir(directory) as entries:
            yield from (directory / entry.name for entry in entries if entry.inode() in inodes)


def _is_same(checkpoint: Checkpoint, file: TailReader, name: str) -> bool:
    """Return whether a file may be the one of a checkpoint: it is on the same inode, or was restored from a copy."""
    if checkpoint.inode == file.identity[1]:
        return True
    return checkpoint.is_restored(file.mtime) and not _is_still_there(checkpoint, Path(name.removeprefix(_PREFIX)))


def _is_still_there(checkpoint: Checkpoint, path: Path) -> bool:
    """Return whether the file of a checkpoint is still where it was, so that another is only a copy of it."""
    try:
        return os.stat(path).st_ino == checkpoint.inode
    except FileNotFoundError:
        return False
    except OSError:
        return True
