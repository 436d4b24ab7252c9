"""Following a file through whatever happens to it: a state machine, driven step by step, with no clock of its own.

What may happen between two steps: lines are appended, the last one perhaps torn; the file is renamed away and a new one
made, and a late writer goes on with the old one; it is copied and truncated; replaced; deleted and made again, on the
same inode perhaps; all of these several times. What is still to be found under the path or a sibling's name is read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from worker.intake.cursor import Cursor, Mark, decode, encode
from worker.intake.lines import LINE_BYTES_LIMIT, Line, parse, rejection
from worker.intake.watched import Watched, is_rotated_name, siblings
from worker.submissions import Batch, Rejection, Submission

DRAIN_SECONDS: Final = 5.0
"""How long a file that was rotated away is still read after its last growth: writers keep it open for a while."""
UNTERMINATED_SECONDS: Final = 1.0
"""A last line without a newline that has not grown for so long is whole, where no more is to come."""


class Happening(msgspec.Struct, frozen=True):
    """Something that happened to the file, for the log."""

    what: str
    """`appeared`, `rotated`, `truncated`, `deleted`, `retired`, `unreadable`, `readable`, `position_unreadable`."""
    detail: str | None = None


class Step(msgspec.Struct, frozen=True):
    """What one step brought."""

    batch: Batch | None
    happenings: tuple[Happening, ...]
    at_end: bool
    """All there is has been read; a torn last line may be left."""


class Follower:
    """Reads the lines of one path."""

    def __init__(self, path: Path, position: bytes | None, *, drain: float = DRAIN_SECONDS) -> None:
        """`position` is the one kept with the last batch accepted; None: from the start."""
        self._path = path
        self._origin = f"file:{path}"
        self._drain = drain
        self._current: Watched | None = None
        self._old: list[Watched] = []
        self._happenings: list[Happening] = []
        self._unreadable: str | None = None
        self._torn_since: tuple[bytes, float] | None = None
        cursor = decode(position)
        if position is not None and cursor is None:
            self._happened("position_unreadable")
        self._resume: tuple[Mark, ...] = cursor.files if cursor else ()

    @property
    def intake(self) -> str:
        """The name under which the position is kept."""
        return self._origin

    def close(self) -> None:
        for file in self._files():
            file.close()
        self._old, self._current = [], None

    def step(self, now: float, max_lines: int) -> Step:
        """Look at the path, and read the next lines. `now` is a clock's seconds that never go back."""
        try:
            self._find(now)
        except OSError as error:
            if self._unreadable is None:
                self._happened("unreadable", error.strerror)
            self._unreadable = error.strerror
        else:
            if self._unreadable is not None:
                self._happened("readable")
            self._unreadable = None
        submissions: list[Submission] = []
        rejections: list[Rejection] = []
        progressed = False
        for file in self._files():
            lines = file.read(max_lines - len(submissions))
            if lines or file.torn:
                self._take(file, lines, submissions, rejections)
            if lines:
                file.quiet_since = now
                progressed = True
            if len(submissions) >= max_lines:
                break
        progressed |= self._retire(now, rejections)
        happenings, self._happenings = tuple(self._happenings), []
        at_end = not self._resume and all(file.is_read_to_the_end() for file in self._files())
        return Step(self._batch(submissions, rejections) if progressed else None, happenings, at_end)

    def finish(self, now: float) -> tuple[Batch | None, bool]:
        """Where no more is to come: take an unterminated last line once it has been quiet; whether nothing is left."""
        torn = b"".join(file.torn for file in self._files())
        if not torn:
            return None, True
        if self._torn_since is None or self._torn_since[0] != torn:
            self._torn_since = (torn, now)
        if now - self._torn_since[1] < UNTERMINATED_SECONDS:
            return None, False
        submissions: list[Submission] = []
        rejections: list[Rejection] = []
        for file in self._files():
            if (line := file.finish()) is not None:
                self._take(file, [line], submissions, rejections)
        return self._batch(submissions, rejections), True

    def _files(self) -> list[Watched]:
        return self._old if self._current is None else [*self._old, self._current]

    def _happened(self, what: str, detail: str | None = None) -> None:
        self._happenings.append(Happening(what, detail))

    def _batch(self, submissions: list[Submission], rejections: list[Rejection]) -> Batch:
        position = encode(Cursor(tuple(file.mark() for file in self._files())))
        return Batch(submissions, rejections, self._origin, position)

    def _take(
        self, file: Watched, lines: list[Line], submissions: list[Submission], rejections: list[Rejection]
    ) -> None:
        stream = f"{file.device}:{file.inode}"
        number = file.line - len(lines)
        for line in lines:
            number += 1
            if line.too_long:
                found: Submission | Rejection | None = rejection(
                    line.raw,
                    f"a line holds {LINE_BYTES_LIMIT} bytes at most",
                    origin=self._origin,
                    line=number,
                    stream=stream,
                    offset=line.offset,
                )
            else:
                found = parse(line.raw, origin=self._origin, line=number, stream=stream, offset=line.offset)
            if isinstance(found, Submission):
                submissions.append(found)
            elif found is not None:
                rejections.append(found)

    def _retire(self, now: float, rejections: list[Rejection]) -> bool:
        """Let go of files that were rotated away and are quiet; whether there were any."""
        quiet = [file for file in self._old if file.is_read_to_the_end() and now - file.quiet_since >= self._drain]
        for file in quiet:
            torn_at, torn = file.offset, file.torn
            if torn:
                rejections.append(
                    rejection(
                        torn,
                        "the file was rotated away, and its last line has no newline",
                        origin=self._origin,
                        line=file.line + 1,
                        stream=f"{file.device}:{file.inode}",
                        offset=torn_at,
                    )
                )
            self._happened("retired", f"{file.offset} bytes read")
            file.close()
            self._old.remove(file)
        return bool(quiet)

    def _find(self, now: float) -> None:
        """Bring what is open into line with what stands under the path now.

        Raises:
            OSError: what stands there can't be read.
        """
        if self._resume:
            self._resume_from_marks(now)
        try:
            status = self._path.stat()
        except FileNotFoundError:
            if self._current is not None:
                self._happened("deleted")
                self._set_aside(self._current, now)
            return
        current = self._current
        if current is not None and current.identity == (status.st_dev, status.st_ino):
            if not current.was_rewritten():
                return
            self._happened("truncated")
            self._follow_copy(current.mark(), now)
            current.close()
            self._current = Watched.open(self._path)
            return
        opened = Watched.open(self._path)
        if current is not None:
            self._happened("rotated")
            self._set_aside(current, now)
            self._find_between(current, opened, now)
        elif not self._old:
            self._happened("appeared")
        self._current = opened

    def _set_aside(self, file: Watched, now: float) -> None:
        file.quiet_since = now
        self._old.append(file)
        self._current = None

    def _resume_from_marks(self, now: float) -> None:
        """Find again the files that were open when the position was kept."""
        marks, self._resume = self._resume, ()
        try:
            for mark in marks:
                file = self._found_at(self._path, mark)
                if file is not None:
                    self._current = file
                    continue
                for sibling in siblings(self._path):
                    if (file := self._found_at(sibling, mark)) is not None:
                        file.quiet_since = now
                        self._old.append(file)
                        break
                else:
                    self._follow_copy(mark, now)
        except OSError:
            self.close()
            self._resume = marks
            raise
        if self._current is None and self._old and self._path.exists():
            self._happened("rotated")
            newest = Watched.open(self._path)
            self._find_between(self._old[-1], newest, now)
            self._current = newest

    @staticmethod
    def _found_at(path: Path, mark: Mark) -> Watched | None:
        """The file of this mark, if it is what stands at `path`."""
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) != (mark.device, mark.inode):
                return None
            file = Watched.open(path, mark)
        except FileNotFoundError:
            return None
        if mark.matches(file.descriptor):
            return file
        file.close()
        return None

    def _follow_copy(self, mark: Mark, now: float) -> None:
        """Read on in the copy that was made before a truncation: it may hold lines that had not been read yet."""
        if mark.offset == 0:
            return
        for sibling in siblings(self._path):
            try:
                file = Watched.open(sibling, mark)
            except OSError:
                continue
            if file.identity not in {other.identity for other in self._files()} and mark.matches(file.descriptor):
                file.quiet_since = now
                self._old.append(file)
                return
            file.close()

    def _find_between(self, old: Watched, new: Watched, now: float) -> None:
        """Files that were made and rotated away since the last step: never seen under the path, and not yet read."""
        known = {file.identity for file in (*self._old, old, new)}
        since = os.fstat(old.descriptor).st_mtime_ns
        found: list[tuple[int, Watched]] = []
        for sibling in siblings(self._path):
            if not is_rotated_name(sibling.name, self._path.name):
                continue
            try:
                file = Watched.open(sibling)
            except OSError:
                continue
            written = os.fstat(file.descriptor).st_mtime_ns
            if file.identity in known or written < since:
                file.close()
                continue
            file.quiet_since = now
            found.append((written, file))
        self._old += [file for _, file in sorted(found, key=lambda pair: pair[0])]
