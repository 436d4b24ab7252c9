"""Finding files that are not open and have lines left to read.

Such a file was being read before a restart, or was copied before the followed file was truncated; it is found by its
checkpoint. Or it is new: it came to the path and was rotated away between two looks. A new file, whatever its name is
by then, was modified no earlier than anything that the last look saw. So modification times distinguish it from
history, which is not read; and the only clock used is that of the file system.
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
"""How long the search is repeated after a change: a directory that is listed during a renaming may miss a file, and
modification times have a limited resolution."""
RETIRED_KEPT: Final = 8
"""How many checkpoints are kept of files that were closed for good."""

_TRANSIENT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class UnreadableFile(msgspec.Struct, frozen=True):
    """A file beside the path that has to be read, and may not be opened: it is read as soon as it may."""

    checkpoint: Checkpoint
    path: Path
    size: int
    why: str

    @property
    def has_unread(self) -> bool:
        """Whether it is longer than it was when it was read and its partial line rejected."""
        return self.size > max(self.checkpoint.offset, self.checkpoint.rejected)


class FileSearch:
    """The checkpoints of files that are not open, and the search for the files of those and for new ones."""

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
        """Files that were being read, and are to be found."""
        self._unreadable: list[UnreadableFile] = []
        self.retired = list(state.retired) if state else []
        """Files that were closed for good, the latest last."""
        self._since = state.since if state else None
        """As in the state. None before the first look: everything beside the path is history then."""
        self._next_since: tuple[float, int] | None = None
        self.is_stale = False
        """Files were renamed while the search went through them: the next one finds what it missed."""

    @property
    def is_complete(self) -> bool:
        """Whether all files to be read have been searched for, and none of them is unreadable."""
        return not self.missing and not self.is_stale and not any(file.has_unread for file in self._unreadable)

    def state(self, open_files: list[Checkpoint]) -> FollowerState:
        """The state to be stored, with the checkpoints of the files that are open."""
        files = (*(file.checkpoint for file in self._unreadable), *self.missing, *open_files)
        return FollowerState(files, tuple(self.retired), self._since or 0)

    def begin(self) -> None:
        """Begin a new look."""
        self.is_stale = False

    def end(self, latest: int, now: float) -> None:
        """End a look that was complete. `latest` is the latest modification time that it saw, in nanoseconds.

        It counts for new files only once it is `SETTLE_SECONDS` old: a file may be found a little late.
        """
        if self._since is None:
            self._since = latest
        if self._next_since is None:
            self._next_since = (now, latest)
        elif now - self._next_since[0] >= SETTLE_SECONDS:
            self._since, self._next_since = self._next_since[1], (now, latest)

    def retire(self, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint of a file that is closed for good, should there be more in it later."""
        self.retired = [*self.retired, checkpoint][-RETIRED_KEPT:]

    def give_up_missing(self) -> None:
        """Forget the files that were not found, unless the search may have missed them."""
        if not self.is_stale:
            for checkpoint in self.missing:
                self._record("gone", f"{checkpoint.offset} bytes read")
            self.missing = []

    # By checkpoint

    def reopen_unreadable(self) -> Iterator[TailReader]:
        """Open the unreadable files that may be opened now.

        Raises:
            OSError: the file at the path itself can't be read.
        """
        for unreadable in tuple(self._unreadable):
            found = self._resumed(unreadable.checkpoint, [unreadable.path])
            self._unreadable.remove(unreadable)
            if isinstance(found, UnreadableFile):
                self._unreadable.append(found)
            elif found is None:  # it has been renamed since, or is gone
                self.missing.append(unreadable.checkpoint)
            else:
                self._record("readable", str(unreadable.path))
                yield found

    def reopen(self, checkpoint: Checkpoint) -> TailReader | None:
        """Open the file of a missing checkpoint, whatever its name is now; None if it was not found, or is unreadable.

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
        """Whether a file has the content of a missing one, as a copy has. Then it is moved to the checkpoint."""
        for checkpoint in self.missing:
            if checkpoint.offset and file.resume(checkpoint):
                self.missing.remove(checkpoint)
                return True
        return False

    def _resumed(self, checkpoint: Checkpoint, paths: list[Path]) -> TailReader | UnreadableFile | None:
        """The file in which a checkpoint was made, if it is at one of the paths."""
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

    # Beside the path

    def find(self, known: list[TailReader], rewritten: list[TailReader], opened: ExitStack) -> list[TailReader]:
        """The files beside the path that have unread lines, the oldest first.

        Those among `rewritten` that have such lines are included; those in `known` are not. Files that are opened here
        are closed by `opened`.

        Raises:
            OSError: a file can't be opened at present.
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
        """Files beside the path, and whether each is a rotated file that is new; new and long files first."""
        candidates = [
            (path, status, self._is_new(status) and is_rotated)
            for path, is_rotated in self._directories.siblings().items()
            if (status := _status_beside(path)) is not None
        ]
        return sorted(candidates, key=lambda each: (self._is_new(each[1]), each[1].st_size), reverse=True)

    def _is_new(self, status: os.stat_result) -> bool:
        return self._since is not None and status.st_mtime_ns >= self._since

    def _opened(self, path: Path, status: os.stat_result, *, recent: bool) -> TailReader | None:
        """Open a file that was seen beside the path.

        None if it is no longer there, can't be followed, or may not be opened.

        Raises:
            OSError: it can't be opened at present.
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
        """How far a file has been read: up to where it was closed, or not at all."""
        identity = (status.st_dev, status.st_ino)
        nothing = digest(b"")
        start = Checkpoint(*identity, 0, 0, 0, nothing, 0, nothing)
        return next((checkpoint for checkpoint in reversed(self.retired) if checkpoint.identity == identity), start)

    def _add_unreadable(self, unreadable: UnreadableFile) -> None:
        self._record("unreadable", unreadable.why)
        self._unreadable.append(unreadable)

    def _has_unread(self, file: TailReader, known: list[TailReader], *, recent: bool) -> bool:
        """Whether a file has lines that were not read. Then it is moved to where they begin."""
        with suppress(OSError):  # a file beside the path that can't be read must not keep the others from being read
            if self.resume_missing(file):
                return True
            if not recent:
                return False
            for checkpoint in reversed(self.retired):  # the latest first: any file begins with an empty one
                if (checkpoint.offset or checkpoint.identity == file.identity) and file.resume(checkpoint):
                    return file.has_line()
            return not any(file.begins(other) for other in known)
        return False


def last_written(file: TailReader) -> int:
    """The modification time of an open file, in nanoseconds; 0 if it can't be read."""
    with suppress(OSError):
        return os.fstat(file.descriptor).st_mtime_ns
    return 0


def _status_beside(path: Path) -> os.stat_result | None:
    """The status of what is beside the path; None if there is nothing, or nothing that can be looked at."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in _TRANSIENT:
            raise
        return None
