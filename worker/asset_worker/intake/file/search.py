"""Searches for files that are not open and have lines left to read.

Such a file was being read before a restart, or is a copy that was made before the followed file was truncated; it is
found by its checkpoint. Or it is new: it appeared at the path and was rotated away between two looks. Whatever the name
of a new file, it was not modified before anything that the last look saw. So modification times distinguish it from
older files, which are not read; and only the clock of the file system is used.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, digest
from asset_worker.intake.file.directories import Directories
from asset_worker.intake.file.tail_reader import TailReader, describe

SETTLE_SECONDS: Final = 1.0
"""How long the search is repeated after a change: a list of a directory that is made during a renaming may lack a file,
and modification times have a limited resolution."""
RETIRED_KEPT: Final = 8
"""How many checkpoints are kept of files that were read to their end and closed."""

_TRANSIENT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class UnreadableFile(msgspec.Struct, frozen=True):
    """A file beside the path that is to be read but may not be opened. It is read as soon as it may be."""

    checkpoint: Checkpoint
    path: Path
    size: int
    why: str

    @property
    def has_unread(self) -> bool:
        """Whether it has grown since it was read and its partial line was rejected."""
        return self.size > max(self.checkpoint.offset, self.checkpoint.rejected)


class FileSearch:
    """The checkpoints of files that are not open, and the search for these files and for new ones."""

    def __init__(
        self,
        path: Path,
        directories: Directories,
        state: FollowerState | None,
        record: Callable[[str, str | None], None],
    ) -> None:
        """`record` takes the name and the detail of what happens, for the log."""
        self._path = path
        self._directories = directories
        self._record = record
        self.missing = list(state.files) if state else []
        """Checkpoints of files that were being read and have not been found yet."""
        self._unreadable: list[UnreadableFile] = []
        self.retired = list(state.retired) if state else []
        """Checkpoints of files that were read to their end and closed, the latest last."""
        self._since = state.since if state else None
        """As `FollowerState.since`. None before the first look: what is beside the path then is older, and not read."""
        self._next_since: tuple[float, int] | None = None
        self.is_stale = False
        """Whether files were renamed during the search, so that it may have missed some. The next one finds them."""

    @property
    def is_complete(self) -> bool:
        """Whether all files to be read have been searched for, and none of them is unreadable."""
        return not self.missing and not self.is_stale and not any(file.has_unread for file in self._unreadable)

    def state(self, open_files: list[Checkpoint]) -> FollowerState:
        """Return the state to be stored, with the checkpoints of the files that are open."""
        files = (*(file.checkpoint for file in self._unreadable), *self.missing, *open_files)
        return FollowerState(files, tuple(self.retired), self._since or 0)

    def begin(self) -> None:
        """Begin a new look."""
        self.is_stale = False

    def end(self, latest: int, now: float) -> None:
        """End a complete look. `latest` is the latest modification time that it saw, in nanoseconds.

        This time is used to recognise new files only after `SETTLE_SECONDS`, because a file may be found a little late.
        `now` is in monotonic seconds.
        """
        if self._since is None:
            self._since = latest
        if self._next_since is None:
            self._next_since = (now, latest)
        elif now - self._next_since[0] >= SETTLE_SECONDS:
            self._since, self._next_since = self._next_since[1], (now, latest)

    def retire(self, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint of a file that is closed, in case it grows later."""
        self.retired = [*self.retired, checkpoint][-RETIRED_KEPT:]

    def give_up_missing(self) -> None:
        """Forget the files that were not found, unless the search may have missed them."""
        if not self.is_stale:
            for checkpoint in self.missing:
                self._record("gone", f"{checkpoint.offset} bytes read")
            self.missing = []

    # Search by checkpoint

    def reopen_unreadable(self) -> Iterator[TailReader]:
        """Open the unreadable files that may be opened now, and yield them.

        Raises:
            OSError: the file at the path itself can't be read.
        """
        for unreadable in tuple(self._unreadable):
            found = self._resumed(unreadable.checkpoint, [unreadable.path])
            self._unreadable.remove(unreadable)
            if isinstance(found, UnreadableFile):
                self._unreadable.append(found)
            elif found is None:  # it was renamed since, or is gone
                self.missing.append(unreadable.checkpoint)
            else:
                self._record("readable", str(unreadable.path))
                yield found

    def reopen(self, checkpoint: Checkpoint) -> TailReader | None:
        """Open the file of a missing checkpoint, whatever its name is now; None: it is not found, or unreadable.

        Raises:
            OSError: the file at the path itself can't be read.
        """
        found = self._resumed(checkpoint, [self._path, *self._directories.siblings()])
        if found is None:
            return None
        self.missing.remove(checkpoint)
        if isinstance(found, UnreadableFile):
            self._add_unreadable(found)
            return None
        return found

    def resume_missing(self, file: TailReader) -> bool:
        """Return whether a file has the content of a missing one, as a copy has. If so, move it to the checkpoint."""
        for checkpoint in self.missing:
            if checkpoint.offset and file.resume(checkpoint):
                self.missing.remove(checkpoint)
                return True
        return False

    def _resumed(self, checkpoint: Checkpoint, paths: list[Path]) -> TailReader | UnreadableFile | None:
        """Open the file in which a checkpoint was made, if it is at one of the paths; None: it is not."""
        for path in paths:
            status = _status_beside(path)
            if status is None or checkpoint.identity != (status.st_dev, status.st_ino):
                continue
            with ExitStack() as opened:
                try:
                    file = TailReader.open(path)
                except FileNotFoundError:
                    self.is_stale = True
                    continue
                except PermissionError as error:
                    if path == self._path:
                        raise
                    return UnreadableFile(checkpoint, path, status.st_size, describe(error, str(path)))
                opened.callback(file.close)
                if file.resume(checkpoint):
                    opened.pop_all()
                    return file
        return None

    # Search beside the path

    def find(self, known: list[TailReader], rewritten: list[TailReader], opened: ExitStack) -> list[TailReader]:
        """Return the files beside the path that have unread lines, the oldest first.

        Files in `rewritten` are included if they have such lines; files in `known` are not. `opened` closes the files
        that are opened here.

        Raises:
            OSError: a file can't be opened now.
        """
        known = list(known)
        found: list[tuple[int, TailReader]] = []
        for file in rewritten:
            if self._has_unread(file, known, recent=True):
                found.append((last_written(file), file))
                known.append(file)
        seen = {file.identity for file in (*known, *rewritten)} | {
            file.checkpoint.identity for file in self._unreadable
        }
        for path, status, recent in self._candidates():
            if not (recent or self.missing) or (status.st_dev, status.st_ino) in seen:
                continue
            opening = self._opened(path, status, recent=recent)
            if opening is None:
                continue
            opened.callback(opening.close)
            if self._has_unread(opening, known, recent=recent):
                found.append((status.st_mtime_ns, opening))
                known.append(opening)
                seen.add(opening.identity)
            else:
                opening.close()
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def _candidates(self) -> list[tuple[Path, os.stat_result, bool]]:
        """Return the files beside the path, and whether each is a new, rotated file; new and long files come first."""
        candidates = [
            (path, status, self._is_new(status) and is_rotated)
            for path, is_rotated in self._directories.siblings().items()
            if (status := _status_beside(path)) is not None
        ]
        return sorted(candidates, key=lambda each: (self._is_new(each[1]), each[1].st_size), reverse=True)

    def _is_new(self, status: os.stat_result) -> bool:
        return self._since is not None and status.st_mtime_ns >= self._since

    def _opened(self, path: Path, status: os.stat_result, *, recent: bool) -> TailReader | None:
        """Open a file that was found beside the path.

        None: it is no longer there, can't be followed, or may not be opened.

        Raises:
            OSError: it can't be opened now.
        """
        try:
            file = TailReader.open(path)
        except FileNotFoundError:
            self.is_stale = True
        except PermissionError as error:
            checkpoint = self._checkpoint_of(status)
            unreadable = UnreadableFile(checkpoint, path, status.st_size, describe(error, str(path)))
            if recent and unreadable.has_unread:
                self._add_unreadable(unreadable)
        except OSError as error:
            if error.errno in _TRANSIENT:
                raise
        else:
            if file.identity == (status.st_dev, status.st_ino):
                return file
            file.close()
            self.is_stale = True
        return None

    def _checkpoint_of(self, status: os.stat_result) -> Checkpoint:
        """Return the checkpoint at which a file was closed; if there is none, the start of the file."""
        identity = (status.st_dev, status.st_ino)
        nothing = digest(b"")
        start = Checkpoint(*identity, 0, 0, 0, nothing, 0, nothing)
        return next((checkpoint for checkpoint in reversed(self.retired) if checkpoint.identity == identity), start)

    def _add_unreadable(self, unreadable: UnreadableFile) -> None:
        self._record("unreadable", unreadable.why)
        self._unreadable.append(unreadable)

    def _has_unread(self, file: TailReader, known: list[TailReader], *, recent: bool) -> bool:
        """Return whether a file has lines that were not read. If so, move it to where they begin."""
        with suppress(OSError):  # a file that can't be read must not keep the others from being read
            if self.resume_missing(file):
                return True
            if not recent:
                return False
            for checkpoint in reversed(self.retired):  # the latest first; a checkpoint at offset 0 would fit any file
                if (checkpoint.offset or checkpoint.identity == file.identity) and file.resume(checkpoint):
                    return file.has_line()
            return not any(file.begins(other) for other in known)
        return False


def last_written(file: TailReader) -> int:
    """Return the modification time of an open file, in nanoseconds; 0 if it can't be read."""
    with suppress(OSError):
        return os.fstat(file.descriptor).st_mtime_ns
    return 0


def _status_beside(path: Path) -> os.stat_result | None:
    """Return the status of what is at a path beside the followed one; None: nothing that can be examined."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in _TRANSIENT:
            raise
        return None
