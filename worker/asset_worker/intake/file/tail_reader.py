"""One file, read line by line while others write it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from asset_worker.intake.file.checkpoint import HEAD_BYTES, TAIL_BYTES, Checkpoint, digest
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter

CHUNK_BYTES: Final = 256 * 1024
SMALLEST_CHUNK_BYTES: Final = 4096
READ_BYTES: Final = 4 * 1024 * 1024
"""What is read at once in search of a line's end: a line may have none for gigabytes, and a stop does not wait."""


class NotAFileError(OSError):
    """The path names something that can't be followed: a directory, a pipe, a device."""


def reason(error: OSError, name: str) -> str:
    """What can't be read, and why; `name` is for an error that names nothing."""
    return f"{error.filename or name}: {error.strerror or error}"


class TailReader:
    """An open file, and how far it has been read."""

    def __init__(self, descriptor: int, name: str) -> None:
        status = os.fstat(descriptor)
        self.descriptor = descriptor
        self.name = name
        """The one it was opened by."""
        self.identity = (status.st_dev, status.st_ino)
        self.quiet_since = 0.0
        """When it was last seen to grow or to be rotated, by the follower's clock."""
        self.rejected = 0
        """Where it ended when its partial line was rejected, in bytes."""
        self.restart()

    def restart(self) -> None:
        """Read from the start."""
        self.rejected = 0
        self._stand_at(0, 0, head=b"", recent=b"")

    def resume(self, mark: Checkpoint) -> bool:
        """Read on from a mark that was made in this content; False: in another, and nothing has changed.

        What is compared with the mark is what later reads are held against: a file that is rewritten in between
        is seen to be.

        Raises:
            OSError: it can't be read.
        """
        before = min(TAIL_BYTES, mark.offset)
        head = os.pread(self.descriptor, min(HEAD_BYTES, mark.offset), 0)
        recent = os.pread(self.descriptor, before, mark.offset - before)
        if len(recent) < before or not mark.matches(head, recent):
            return False
        self._stand_at(mark.offset, mark.line, head=head, recent=recent)
        self.rejected = mark.rejected
        return True

    def _stand_at(self, offset: int, line: int, *, head: bytes, recent: bytes) -> None:
        """At an offset at which so many lines have ended; `head` begins the file, `recent` ends there."""
        self.line = line
        self._splitter = LineSplitter(offset)
        self._head = head[:HEAD_BYTES]
        self._recent = recent[-TAIL_BYTES:]
        self._within_line = offset > 0 and not recent.endswith(b"\n")

    @classmethod
    def open(cls, path: Path) -> TailReader:
        """Open a file, to be read from its start.

        Raises:
            OSError: it can't be opened, or is no regular file.
        """
        # Looked at first: whoever writes into a pipe would take an open, however short, for a reader.
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotAFileError(errno.EINVAL, "is not a regular file", str(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return cls(descriptor, path.name)
        except OSError:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Closing twice is harmless."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    @property
    def stream(self) -> str:
        """What identifies the file, whatever its name is, in the keys of rejected lines."""
        device, inode = self.identity
        return f"{device}:{inode}"

    @property
    def partial(self) -> bytes:
        """The last line as far as it has come."""
        return self._splitter.partial

    @property
    def has_partial(self) -> bool:
        """Whether there is one that has not been rejected as it stands."""
        return bool(self.partial) and self.end != self.rejected

    @property
    def is_too_long(self) -> bool:
        """Whether that is longer already than a line may be."""
        return self._splitter.is_too_long

    @property
    def offset(self) -> int:
        """All lines that end here or before have been read."""
        return self._splitter.partial_start

    @property
    def end(self) -> int:
        """What stands before has been read."""
        return self._splitter.end

    def mark(self) -> Checkpoint:
        partial = self.end - self.offset
        tail = self._recent[: len(self._recent) - partial][-TAIL_BYTES:] if partial <= len(self._recent) else b""
        head = self._head[: self.offset]
        return Checkpoint(
            *self.identity, self.offset, self.line, len(head), digest(head), len(tail), digest(tail), self.rejected
        )

    def is_intact(self) -> bool:
        """Whether what has been read still stands there: it was not truncated, nor truncated and grown again."""
        return (
            os.fstat(self.descriptor).st_size >= self.end
            and os.pread(self.descriptor, len(self._head), 0) == self._head
            and os.pread(self.descriptor, len(self._recent), self.end - len(self._recent)) == self._recent
        )

    def read(self, max_lines: int) -> list[Line]:
        """The next lines, `max_lines` at most; none: there is no complete one, or none within `READ_BYTES`."""
        self._leave_unterminated_line()
        size = min(CHUNK_BYTES, max(SMALLEST_CHUNK_BYTES, max_lines * 64))
        lines: list[Line] = []
        limit = self.end + READ_BYTES
        while not lines and self.end < limit and (data := os.pread(self.descriptor, size, self.end)):
            if not self.is_intact():  # asked after the read: what was read may be another content's middle
                break
            start = self.end
            lines = self._splitter.feed(data)
            if len(lines) > max_lines:
                lines = lines[:max_lines]
                data = data[: lines[-1].end - start]
                self._splitter = LineSplitter(lines[-1].end)
            if len(self._head) < HEAD_BYTES:
                self._head = (self._head + data)[:HEAD_BYTES]
            self._recent = (self._recent + data)[-(SMALLEST_CHUNK_BYTES + TAIL_BYTES) :]
        self.line += len(lines)
        return lines

    def _leave_unterminated_line(self) -> None:
        """Where an earlier run took an unterminated last line, and it has grown: it was not the whole, so again."""
        if not self._within_line or not (more := os.pread(self.descriptor, 1, self.end)):
            return
        if more == b"\n":
            self._stand_at(self.end + 1, self.line, head=self._head + more, recent=self._recent + more)
            return
        start = max(0, self.end - LINE_BYTES_LIMIT)
        before = os.pread(self.descriptor, self.end - start, start)
        if before.endswith(self._recent):  # else it was rewritten, as the check after a read will find
            length = before.rfind(b"\n") + 1
            self._stand_at(start + length, self.line - 1, head=self._head[: start + length], recent=before[:length])
            self._within_line = False

    def finish(self) -> Line | None:
        """The unterminated last line, taken as it is."""
        line = self._splitter.finish()
        self.line += line is not None
        return line

    def is_read_to_the_end(self) -> bool:
        with suppress(OSError):  # of a file that is gone there is nothing more to read
            return os.fstat(self.descriptor).st_size <= self.end
        return True

    def has_name(self) -> bool:
        """Whether it stands in any directory: the space of one that does not is free once it is let go."""
        with suppress(OSError):  # a network file system says so of a file that is gone
            return os.fstat(self.descriptor).st_nlink > 0
        return False

    def has_line(self) -> bool:
        """Whether a complete line follows."""
        return b"\n" in os.pread(self.descriptor, CHUNK_BYTES, self.end)

    def begins(self, other: TailReader) -> bool:
        """Whether all of this file stands at the beginning of another, as that of a copy being made does."""
        size = os.fstat(self.descriptor).st_size
        pieces = ((min(size, HEAD_BYTES), 0), (min(size, SMALLEST_CHUNK_BYTES), max(0, size - SMALLEST_CHUNK_BYTES)))
        return size > 0 and all(
            os.pread(self.descriptor, length, at) == os.pread(other.descriptor, length, at) for length, at in pieces
        )
