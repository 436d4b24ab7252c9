"""The words for what can't be accounted for: which file, how far it was read, what may be missing, what to do: pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asset_worker.intake.file.checkpoint import Checkpoint


def gap_of_missing(checkpoint: Checkpoint, path: Path, *, is_current: bool, was_closed: bool) -> str | None:
    """Return what may be missing of a file that can't be found any more; None: nothing.

    Args:
        checkpoint: how far it was read.
        path: the path that is followed.
        is_current: it was at the path when it was last seen. Otherwise it had been rotated away.
        was_closed: it was not open when it vanished, because the worker was down; so more may have been written to it.
    """
    if checkpoint.is_complete and not (was_closed and is_current):  # it may have grown since
        return None
    if not is_current and checkpoint.size < 0 and not checkpoint.offset:
        return None
    which = f"the file that was at {path}" if is_current else f"a file that was rotated away from {path}"
    return (
        f"{which} is gone, or was overwritten, and was read to byte {checkpoint.offset} (line {checkpoint.line}): "
        "lines after that are missing, if there were any. Submit their assets again"
    )


def gap_of_compressed(compressed: Path, checkpoint: Checkpoint | None, size: int | None) -> str | None:
    """Return what may be missing of a rotated file that was compressed before it was read; None: nothing.

    Args:
        compressed: where it is now.
        checkpoint: how far it was read; None: nothing of it is known to have been read.
        size: how many bytes it had; None: not known.
    """
    if checkpoint is None:
        which, what = "was not read, as far as is known", "its lines"
    elif size == checkpoint.offset:
        return None
    else:
        of = "" if size is None else f" of {size}"
        which = f"was read to byte {checkpoint.offset}{of} (line {checkpoint.line})"
        what = "its lines after that"
    return (
        f"{compressed} was compressed while the worker was down, and {which}: {what} are missing, unless they came in "
        "another file. Submit them again, and let rotation compress a file one rotation later (delaycompress)"
    )


def gap_of_doubtful(paths: Sequence[Path]) -> str:
    """Return what may be missing in files that appeared beside rotated ones, but are older than what was read last."""
    others = f" and {len(paths) - 1} others have" if len(paths) > 1 else " has"
    return (
        f"{paths[0]}{others} the name of a rotated file, but was not modified since the last look, and was not read. "
        "If it was rotated away from the queue file while the worker was down, its lines are missing: submit them again"
    )


def gap_of_links(paths: Sequence[Path]) -> str:
    """Return what may be missing behind symbolic links that have appeared beside the queue file."""
    others = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return (
        f"{paths[0]}{others} has the name of a rotated file, but is a symbolic link, which is not followed there. If "
        "it leads to a file that was rotated away from the queue file, move that file itself to this place"
    )


def gap_of_unlinked(path: Path) -> str:
    """Return what will be missing where the path leads to a file that has no name any more, as a bind mount does."""
    return (
        f"the file at {path} was deleted or replaced where it comes from, and the worker still sees the old one, as "
        "where a single file is mounted into a container: no new lines will come. Mount its directory instead"
    )


def reason_to_reread(checkpoint: Checkpoint, *, inode: int, is_same_content: bool) -> str:
    """Return why a file is read from its beginning, although one had been read to the checkpoint at the same path."""
    read = f"{checkpoint.offset} bytes had been read"
    if is_same_content:
        return (
            f"{read}, and the same bytes are there, but in another file (inode {inode}, was {checkpoint.inode}) with "
            "another modification time: its lines may have been written anew"
        )
    if inode == checkpoint.inode:
        return f"{read}, and other bytes are there now: the file was truncated or rewritten"
    return f"{read}, and another file is there now (inode {inode}, was {checkpoint.inode}), with other content"
