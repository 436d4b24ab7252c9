"""Reads one file line by line while others write to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from asset_worker.intake.file.checkpoint import HEAD_BYTES, TAIL_BYTES, Checkpoint, digest, first_id, unused_id
from asset_worker.intake.file.siblings import SeenFile, seen_file
from asset_worker.intake.lines import holds_lines
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter, count_newlines

CHUNK_BYTES: Final = 256 * 1024
SMALLEST_CHUNK_BYTES: Final = 4096
READ_BYTES: Final = 4 * 1024 * 1024
"""Bytes that one `read` searches for the end of a line at most: a line may have gigabytes, and a stop must not wait for
all of them."""


class NotAFileError(OSError):
    """What is at the path can't be followed: a directory, a pipe, a device."""


class OutputFileError(NotAFileError):
    """The worker writes to the file, so it must not read it."""


def describe(error: OSError, name: str) -> str:
    """Return what can't be read, and why. `name` is used if the error names no file."""
    return f"{error.filename or name}: {error.strerror or error}"


class TailReader:
    """An open file, and how far it has been read."""

    def __init__(self, descriptor: int, name: str, is_output: Callable[[int], bool]) -> None:
        """Take over a descriptor. `is_output` returns whether this process writes to the file of a descriptor."""
        try:
            status = os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self.descriptor = descriptor
        self._is_output = is_output
        self.name = name
        """The name under which it was opened, without its directory."""
        self.identity = (status.st_dev, status.st_ino)
        """Device and inode."""
        self.id = first_id(*self.identity)
        """See `Checkpoint.id`."""
        self.size = status.st_size
        """In bytes, when it was last looked at and what had been read was still there."""
        self.mtime = status.st_mtime_ns
        """Its modification time then, in nanoseconds."""
        self.quiet_since = 0.0
        """When it was last seen to grow, or to have been rotated, in monotonic seconds."""
        self.rejected = 0
        """The size of the file in bytes when its partial line was rejected; 0: none was."""
        self._move_to(0, 0, head=b"", recent=b"")

    def restart(self) -> None:
        """Continue reading at the start of the file, which has other content now."""
        self.rejected = 0
        self.id = unused_id(self.id, {self.id})
        self._move_to(0, 0, head=b"", recent=b"")

    def resume(self, checkpoint: Checkpoint) -> bool:
        """Move to a checkpoint if it was made in this content. Return whether it was; if not, nothing changes.

        `is_intact` later compares the same bytes as this method, so that a rewrite in between is noticed.

        Raises:
            OSError: the file can't be read.
        """
        head, recent = self._around(checkpoint.offset)
        if not self._holds(checkpoint, head, recent):
            return False
        self._move_to(checkpoint.offset, checkpoint.line, head=head, recent=recent)
        self.rejected = checkpoint.rejected
        self.id = checkpoint.file_id
        return True

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Return whether the bytes that were read up to a checkpoint are in this file.

        Raises:
            OSError: the file can't be read.
        """
        return self._holds(checkpoint, *self._around(checkpoint.offset))

    def _around(self, offset: int) -> tuple[bytes, bytes]:
        """Return the first bytes of the file and those before `offset`, as many as a checkpoint needs."""
        before = min(TAIL_BYTES, offset)
        head = os.pread(self.descriptor, min(HEAD_BYTES, offset), 0)
        return head, os.pread(self.descriptor, before, offset - before)

    @staticmethod
    def _holds(checkpoint: Checkpoint, head: bytes, recent: bytes) -> bool:
        return len(recent) == min(TAIL_BYTES, checkpoint.offset) and checkpoint.matches(head, recent)

    def _move_to(self, offset: int, line: int, *, head: bytes, recent: bytes) -> None:
        """Continue reading at `offset`, after `line` lines. `head` begins the file, and `recent` ends at `offset`."""
        self.line = line
        self._splitter = LineSplitter(offset)
        self._head = head[:HEAD_BYTES]
        self._recent = recent[-TAIL_BYTES:]
        self._within_line = offset > 0 and not recent.endswith((b"\n", b"\0"))

    def close(self) -> None:
        """Close the descriptor. Closing twice is harmless."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def refuse_output(self, path: Path | None = None) -> None:
        """Refuse to read what this process writes. `path` is for the error; None: the file's name.

        Raises:
            OutputFileError: the process writes to this file.
        """
        if self._is_output(self.descriptor):
            why = (
                "the worker writes its events or its log to this file, so it does not read it: each event would be "
                "read as a line. Remove this name of it, or let the events go to another file"
            )
            raise OutputFileError(errno.EINVAL, why, str(path or self.name))

    @property
    def partial(self) -> list[Line]:
        """The last line so far, whose newline has not come yet; see `LineSplitter.partial`."""
        return self._splitter.partial

    @property
    def has_partial(self) -> bool:
        """Whether there is a partial line that was not rejected at its present length."""
        return bool(self.partial) and self.end != self.rejected

    @property
    def offset(self) -> int:
        """The position, in bytes: all lines that end here or before have been read."""
        return self._splitter.partial_start

    @property
    def end(self) -> int:
        """Where reading continues, in bytes: after `offset` and the partial line."""
        return self._splitter.end

    @property
    def is_distinguished(self) -> bool:
        """Whether what was read can't also begin another file, as blank lines and comments can."""
        return self.offset > len(self._head) or holds_lines(self._head[: self.offset])

    def checkpoint(self) -> Checkpoint:
        """Return the position, with what identifies the file."""
        partial = self.end - self.offset
        tail = self._recent[: len(self._recent) - partial][-TAIL_BYTES:] if partial <= len(self._recent) else b""
        head = self._head[: self.offset]
        return Checkpoint(
            *self.identity,
            self.offset,
            self.line,
            len(head),
            digest(head),
            len(tail),
            digest(tail),
            self.rejected,
            self.id,
            self.size,
            self.mtime,
        )

    def seen(self) -> SeenFile:
        """Return the record of the file as one that has been read to its end."""
        return seen_file(self.identity[1], self.size, self.mtime, self._head)

    def is_intact(self) -> bool:
        """Return whether what was read is still there: the file was neither truncated nor rewritten.

        Raises:
            OSError: the file can't be read.
        """
        status = os.fstat(self.descriptor)
        is_intact = (
            status.st_size >= self.end
            and os.pread(self.descriptor, len(self._head), 0) == self._head
            and os.pread(self.descriptor, len(self._recent), self.end - len(self._recent)) == self._recent
        )
        if is_intact:
            self.size, self.mtime = status.st_size, status.st_mtime_ns
        return is_intact

    def read(self, max_lines: int) -> list[Line]:
        """Read and return the next lines, at most `max_lines`; empty: no line ends within the next `READ_BYTES`.

        Raises:
            OutputFileError: this process writes to the file by now.
            OSError: the file can't be read.
        """
        self._move_off_unterminated_line()
        size = min(CHUNK_BYTES, max(SMALLEST_CHUNK_BYTES, max_lines * 64))
        lines: list[Line] = []
        limit = self.end + READ_BYTES
        while not lines and self.end < limit and (data := os.pread(self.descriptor, size, self.end)):
            self.refuse_output()  # checked after the read, as the next: the data may have been written just now
            if not self.is_intact():  # the data may come from new content
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
            if self._splitter.zeros >= READ_BYTES:
                self._skip_hole()
        self.line += count_newlines(lines)
        return lines

    def _skip_hole(self) -> None:
        """Skip zeros that take no space on the disk: after a `copytruncate` there may be gigabytes of them."""
        size = os.fstat(self.descriptor).st_size
        try:
            data_begins = os.lseek(self.descriptor, self.end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # the file system doesn't know
                return
            data_begins = size  # the rest of the file is a hole
        if data_begins > self.end:
            self._splitter.skip_zeros(data_begins - self.end)  # what was read last are zeros, too

    def _move_off_unterminated_line(self) -> None:
        """If an earlier run read an unterminated last line that has grown since, go back to the start of the line.

        That run took a part of the line for the whole. If only the newline has come since, the line was complete, and
        reading continues after the newline.
        """
        if not self._within_line or not (more := os.pread(self.descriptor, 1, self.end)):
            return
        if more == b"\n":
            self._move_to(self.end + 1, self.line, head=self._head + more, recent=self._recent + more)
            return
        start = max(0, self.end - LINE_BYTES_LIMIT)
        before = os.pread(self.descriptor, self.end - start, start)
        if before.endswith(self._recent):  # if not, the file was rewritten, which the check after a read notices
            length = before.rfind(b"\n") + 1
            self._move_to(start + length, self.line - 1, head=self._head[: start + length], recent=before[:length])
            self._within_line = False

    def finish(self) -> None:
        """Move past the partial line, which was read as a complete one. If it grows, it is read again as a whole."""
        lines = self._splitter.finish()
        self.line += count_newlines(lines)
        self._within_line = bool(lines) and lines[-1].unterminated

    def is_read_to_the_end(self) -> bool:
        """Return whether the whole file has been read, a partial last line included. False if that can't be known."""
        with suppress(OSError):
            return os.fstat(self.descriptor).st_size <= self.end
        return False

    def has_name(self) -> bool:
        """Return whether the file still has a name in a directory. If not, closing it frees its disk space."""
        with suppress(OSError):
            return os.fstat(self.descriptor).st_nlink > 0
        return False

    def examine(self, length: int) -> tuple[os.stat_result, bytes] | None:
        """Return the status of the file and its first bytes, at most `length`; None: it was written to meanwhile.

        A file must not be remembered by the size and time of one content and the bytes of another.

        Raises:
            OSError: the file can't be read.
        """
        before = os.fstat(self.descriptor)
        head = os.pread(self.descriptor, length, 0)
        after = os.fstat(self.descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            return None
        return after, head

    def has_line(self) -> bool:
        """Return whether a complete line follows the position.

        Raises:
            OSError: the file can't be read.
        """
        return b"\n" in os.pread(self.descriptor, CHUNK_BYTES, self.end)

    def begins(self, other: TailReader) -> bool:
        """Return whether `other` begins with all of this file, as when this file is a copy that is still being made.

        Raises:
            OSError: one of them can't be read.
        """
        size = os.fstat(self.descriptor).st_size
        pieces = ((min(size, HEAD_BYTES), 0), (min(size, SMALLEST_CHUNK_BYTES), max(0, size - SMALLEST_CHUNK_BYTES)))
        return size > 0 and all(
            os.pread(self.descriptor, length, at) == os.pread(other.descriptor, length, at) for length, at in pieces
        )
