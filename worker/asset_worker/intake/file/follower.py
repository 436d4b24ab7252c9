"""Follows a file through everything that writers and rotation do to it: a state machine, driven step by step.

Between two steps, lines may be appended; the last one may be partial. The file may be renamed and a new one created,
while a late writer continues with the old one. It may be copied and truncated, replaced, or deleted and created again,
perhaps on the same inode. All of this may happen several times. Every line is read that is still in a file at the path
or beside it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.domain.submissions import Batch
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.file.checkpoint import FollowerState, decode, encode
from asset_worker.intake.file.file_set import FileSet
from asset_worker.intake.file.missing import missing_directory
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.positions import find_position
from asset_worker.intake.file.queue_file import QueueFile, is_no_output
from asset_worker.intake.file.tail_reader import OutputFileError, TailReader, describe
from asset_worker.intake.lines import ParsedLines, parse_lines
from asset_worker.intake.splitter import Line, count_newlines

DRAIN_SECONDS: Final = 5.0
"""How long reading a rotated file goes on after its last growth, once it is deleted or another file was rotated after
it: writers keep it open for a while. Until then reading goes on without a limit, at the cost of one descriptor. A
partial last line is taken for a whole one after this time; if its end is written later, the whole line is read."""


class FileEvent(msgspec.Struct, frozen=True):
    """Something that happened to the file, for the log."""

    what: str
    """`appeared`, `rotated`, `truncated`, `deleted`, `found` (a file that was rotated before it was seen), `retired`
    (read to its end and closed), `gap` (lines may be missing), `reread` (a file is read from its start, although it may
    have been read before), `unreadable`, `readable`, `position_unreadable`."""
    detail: str | None = None
    """More about it, for people. With `unreadable`: which file or directory, and why. With `gap`: what to do."""


class Step(msgspec.Struct, frozen=True):
    """The result of one step."""

    batch: Batch | None
    """What was read; None: the position is the same as before."""
    file_events: tuple[FileEvent, ...]
    at_end: bool
    """Whether everything has been read, except perhaps a partial last line. False while anything can't be read."""
    has_more: bool
    """Whether something was read and there is more, so that the next step is due at once."""
    problem: str | None
    """What keeps the file from being read, and why; None: nothing. Unreadable files beside it don't count."""


