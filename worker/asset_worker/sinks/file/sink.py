"""The sink that appends events to a file, and repeats nothing.

How it knows: bytes are only ever written past a mark that the outbox has recorded, in the file that the mark names. So
whatever may have been written and not been recorded stands after the mark in that one file, and after a restart a look
there tells where to go on. A file that is new to us (the first one, the next after a rotation, one that was truncated)
is marked before it is written to.

- Rotation by rename: noticed at the next batch. After a crash the marked file is looked for among its siblings; one
  that was moved to another directory, or compressed, is given up, and the batch that was under way is sent again.
- Truncation (`copytruncate`): noticed by the size, or after a crash by what lies before the mark; then all that the
  file holds is looked through.
- A partial last line is taken away when it is the beginning of the event that is due. Another writer's is left, and
ended
  by a newline before ours follow.
- Other writers are tolerated. Workers that share a file take turns, under an advisory lock (`flock`) held for one batch
  and not for good: a rotated file, a hung worker or a second one on the same file must not stop the first.
- A pipe or a device instead of a file gets lines as standard output does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from asset_worker.domain.events import Stored
from asset_worker.runtime.threads import WorkerThread
from asset_worker.sinks.file.openings import current_status, find_marked, locked, open_regular, open_special
from asset_worker.sinks.file.scan import Checkpoint, scan
from asset_worker.sinks.lines import LineStream, encode
from asset_worker.sinks.ports import Sent, SinkUnavailableError

CLOSE_SECONDS = 1.0
LOCK_SECONDS = 5.0


class FileSink:
    """A file of events, one a line. `thread` is this sink's own: a slow disk blocks it."""

    def __init__(self, path: Path, thread: WorkerThread, *, lock_patience: float = LOCK_SECONDS) -> None:
        """`lock_patience` is how long, in seconds, another worker may write to the file while this one waits."""
        self._path = path.absolute()
        self._thread = thread
        self._lock_patience = lock_patience
        self._fd: int | None = None
        self._special: LineStream | None = None
        self._mark: Checkpoint | None = None
        self._marked = False
        """Whether `_mark` stands in the file that is open."""
        self._examined = True
        """Whether it is known that nothing of ours follows the mark."""

    @property
    def name(self) -> str:
        return f"file:{self._path}"

    def resume(self, mark: bytes | None) -> None:
        self._mark = Checkpoint.decode(mark)
        self._marked = False
        self._examined = self._mark is None

    async def send(self, events: Sequence[Stored]) -> Sent:
        try:
            return await self._thread.run(self._send, events)
        except OSError as error:
            raise SinkUnavailableError(f"{self._path}: {error.strerror or error}") from error

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._thread.run(self._let_go)
        self._thread.close()

    def _send(self, events: Sequence[Stored]) -> Sent:
        if not self._examined:
            sent = self._examine(events)
            if sent is not None:
                return sent
        status = current_status(self._path)
        if self._fd is None or status is None or not os.path.samestat(status, os.fstat(self._fd)):
            self._open(status)
        assert self._fd is not None
        if self._special is not None:
            return Sent(self._special.write(events), None)
        with locked(self._fd, self._lock_patience):
            size = os.fstat(self._fd).st_size
            if not self._marked or self._mark is None or size < self._mark.offset:
                return self._record(self._fd, 0, size)
            return self._append(self._fd, size, events)

    def _open(self, status: os.stat_result | None) -> None:
        self._let_go()
        if status is None or stat.S_ISREG(status.st_mode):
            self._fd = open_regular(self._path)
        else:
            self._fd = open_special(self._path, status)
            self._special = LineStream(self._fd)

    def _let_go(self) -> None:
        self._special = None
        self._marked = False
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _record(self, fd: int, count: int, offset: int) -> Sent:
        self._mark = Checkpoint.at(fd, offset)
        self._marked = True
        return Sent(count, self._mark.encode())

    def _examine(self, events: Sequence[Stored]) -> Sent | None:
        """What of these events stands after the mark; None when the marked file is gone."""
        assert self._mark is not None
        if self._fd is None:
            self._fd = find_marked(self._path, self._mark)
            if self._fd is None:
                self._examined = True
                return None
        fd = self._fd
        with locked(fd, self._lock_patience):
            start = self._mark.offset if self._mark.matches(fd) else 0
            found = scan(fd, start, [event.body for event in events])
            if found.partial is not None and os.fstat(fd).st_size == found.partial[1]:
                os.ftruncate(fd, found.partial[0])
            # What was found may be in memory only: the process that wrote it died before it could see to that.
            os.fdatasync(fd)
            more = found.count == len(events)
            sent = self._record(fd, found.count, found.end if more else os.fstat(fd).st_size)
            self._examined = not more
            return sent

    def _append(self, fd: int, size: int, events: Sequence[Stored]) -> Sent:
        """Write events as one piece, or nothing of them."""
        starts_line = not size or os.pread(fd, 1, size - 1) == b"\n"
        lines = (b"" if starts_line else b"\n") + encode(events)
        self._examined = False
        written = 0
        try:
            written = os.write(fd, lines)
            _see_through(fd, written, len(lines))
            sent = self._record(fd, len(events), os.lseek(fd, 0, os.SEEK_CUR))
        except OSError:
            with suppress(OSError):
                self._examined = _withdrawn(fd, size, written)
            raise
        self._examined = True
        return sent


def _see_through(fd: int, written: int, wanted: int) -> None:
    if written < wanted:
        raise OSError(
            errno.ENOSPC, f"only {written} of {wanted} bytes could be written: the disk is full, or a limit met"
        )
    os.fdatasync(fd)


def _withdrawn(fd: int, size: int, written: int) -> bool:
    """Take back what was just written to a file of that size, unless another writer has written since."""
    if os.fstat(fd).st_size != size + written:
        return False
    os.ftruncate(fd, size)
    return True
