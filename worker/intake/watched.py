"""One file, read line by line while others write it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from worker.intake.cursor import HEAD_BYTES, TAIL_BYTES, Mark, digest
from worker.intake.lines import Line, LineSplitter

CHUNK_BYTES: Final = 256 * 1024
SMALLEST_CHUNK_BYTES: Final = 4096


class NotAFileError(OSError):
    """The path names something that can't be followed: a directory, a pipe, a device."""


class Watched:
    """An open file, and how far it has been read."""

    def __init__(self, descriptor: int, *, offset: int = 0, line: int = 0) -> None:
        status = os.fstat(descriptor)
        self.descriptor = descriptor
        self.device, self.inode = status.st_dev, status.st_ino
        self.line = line
        self.quiet_since = 0.0
        """When it was last seen to grow or to be rotated, by the follower's clock."""
        self._splitter = LineSplitter(offset)
        self._head = os.pread(descriptor, min(HEAD_BYTES, offset), 0)
        self._recent = os.pread(descriptor, min(TAIL_BYTES, offset), max(0, offset - TAIL_BYTES))
        self._checked: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path, mark: Mark | None = None) -> Watched:
        """Open a file, to be read from its start or from a mark that was made in it.

        Raises:
            OSError: it can't be opened, or is no regular file.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold the open up
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAFileError(errno.EINVAL, "is not a regular file", str(path))
        return cls(descriptor, offset=mark.offset if mark else 0, line=mark.line if mark else 0)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.descriptor)

    @property
    def identity(self) -> tuple[int, int]:
        return (self.device, self.inode)

    @property
    def torn(self) -> bytes:
        """The last line as far as it has come."""
        return self._splitter.torn

    @property
    def offset(self) -> int:
        """All lines that end here or before have been read."""
        return self._splitter.torn_at

    def mark(self) -> Mark:
        torn = self._splitter.end - self.offset
        tail = self._recent[: len(self._recent) - torn][-TAIL_BYTES:] if torn <= len(self._recent) else b""
        head = self._head[: self.offset]
        return Mark(self.device, self.inode, self.offset, self.line, len(head), digest(head), len(tail), digest(tail))

    def was_rewritten(self) -> bool:
        """Whether what has been read is no longer what stands there: truncated, or truncated and grown again."""
        status = os.fstat(self.descriptor)
        if status.st_size < self._splitter.end:
            return True
        seen = (status.st_size, status.st_mtime_ns)
        if seen == self._checked:
            return False
        rewritten = not self.mark().matches(self.descriptor)
        self._checked = seen
        return rewritten

    def read(self, max_lines: int) -> list[Line]:
        """The next lines, `max_lines` at most; none: there is no complete one."""
        size = min(CHUNK_BYTES, max(SMALLEST_CHUNK_BYTES, max_lines * 64))
        lines: list[Line] = []
        while not lines and (data := os.pread(self.descriptor, size, self._splitter.end)):
            start = self._splitter.end
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

    def finish(self) -> Line | None:
        """The unterminated last line, taken as it is."""
        line = self._splitter.finish()
        self.line += line is not None
        return line

    def is_read_to_the_end(self) -> bool:
        return os.fstat(self.descriptor).st_size <= self._splitter.end


def siblings(path: Path) -> Iterator[Path]:
    """What a file of this name may have been renamed or copied to."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(path.name) and entry.name != path.name:
                yield path.parent / entry.name


def is_rotated_name(name: str, base: str) -> bool:
    """Whether a name is one that log rotation gives: `queue.1`, `queue-20261123`, `queue.2026-11-23.2`, `queue.old`."""
    return re.fullmatch(re.escape(base) + r"[.-](\d[\d.T_-]*|old)", name) is not None