class Follower:
    """Reads the lines of one path, and of the files that were rotated away from it."""

    def __init__(
        self,
        path: Path,
        positions: Mapping[str, bytes],
        *,
        rotated: tuple[str, ...] = ROTATED,
        drain: float = DRAIN_SECONDS,
        is_output: Callable[[int], bool] = is_no_output,
    ) -> None:
        """Read nothing yet.

        Args:
            path: the path, absolute.
            positions: those of the last accepted batches, by the intakes' names.
            rotated: globs that recognise rotated files, see `rotated_names`.
            drain: how long a rotated file is read after its last growth, in seconds.
            is_output: returns whether this process writes to the file of a descriptor.
        """
        self._path = path
        self._queue_file = QueueFile(path, is_output)
        self._origin = f"file:{path}"
        self._positions = positions
        self._rotated = rotated
        self._drain = drain
        self._file_events: list[FileEvent] = []
        self._has_problem = False
        self._has_started = False
        self._partial_since: tuple[int, float] | None = None
        """How many bytes had been read when the partial lines last grew, and when that was, in monotonic seconds."""
        self._files = FileSet(self._queue_file, None, rotated, self._record)
        self._state: FollowerState | None = None
        """The state after the last step."""
        self._stored: FollowerState | None = None
        """The state that was last handed over to be stored."""
        self.intake = self._origin
        """The name under which the position is kept. It is that of the real file, known after the first step."""

    def _start(self) -> None:
        """Find the position from which reading goes on. The constructor does no I/O, which may hang."""
        self.intake = f"file:{os.path.realpath(self._path)}"
        position = find_position(self._queue_file, self._positions)
        state = decode(position)
        if position is not None and state is None:
            self._record("position_unreadable")
        self._files = FileSet(self._queue_file, state, self._rotated, self._record)
        self._state = self._stored = state
        self._has_started = True

    def progress(self) -> InputReport:
        """Return how far the file at the path was read, and how much is left to read in all open files."""
        current, behind = self._files.current, 0
        for file in self._files.files:
            with suppress(OSError):
                behind += max(os.fstat(file.descriptor).st_size - file.end, 0)
        return InputReport(None if current is None else current.end, behind)

    def close(self) -> None:
        """Close all files. Closing twice is harmless."""
        self._files.close()

    def step(self, now: float, max_lines: int) -> Step:
        """Look at the path and read the next lines, about `max_lines` at most. `now` is in monotonic seconds."""
        if not self._has_started:
            self._start()
        problem = None
        try:
            self._files.look(now)
        except OSError as error:
            problem = describe(error, self._origin)
        parsed = ParsedLines([], [], [])
        progressed = has_more = False
        for file in tuple(self._files.files):
            end = file.end
            try:
                lines = file.read(max_lines - parsed.taken)
            except OSError as error:
                problem = describe(error, file.name)
                # The descriptor is useless, but the file may still be there; or the worker writes to the file by now.
                if error.errno == errno.ESTALE or isinstance(error, OutputFileError):
                    self._files.release(file)
                continue
            if lines:
                parsed.add(self._parse(file, lines, first=file.line - count_newlines(lines) + 1))
                progressed = True
            if file.end != end:
                file.quiet_since = now
                has_more |= not file.is_read_to_the_end()
            if parsed.taken >= max_lines:
                break
        progressed |= self._retire_quiet_files(now, parsed)
        progressed |= problem is None and not has_more and self._is_to_be_stored()
        problem = problem or missing_directory(self._path)
        self._record_change_of(problem)
        file_events, self._file_events = tuple(self._file_events), []
        at_end = (
            problem is None and self._files.is_complete and all(file.is_read_to_the_end() for file in self._files.files)
        )
        batch = self._batch(parsed) if progressed else None
        return Step(batch, file_events, at_end, has_more, problem)

    def finish(self, now: float, wait: float) -> tuple[Batch | None, bool]:
        """Take last lines without a newline for whole ones, because no more input is expected.

        That is done when none of them has grown for `wait` seconds; `now` is in monotonic seconds. Return the batch,
        and whether nothing is left to read.
        """
        partial = [file for file in self._files.files if file.has_partial]
        if not partial:
            return None, True
        read = sum(file.end for file in self._files.files)
        if self._partial_since is None or self._partial_since[0] != read:
            self._partial_since = (read, now)
        if now - self._partial_since[1] < wait:
            return None, False
        parsed = ParsedLines([], [], [])
        for file in partial:
            parsed.add(self._take_partial(file))
        return self._batch(parsed), True

    def _is_to_be_stored(self) -> bool:
        """Return whether the state is to be stored although no line was read.

        It says which files were seen, and how a file can be recognised that is restored from a copy. What changes is
        stored when it has been the same for one step; other files are stored at once.
        """
        before, self._state = self._state, self._files.state()
        if self._stored is None:
            return True
        if [each.identity for each in self._state.files] != [each.identity for each in self._stored.files]:
            return True
        is_quiet = before is not None and _remembered(before) == _remembered(self._state)
        return is_quiet and _remembered(self._state) != _remembered(self._stored)

    def _record(self, what: str, detail: str | None = None) -> None:
        self._file_events.append(FileEvent(what, detail))

    def _record_change_of(self, problem: str | None) -> None:
        if problem is not None and not self._has_problem:
            self._record("unreadable", problem)
        elif problem is None and self._has_problem:
            self._record("readable")
        self._has_problem = problem is not None

    def _batch(self, parsed: ParsedLines) -> Batch:
        self._stored = self._files.state()
        return Batch(parsed.submissions, parsed.rejections, self.intake, encode(self._stored), parsed.zeros)

    def _parse(self, file: TailReader, lines: list[Line], *, first: int) -> ParsedLines:
        return parse_lines(lines, first=first, origin=self._origin, stream=file.id)

    def _take_partial(self, file: TailReader) -> ParsedLines:
        """Parse the partial line of a file. If it holds no submission, the position stays before it.

        A line that is rejected now and completed later is then read as a whole.
        """
        parsed = self._parse(file, file.partial, first=file.line + 1)
        if parsed.submissions:
            file.finish()
        else:
            file.rejected = file.end
        return parsed

    def _retire_quiet_files(self, now: float, parsed: ParsedLines) -> bool:
        """Take the partial lines of rotated files that are quiet for whole ones, and close these files.

        The file that was rotated last stays open. Return whether a partial line was taken or a file closed.
        """
        progressed = False
        for file in tuple(self._files.old):
            if now - file.quiet_since < self._drain or not file.is_read_to_the_end():
                continue
            if file.has_partial:
                parsed.add(self._take_partial(file))
                progressed = True
            if file is not self._files.latest_old:
                self._files.retire(file)
                progressed = True
        return progressed


def _remembered(state: FollowerState) -> tuple[object, ...]:
    """Return the parts of a state that are stored when they change; the time alone may change ten times a second."""
    files = [
        (each.identity, each.offset, each.rejected, each.file_id, each.size, each.mtime)
        for each in (*state.files, *state.retired)
    ]
    return (files, state.seen, state.path, state.is_settled)
