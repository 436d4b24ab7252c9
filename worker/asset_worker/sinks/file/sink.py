"""The sink that appends events to a file, and repeats none after a crash.

Bytes are only written to the file in which the last recorded checkpoint was made, after that checkpoint. So events that
were written but not recorded before a crash follow the checkpoint in this one file, and a scan from the checkpoint
shows where to continue. What it finds is written over itself, because a sync of it may have failed (see `writing.py`).
In a new file (the first one, the next after a rotation, a truncated one) a checkpoint is made and recorded before
anything is written.

- Rotation by renaming is noticed at the next batch. After a crash, the file of the checkpoint is searched for in its
  directory. If it was compressed, or moved to another directory, it is given up, and the batch in progress is repeated.
- Truncation (`copytruncate`) is noticed by the size or, after a crash, by the bytes before the checkpoint. Then the
  whole file is scanned. The copy is not searched: a crash between the copy and the record of a batch repeats the batch.
- A partial last line is removed if it is the beginning of the next event. Another writer's partial line is kept, and
  a newline is written after it.
- Other writers are tolerated. Workers that share a file take turns under an advisory lock (`flock`). It is held for one
  batch only, so that a rotated file, a worker that hangs or a second sink on the same file can't stop this one.
- The files that were written to are known to `writes_to`, so that none of them is read as a queue file. A file that is
  open is known by its inode, one that was left (it was rotated, or belongs to an earlier run) by the bytes before the
  last checkpoint in it as well: its inode may be reused.
- If the path is a pipe or a device instead of a file, it gets lines as standard output does.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from asset_worker.domain.events import Stored
from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.paths import current_status, path_of
from asset_worker.runtime.threads import DaemonThread, WorkerThread
from asset_worker.sinks.file import usable
from asset_worker.sinks.file.opening import checkpoint_at_end, locked, open_checkpointed, open_regular, open_special
from asset_worker.sinks.file.scan import Checkpoint, scan
from asset_worker.sinks.file.writing import require_whole, write_again
from asset_worker.sinks.lines import encode, lines_of
from asset_worker.sinks.ports import Sent, SinkContext, SinkUnavailableError, TargetProblem

LEFT_KEPT = 16
"""How many of the files that were written to before the present one are remembered."""
CLOSE_SECONDS = 1.0
"""How long `close` waits for a write that hangs."""
LOCK_SECONDS = 5.0


class FileSink:
    """A file of events, one per line. `thread` must be used by nothing else: a slow disk blocks it."""

    kind: Literal["ordered"] = "ordered"

    def __init__(self, path: Path, thread: WorkerThread, *, lock_timeout: float = LOCK_SECONDS) -> None:
        """`lock_timeout` is how long, in seconds, to wait while another worker writes to the file."""
        self._path = path.absolute()
        self._thread = thread
        self._lock_timeout = lock_timeout
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None
        """Device and inode of the file that is open."""
        self._left: tuple[Checkpoint, ...] = ()
        """The last checkpoints in the files that were written to before, the latest last."""
        self._special: LineStream | None = None
        self._checkpoint: Checkpoint | None = None
        self._is_checkpoint_in_file = False
        """Whether `_checkpoint` was made in the file that is open."""
        self._is_scanned = True
        """Whether it is known that none of our events follows the checkpoint."""

    @property
    def name(self) -> str:
        """`file:` and the absolute path."""
        return f"file:{self._path}"

    def resume(self, checkpoint: bytes | None) -> None:
        """Continue after the checkpoint, in the file that it names."""
        self._checkpoint = Checkpoint.decode(checkpoint)
        self._remember(self._checkpoint)
        self._is_scanned = self._checkpoint is None

    async def check(self) -> None:
        """Check that the file can be written, or created.

        Raises:
            SinkUnavailableError: it can't be.
        """
        if (problem := await self._thread.run(self._find_problem)) is not None:
            raise SinkUnavailableError(problem.text)

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Append the events that the file does not hold yet; they are on the disk when this returns.

        Raises:
            SinkUnavailableError: the file could not be written.
        """
        try:
            return await self._thread.run(self._send, events)
        except OSError as error:
            raise SinkUnavailableError(f"{self._path}: {error.strerror or error}") from error

    def writes_to(self, descriptor: int) -> bool:
        """Return whether the file of a descriptor is one that events are, or were, written to."""
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) == self._identity:
            return True
        return any(each.inode == status.st_ino and each.matches(descriptor) for each in self._left)

    async def close(self) -> None:
        """Close the file, unless a call to a hanging file system is still running after a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._thread.run(self._close_file)
        self._thread.close()

    def _find_problem(self) -> TargetProblem | None:
        """Return what keeps the file from being written now. Remember the file that is there from an earlier run."""
        problem = usable.find_problem(self._path)
        if problem is None and self._fd is None:
            with suppress(OSError):
                self._remember(checkpoint_at_end(self._path))
        return problem

    def _send(self, events: Sequence[Stored]) -> Sent:
        if not self._is_scanned:
            sent = self._find_written(events)
            if sent is not None:
                return sent
        status = current_status(self._path)
        if self._fd is None or status is None or not os.path.samestat(status, os.fstat(self._fd)):
            self._open(status)
        assert self._fd is not None
        if self._special is not None:
            return Sent(self._special.write(lines_of(events)), None)
        with locked(self._fd, self._lock_timeout):
            size = os.fstat(self._fd).st_size
            if not self._is_checkpoint_in_file or self._checkpoint is None or size < self._checkpoint.offset:
                return self._record(self._fd, 0, size)
            return self._append(self._fd, size, events)

    def _open(self, status: os.stat_result | None) -> None:
        self._close_file()
        if status is None or stat.S_ISREG(status.st_mode):
            self._use(open_regular(self._path))
        else:
            fd = open_special(self._path, status)
            self._use(fd)
            self._special = LineStream(fd)

    def _use(self, fd: int) -> None:
        self._fd = fd
        status = os.fstat(fd)
        self._identity = (status.st_dev, status.st_ino)

    def _remember(self, checkpoint: Checkpoint | None) -> None:
        """Remember a file that was written to. An empty one holds nothing by which it could be recognised."""
        if checkpoint is not None and checkpoint.offset:
            others = [each for each in self._left if each.inode != checkpoint.inode]
            self._left = (*others, checkpoint)[-LEFT_KEPT:]

    def _close_file(self) -> None:
        self._special = None
        if self._is_checkpoint_in_file:
            self._remember(self._checkpoint)
        self._is_checkpoint_in_file = False
        self._identity = None
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _record(self, fd: int, count: int, offset: int) -> Sent:
        self._checkpoint = Checkpoint.at(fd, offset)
        self._is_checkpoint_in_file = True
        return Sent(count, self._checkpoint.encode())

    def _find_written(self, events: Sequence[Stored]) -> Sent | None:
        """Return how many of the events already follow the checkpoint; None: the file of the checkpoint is gone."""
        assert self._checkpoint is not None
        if self._fd is None:
            found_at = open_checkpointed(self._path, self._checkpoint)
            if found_at is None:
                self._is_scanned = True
                return None
            self._use(found_at)
        assert self._fd is not None
        fd = self._fd
        with locked(fd, self._lock_timeout):
            start = self._checkpoint.offset if self._checkpoint.matches(fd) else 0
            bodies = [event.body for event in events]
            found = scan(fd, start, bodies)
            if found.partial is not None and os.fstat(fd).st_size == found.partial[1]:
                os.ftruncate(fd, found.partial[0])
            # The events found may not be on the disk yet: the process that wrote them may have died before syncing, or
            # the sync may have failed.
            if found.starts and os.fstat(fd).st_size >= found.end:  # if not, the file was truncated after the scan
                write_again(fd, start, found, bodies)
            os.fdatasync(fd)
            may_have_more = found.count == len(events)
            sent = self._record(fd, found.count, found.end if may_have_more else os.fstat(fd).st_size)
            self._is_scanned = not may_have_more
            return sent

    def _append(self, fd: int, size: int, events: Sequence[Stored]) -> Sent:
        """Write all events in one piece, or none of them."""
        starts_line = not size or os.pread(fd, 1, size - 1) == b"\n"
        lines = (b"" if starts_line else b"\n") + encode(events)
        self._is_scanned = False
        written = 0
        try:
            written = os.write(fd, lines)
            require_whole(written, len(lines))
            os.fdatasync(fd)
            sent = self._record(fd, len(events), os.lseek(fd, 0, os.SEEK_CUR))
        except OSError:
            with suppress(OSError):
                self._is_scanned = _remove_last_write(fd, size, written)
            raise
        self._is_scanned = True
        return sent


def checked_target(target: str) -> str:
    """Return the path that `target` names, with `~` expanded.

    Raises:
        ValueError: the path can't be used; the message says why and what to do.
    """
    path = path_of(target)
    return str(path) if target.startswith("~") else target  # as a Path, `./-` would turn into `-`, which is stdout


def find_problem(target: str) -> TargetProblem | None:
    """Return what keeps the file from being written or created now; None: nothing that can be seen."""
    return usable.find_problem(Path(target))


def find_warnings(_target: str) -> tuple[()]:
    """Return nothing: what is wrong with a target of this form is a problem."""
    return ()


def open_sink(target: str, _context: SinkContext) -> FileSink:
    """Return a sink that appends to the file `target`, with a thread of its own."""
    return FileSink(Path(target).expanduser(), DaemonThread("events-file"))


def _remove_last_write(fd: int, size: int, written: int) -> bool:
    """Remove the bytes just written to a file that had this size; return False if another writer has written since."""
    if os.fstat(fd).st_size != size + written:
        return False
    os.ftruncate(fd, size)
    return True
