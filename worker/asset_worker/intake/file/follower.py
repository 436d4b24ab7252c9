"""Following a file through whatever happens to it: a state machine, driven step by step, with no clock of its own.

What may happen between two steps: lines are appended, the last one perhaps partial; the file is renamed away and a new
one
made, and a late writer goes on with the old one; it is copied and truncated; replaced; deleted and made again, on the
same inode perhaps; all of these several times. What is still to be found under the path or a sibling's name is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from asset_worker.domain.submissions import Batch, Rejection, Submission
from asset_worker.intake.file.checkpoint import decode, encode
from asset_worker.intake.file.file_set import FileSet
from asset_worker.intake.file.tail_reader import TailReader, reason
from asset_worker.intake.lines import parse, parse_lines, reject
from asset_worker.intake.splitter import Line

DRAIN_SECONDS: Final = 5.0
"""How long a file that was rotated away is still read after its last growth, once it is deleted or another one has
been rotated away: writers keep it open for a while. Until then it is read on, at the cost of a descriptor. A partial
last
line is rejected after this time in any case; should its end be written later, the line comes whole."""
UNTERMINATED_SECONDS: Final = 1.0
"""A last line without a newline that has not grown for so long is whole, where no more is to come."""


class FileEvent(msgspec.Struct, frozen=True):
    """Something that happened to the file, for the log."""

    what: str
    """`appeared`, `rotated`, `truncated`, `deleted`, `found` (a file that had been rotated away before it was seen),
    `retired`, `gone` (what was being read before a restart), `unreadable`, `readable`, `position_unreadable`."""
    detail: str | None = None
    """Of `unreadable` which file or directory, and why."""


class Step(msgspec.Struct, frozen=True):
    """What one step brought."""

    batch: Batch | None
    happenings: tuple[FileEvent, ...]
    at_end: bool
    """All there is has been read; a partial last line may be left. False while anything can't be read."""
    has_more: bool
    """It has read, and more is there: the next step is due at once."""
    problem: str | None
    """What keeps the file from being read, and why. (What may not be read beside it keeps it from nothing.)"""


class Follower:
    """Reads the lines of one path."""

    def __init__(self, path: Path, position: bytes | None, *, drain: float = DRAIN_SECONDS) -> None:
        """`position` is the one kept with the last batch accepted; None: from the start."""
        self._origin = f"file:{path}"
        self._drain = drain
        self._happenings: list[FileEvent] = []
        self._unreadable = False
        self._partial_since: tuple[int, float] | None = None
        cursor = decode(position)
        if position is not None and cursor is None:
            self._happened("position_unreadable")
        self._files = FileSet(path, cursor, self._happened)
        self._has_position = cursor is not None

    @property
    def intake(self) -> str:
        """The name under which the position is kept."""
        return self._origin

    def close(self) -> None:
        self._files.close()

    def step(self, now: float, max_lines: int) -> Step:
        """Look at the path, and read the next lines. `now` is a clock's seconds that never go back."""
        problem = None
        try:
            self._files.look(now)
        except OSError as error:
            problem = reason(error, self._origin)
        submissions: list[Submission] = []
        rejections: list[Rejection] = []
        progressed = has_more = False
        for file in self._files.files:
            end = file.end
            try:
                lines = file.read(max_lines - len(submissions))
            except OSError as error:
                problem = reason(error, file.name)
                continue
            if lines:
                self._take(file, lines, submissions, rejections)
                progressed = True
            if file.end != end:
                file.quiet_since = now
                has_more |= not file.is_read_to_the_end()
            if len(submissions) >= max_lines:
                break
        progressed |= self._retire(now, rejections)
        if problem is None and not self._has_position:
            progressed = self._has_position = True  # from the first look on, what comes beside the path is not history
        self._tell_of(problem)
        happenings, self._happenings = tuple(self._happenings), []
        read = all(file.is_read_to_the_end() for file in self._files.files)
        at_end = problem is None and self._files.is_found and read
        return Step(self._batch(submissions, rejections) if progressed else None, happenings, at_end, has_more, problem)

    def finish(self, now: float) -> tuple[Batch | None, bool]:
        """Where no more is to come: take an unterminated last line once it has been quiet; whether nothing is left."""
        partial = [file for file in self._files.files if file.has_partial]
        if not partial:
            return None, True
        read = sum(file.end for file in self._files.files)
        if self._partial_since is None or self._partial_since[0] != read:
            self._partial_since = (read, now)
        if now - self._partial_since[1] < UNTERMINATED_SECONDS:
            return None, False
        submissions: list[Submission] = []
        rejections: list[Rejection] = []
        for file in partial:
            if (line := file.finish()) is not None:
                self._take(file, [line], submissions, rejections)
        return self._batch(submissions, rejections), True

    def _happened(self, what: str, detail: str | None = None) -> None:
        self._happenings.append(FileEvent(what, detail))

    def _tell_of(self, problem: str | None) -> None:
        if problem is not None and not self._unreadable:
            self._happened("unreadable", problem)
        elif problem is None and self._unreadable:
            self._happened("readable")
        self._unreadable = problem is not None

    def _batch(self, submissions: list[Submission], rejections: list[Rejection]) -> Batch:
        return Batch(submissions, rejections, self._origin, encode(self._files.cursor()))

    def _take(
        self, file: TailReader, lines: list[Line], submissions: list[Submission], rejections: list[Rejection]
    ) -> None:
        first = file.line - len(lines) + 1
        found = parse_lines(lines, first=first, origin=self._origin, stream=file.stream)
        submissions += found[0]
        rejections += found[1]

    def _retire(self, now: float, rejections: list[Rejection]) -> bool:
        """Let go of files that were rotated away and are quiet, and of partial lines there; whether there were any."""
        progressed = False
        for file in tuple(self._files.old):
            if now - file.quiet_since < self._drain or not file.is_read_to_the_end():
                continue
            if file.has_partial:
                self._reject_partial(file, rejections)
                progressed = True
            if file is not self._files.latest_old:
                self._files.retire(file)
                progressed = True
        return progressed

    def _reject_partial(self, file: TailReader, rejections: list[Rejection]) -> None:
        partial = Line(file.partial, file.offset, file.end, file.is_too_long)
        number = file.line + 1
        file.rejected = file.end
        if parse(partial, number=number, origin=self._origin, stream=file.stream) is not None:
            reason = "the file was rotated away, and its last line has no newline"
            rejections.append(reject(partial, reason, number=number, origin=self._origin, stream=file.stream))
