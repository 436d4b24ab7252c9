"""Searches for files that are not open and have lines left to read.

Such a file was being read before a restart, or is a copy that was made before the followed file was truncated; it is
found by its checkpoint. Or it is new: it appeared at the path and was rotated away between two looks, see
`siblings.py`.

An error is not an absence. A file that can't be examined now, whatever the reason, is kept and tried again; only a file
that is in no directory any more is given up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, unused_id
from asset_worker.intake.file.directories import Directories, Entry
from asset_worker.intake.file.gaps import gap_of_missing
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.seen import SeenFiles
from asset_worker.intake.file.siblings import SeenFile
from asset_worker.intake.file.tail_reader import NotAFileError, TailReader, describe

RETIRED_KEPT: Final = 8
"""How many checkpoints are kept of files that were read to their end and closed."""


class UnreadableFile(msgspec.Struct, frozen=True):
    """A file beside the path that is to be read but can't be now. It is read as soon as it can be."""

    checkpoint: Checkpoint
    path: Path
    size: int | None
    """None: not known."""
    why: str
    is_rotated: bool
    """Whether its name is one that rotation gives."""

    @property
    def has_unread(self) -> bool:
        """Whether it has grown since it was read and its partial line was rejected."""
        return self.size is None or self.size > max(self.checkpoint.offset, self.checkpoint.rejected)


class FileSearch:
    """The checkpoints of files that are not open, and the search for these files and for new ones."""

    def __init__(
        self,
        queue_file: QueueFile,
        directories: Directories,
        state: FollowerState | None,
        record: Callable[[str, str | None], None],
    ) -> None:
        """`record` takes the name and the detail of what happens, for the log."""
        self._path = queue_file.path
        self.open = queue_file.open
        """See `QueueFile.open`."""
        self._directories = directories
        self._record = record
        self.missing = list(state.files) if state else []
        """Checkpoints of files that were being read and have not been found yet."""
        self._sought: tuple[Checkpoint, ...] = ()
        """Those that were not found by the last complete search."""
        self.stored = tuple(self.missing)
        """Those of them that an earlier run stored."""
        self.unreadable: list[UnreadableFile] = []
        self.retired = list(state.retired) if state else []
        """Checkpoints of files that were read to their end and closed, the latest last."""
        self._lost = [*self.retired]
        """Checkpoints of files that may come back, as when their volume is mounted late."""
        self.seen = SeenFiles(state)
        self.is_stale = False
        """Whether files were renamed during the search, so that it may have missed some. The next one finds them."""

    @property
    def is_complete(self) -> bool:
        """Whether all files to be read have been searched for, and none of them is unreadable."""
        return not self.missing and not self.is_stale and not any(file.has_unread for file in self.unreadable)

    @property
    def may_be_restored(self) -> bool:
        """Whether there are files of an earlier run that may come to the path again."""
        return bool(self.missing or self._lost)

    def state(self, open_files: list[Checkpoint]) -> FollowerState:
        """Return the state to be stored, with the checkpoints of the files that are open."""
        unreadable = (msgspec.structs.replace(file.checkpoint, is_doubtful=file.is_rotated) for file in self.unreadable)
        files = (*unreadable, *self.missing, *open_files)
        seen = self.seen.files
        return FollowerState(files, tuple(self.retired), self.seen.since or 0, seen=seen, path=str(self._path))

    def begin(self) -> None:
        """Begin a new look."""
        self.is_stale = False

    def retire(self, file: TailReader) -> list[SeenFile]:
        """Keep the checkpoint of a file that is closed, in case it grows later.

        Return the files whose checkpoints are not kept any longer, as files that are not to be read.
        """
        retired = [*self.retired, msgspec.structs.replace(file.checkpoint(), start=file.seen().head)]
        self.retired = retired[-RETIRED_KEPT:]
        return [each.seen() for each in retired[:-RETIRED_KEPT] if self.retired_on(each.inode) is None]

    def give_up_missing(self) -> None:
        """Forget the files that two searches did not find, and say what may be missing of them.

        One search may have missed them, because files are renamed and copied meanwhile.
        """
        if self.is_stale or self.unreadable or not self._directories.are_listable_or_closed:
            return
        is_listable = self._directories.are_listable
        for checkpoint in tuple(self.missing):
            was_closed = checkpoint in self.stored
            if checkpoint not in self._sought or (was_closed and not is_listable):
                continue
            self.missing.remove(checkpoint)
            is_current = not was_closed or checkpoint == self.stored[-1]
            gap = gap_of_missing(checkpoint, self._path, is_current=is_current, was_closed=was_closed)
            if gap is not None:
                self._record("gap", gap)
            if was_closed:
                self._lost.append(checkpoint)
        self._sought = tuple(self.missing)

    def inodes(self) -> set[int]:
        """Return the inodes of the files that are searched for, whatever their names."""
        return {checkpoint.inode for checkpoint in (*self.missing, *(file.checkpoint for file in self.unreadable))}

    def reopen_unreadable(self) -> Iterator[TailReader]:
        """Open the unreadable files that can be opened now, and yield them.

        Raises:
            OSError: the file at the path itself can't be read.
        """
        for unreadable in tuple(self.unreadable):
            found = self._resumed(unreadable.checkpoint, {unreadable.path: unreadable.checkpoint.inode})
            self.unreadable.remove(unreadable)
            if isinstance(found, UnreadableFile):
                self.unreadable.append(msgspec.structs.replace(found, is_rotated=unreadable.is_rotated))
            elif found is None:  # it was renamed since, or is gone, or another file was on its inode
                self.missing.append(unreadable.checkpoint)
                other = self._other_on_inode(unreadable.checkpoint, unreadable.path) if unreadable.is_rotated else None
                if other is not None:
                    self._record("readable", str(unreadable.path))
                    yield other
            else:
                self._record("readable", str(unreadable.path))
                if not found.offset:  # nothing was known of it: it may be a copy
                    self.resume_missing(found)
                yield found

    def _other_on_inode(self, checkpoint: Checkpoint, path: Path) -> TailReader | None:
        """Open a rotated file that was taken for the one of the checkpoint while it was unreadable; None: it is gone.

        It is on that inode, but has other content.
        """
        with suppress(OSError), ExitStack() as opened:
            file = self.open(path)
            opened.callback(file.close)
            if file.identity[1] == checkpoint.inode:
                file.id = self.unused_id(file, ())
                self.resume_missing(file)
                opened.pop_all()
                return file
        return None

    def reopen(self, checkpoint: Checkpoint, entries: Sequence[Entry]) -> TailReader | None:
        """Open the file of a missing checkpoint, whatever its name is now; None: it is not found, or unreadable.

        Raises:
            OSError: the file at the path itself can't be read.
        """
        found = self._resumed(checkpoint, {self._path: 0} | {entry.path: entry.inode for entry in entries})
        if found is None:
            return self._reopen_doubtful(checkpoint, entries) if checkpoint.is_doubtful else None
        self.missing.remove(checkpoint)
        if isinstance(found, UnreadableFile):
            is_rotated = any(entry.is_rotated for entry in entries if entry.path == found.path)
            self.set_aside(msgspec.structs.replace(found, is_rotated=is_rotated))
            return None
        return found

    def _reopen_doubtful(self, checkpoint: Checkpoint, entries: Sequence[Entry]) -> TailReader | None:
        """Open the other file that an earlier run could not distinguish from the one of the checkpoint; None: none."""
        for entry in entries:
            if entry.is_rotated and (other := self._other_on_inode(checkpoint, entry.path)) is not None:
                certain = msgspec.structs.replace(checkpoint, is_doubtful=False)
                self.missing = [certain if each == checkpoint else each for each in self.missing]
                self.stored = tuple(certain if each == checkpoint else each for each in self.stored)
                return other
        return None

    def resume_restored(self, file: TailReader) -> bool:
        """Return whether a file at the path, on an unknown inode, is a copy that was restored; if so, move it on.

        That is looked for only in what an earlier run has left: while the worker runs, a new inode is a new file.

        Raises:
            OSError: the file can't be read.
        """
        for checkpoint in (*reversed([each for each in self.missing if each in self.stored]), *reversed(self._lost)):
            if checkpoint.is_restored(file.mtime) and file.resume(checkpoint):
                for checkpoints in (self.missing, self._lost):
                    if checkpoint in checkpoints:
                        checkpoints.remove(checkpoint)
                return True
        return False

    def resume_missing(self, file: TailReader, *, beyond: int = 0) -> bool:
        """Return whether a file has the content of a missing one, as a copy has. If so, move it to the checkpoint.

        `beyond`: how many bytes are known to be another file's; fewer of a missing one's would prove nothing.
        """
        for checkpoint in self.missing:
            if checkpoint.offset > beyond and file.resume(checkpoint):
                self.missing.remove(checkpoint)
                return True
        return False

    def unused_id(self, file: TailReader, others: Sequence[TailReader]) -> str:
        """Return the id for a file that is read from its start: no other content on the same inode has had it."""
        used = {checkpoint.file_id for checkpoint in (*self.missing, *self.retired, *self.stored)}
        return unused_id(file.id, used | {other.id for other in others})

    def _resumed(self, checkpoint: Checkpoint, paths: Mapping[Path, int]) -> TailReader | UnreadableFile | None:
        """Open the file in which a checkpoint was made, if it is at one of the paths; None: it is not.

        `paths` have the inodes that the directory shows, for files that can't be examined.
        """
        for path, inode in paths.items():
            size = None
            try:
                status = os.stat(path)
                if checkpoint.inode != status.st_ino:
                    continue
                size = status.st_size
                with ExitStack() as opened:
                    file = self.open(path)
                    opened.callback(file.close)
                    if file.resume(checkpoint):
                        opened.pop_all()
                        return file
            except FileNotFoundError:
                self.is_stale |= size is not None
            except NotAFileError:
                pass
            except OSError as error:
                if path == self._path:
                    raise
                if size is None and checkpoint.inode != inode:
                    continue
                return UnreadableFile(checkpoint, path, size, describe(error, str(path)), is_rotated=False)
        return None

    def retired_on(self, inode: int) -> Checkpoint | None:
        """Return the latest checkpoint of a file that was closed on this inode; None: there is none."""
        return next((checkpoint for checkpoint in reversed(self.retired) if checkpoint.inode == inode), None)

    def set_aside(self, unreadable: UnreadableFile) -> None:
        """Keep a file that can't be read now, to be read later. Each is reported once."""
        if any(each.checkpoint.inode == unreadable.checkpoint.inode for each in self.unreadable):
            return
        self._record("unreadable", unreadable.why)
        self.unreadable.append(unreadable)
