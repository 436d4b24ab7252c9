"""The files that are read under one path: which they are now, and which of them has lines left.

A file that is open can't be lost to a renaming. All others are found by looking through the directory whenever it has
changed: what was made there since the last look, whatever its name is now, was written no earlier than anything that
the last look saw. So modification times record it from history, which is not read; and no clock is asked but the file
system's own.

Where the path is a symbolic link, files are rotated beside what it leads to: that directory is looked through as well.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState, digest
from asset_worker.intake.file.names import is_rotated_name, siblings
from asset_worker.intake.file.tail_reader import TailReader, describe

SETTLE_SECONDS: Final = 1.0
"""How long the directory is looked through again and again after a change: a listing that is made during a renaming
may miss a file, and a modification time has ticks."""
RETIRED_KEPT: Final = 8

_TRANSIENT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class UnreadableFile(msgspec.Struct, frozen=True):
    """A file beside the path that is to be read and may not be opened: it is, once it may."""

    checkpoint: Checkpoint
    path: Path
    size: int
    why: str

    @property
    def has_unread(self) -> bool:
        """Whether it is longer than it was when it was read, and its partial line rejected."""
        return self.size > max(self.checkpoint.offset, self.checkpoint.rejected)


class FileSet:
    """Open files, from the oldest to the current one."""

    def __init__(self, path: Path, state: FollowerState | None, record: Callable[[str, str | None], None]) -> None:
        """`record` is told of what happened, for the log."""
        self._path = path
        self._record = record
        self._current: TailReader | None = None
        self.old: list[TailReader] = []
        """Those that no longer stand under the path, still read for late writers' sake."""
        self._missing = list(state.files) if state else []
        self._unreadable_files: list[UnreadableFile] = []
        self._retired = list(state.retired) if state else []
        self._since = state.since if state else None
        """As in the state. None: nothing was ever looked at, and what stands beside the path is history."""
        self._next_since: tuple[float, int] | None = None
        self._places: list[Path] = [path]
        """The path, and where it leads as a symbolic link."""
        self._listed: dict[Path, int] | None = None
        self._hidden: set[Path] = set()
        """Directories that may not be listed."""
        self._is_stale = False
        """Files were renamed while the last look went through them: the next one finds what it missed."""
        self._written: int | None = None
        self._settles_at = 0.0
        self._settled = False

    @property
    def files(self) -> list[TailReader]:
        return self.old if self._current is None else [*self.old, self._current]

    @property
    def latest_old(self) -> TailReader | None:
        """The one that was rotated away last and still has a name: whoever has it open may write for long."""
        return next((file for file in reversed(self.old) if file.has_name()), None)

    @property
    def is_complete(self) -> bool:
        """Whether all that is to be read has been looked for, and none of it may not be opened."""
        return (
            not self._missing
            and not self._is_stale
            and not any(unreadable.has_unread for unreadable in self._unreadable_files)
        )

    def state(self) -> FollowerState:
        files = (
            *(unreadable.checkpoint for unreadable in self._unreadable_files),
            *self._missing,
            *(file.checkpoint() for file in self.files),
        )
        return FollowerState(files, tuple(self._retired), self._since or 0)

    def close(self) -> None:
        for file in self.files:
            file.close()
        self.old, self._current = [], None

    def retire(self, file: TailReader) -> None:
        """Let go of an old file."""
        self._record("retired", f"{file.offset} bytes read")
        self._retired = [*self._retired, file.checkpoint()][-RETIRED_KEPT:]
        self.old.remove(file)
        file.close()

    def look(self, now: float) -> None:
        """Bring what is open into line with what stands under the path and beside it, or leave all as it is.

        Raises:
            OSError: something that stands there can't be read.
        """
        self._is_stale = False
        self._places = _places(self._path)
        self._hidden &= {place.parent for place in self._places}
        self._reopen(now)
        here = _status(self._path)
        listed, written = {place: _time(_status(place.parent)) for place in self._places}, _time(here)
        # Seen before all else: whatever is made after this is not older. A link may stand on a file system of its own,
        # with a clock of its own.
        latest = max(listed[self._places[-1]], written, *map(_written, self.files))
        current = self._current
        stays = current is not None and here is not None and current.identity == (here.st_dev, here.st_ino)
        moved = not stays and not (current is None and here is None)
        rewritten = self._reset_rewritten()
        # What was read tells a truncation. Where nothing was, or nothing follows, only the time can.
        grown = current is not None and here is not None and here.st_size > current.end > 0
        touched = listed != self._listed or (written != self._written and not grown)
        changed = moved or touched or bool(self._missing)
        with ExitStack() as opened:
            newest = current if stays else self._arrived(opened)
            beside: list[TailReader] = []
            if changed or not self._settled:
                beside = self._beside([file for file in rewritten if file is not newest], newest, opened)
            opened.pop_all()
        for file in rewritten:
            self._record("truncated", file.name)
        self._move_on(newest, beside, rewritten, now)
        self._listed, self._written = listed, written
        if changed:
            self._settles_at = now + SETTLE_SECONDS
        self._settled = not (changed or self._hidden or self._is_stale) and now >= self._settles_at
        self._remember(latest, now)

    def _reset_rewritten(self) -> list[TailReader]:
        """Files that were truncated are read anew; what had been read of them is looked for in copies."""
        rewritten = [file for file in self.files if _is_rewritten(file)]
        for file in rewritten:
            self._missing.append(file.checkpoint())
            file.restart()
        return rewritten

    def _move_on(
        self, newest: TailReader | None, beside: list[TailReader], rewritten: list[TailReader], now: float
    ) -> None:
        current, old = self._current, self.old
        if current is not None and newest is not current:
            self._record("deleted" if newest is None else "rotated", None)
            current.quiet_since = now
            old = [*old, current]
        elif newest is not current:
            self._record("appeared", None)
        for file in beside:
            if file not in rewritten:
                self._record("found", file.name)
            file.quiet_since = now
        if not self._is_stale:
            for checkpoint in self._missing:
                self._record("gone", f"{checkpoint.offset} bytes read")
            self._missing = []
        dropped = [file for file in rewritten if file is not newest and file not in beside]
        self.old = [file for file in old if file is not newest and file not in rewritten] + beside
        self._current = newest
        for file in dropped:
            file.close()

    def _remember(self, latest: int, now: float) -> None:
        """Take over what an earlier look saw: a file that is found a little late was made since then, too."""
        if self._since is None:
            self._since = latest
        if self._next_since is None:
            self._next_since = (now, latest)
        elif now - self._next_since[0] >= SETTLE_SECONDS:
            self._since, self._next_since = self._next_since[1], (now, latest)

    def _reopen(self, now: float) -> None:
        """Find the files again that were being read when the position was kept, whatever their names are now."""
        for unreadable in tuple(self._unreadable_files):
            found = self._resumed(unreadable.checkpoint, [unreadable.path])
            self._unreadable_files.remove(unreadable)
            if isinstance(found, UnreadableFile):
                self._unreadable_files.append(found)
            elif found is None:  # it has been renamed since, or is gone
                self._missing.append(unreadable.checkpoint)
            else:
                self._record("readable", str(unreadable.path))
                found.quiet_since = now
                self.old.insert(0, found)
        for checkpoint in tuple(self._missing):
            if checkpoint.identity in {file.identity for file in self.files}:  # it was rewritten
                continue
            found = self._resumed(checkpoint, [self._path, *(path for path, _ in self._around())])
            if found is None:
                continue
            self._missing.remove(checkpoint)
            if isinstance(found, UnreadableFile):
                self._add_unreadable(found)
                continue
            found.quiet_since = now
            here = _status(self._path)
            if here is not None and found.identity == (here.st_dev, here.st_ino):
                self._current = found
            else:
                self.old.append(found)

    def _resumed(self, checkpoint: Checkpoint, paths: list[Path]) -> TailReader | UnreadableFile | None:
        """The file that a checkpoint was made in, where it stands at one of the paths."""
        for path in paths:
            status = _status_beside(path)
            if status is None or checkpoint.identity != (status.st_dev, status.st_ino):
                continue
            with ExitStack() as opened:
                try:
                    file = TailReader.open(path)
                except FileNotFoundError:
                    self._is_stale = True
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

    def _add_unreadable(self, unreadable: UnreadableFile) -> None:
        self._record("unreadable", unreadable.why)
        self._unreadable_files.append(unreadable)

    def _checkpoint_of(self, status: os.stat_result) -> Checkpoint:
        """How far a file beside has been read: to where it was let go, or not at all."""
        identity = (status.st_dev, status.st_ino)
        nothing = digest(b"")
        start = Checkpoint(*identity, 0, 0, 0, nothing, 0, nothing)
        return next((checkpoint for checkpoint in reversed(self._retired) if checkpoint.identity == identity), start)

    def _around(self) -> list[tuple[Path, bool]]:
        """Files beside the path, and whether their names are those of a rotation; none in a hidden directory."""
        around: dict[Path, bool] = {}
        for place in self._places:
            try:
                around |= {path: is_rotated_name(path.name, place) for path in siblings(place)}
            except PermissionError as error:
                if place.parent not in self._hidden:
                    self._record("unreadable", describe(error, str(place.parent)))
                    self._hidden.add(place.parent)
                continue
            if place.parent in self._hidden:
                self._record("readable", str(place.parent))
                self._hidden.remove(place.parent)
        return list(around.items())

    def _arrived(self, opened: ExitStack) -> TailReader | None:
        try:
            file = TailReader.open(self._path)
        except FileNotFoundError:
            return None
        for old in self.old:
            if old.identity == file.identity:  # it was moved back
                file.close()
                return old
        opened.callback(file.close)
        return file

    def _beside(self, rewritten: list[TailReader], newest: TailReader | None, opened: ExitStack) -> list[TailReader]:
        """Files beside the path that hold lines not read yet, the oldest first; of those rewritten, which do."""
        known = [file for file in self.files if file not in rewritten]
        if newest is not None:
            known.append(newest)
        for file in self.old:
            if not file.end and file not in rewritten:  # the copy may have been written into it
                self._is_copy_of_missing(file)
        found: list[tuple[int, TailReader]] = []
        for file in rewritten:
            if self._has_unread(file, known, recent=True):
                found.append((_written(file), file))
                known.append(file)
        mine = {file.identity for file in (*known, *rewritten)} | {
            unreadable.checkpoint.identity for unreadable in self._unreadable_files
        }
        around = [
            (status, path, self._is_new(status) and is_rotated)
            for path, is_rotated in self._around()
            if (status := _status_beside(path)) is not None
        ]
        for status, path, recent in sorted(
            around, key=lambda each: (self._is_new(each[0]), each[0].st_size), reverse=True
        ):
            identity = (status.st_dev, status.st_ino)
            if not (recent or self._missing) or identity in mine:
                continue
            opening = self._opened(path, status, recent=recent)
            if opening is None:
                continue
            opened.callback(opening.close)
            if self._has_unread(opening, known, recent=recent):
                found.append((status.st_mtime_ns, opening))
                known.append(opening)
                mine.add(opening.identity)
            else:
                opening.close()
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def _opened(self, path: Path, status: os.stat_result, *, recent: bool) -> TailReader | None:
        """A file that was seen beside the path; None: it stands there no longer, is none of ours, or unreadable.

        Raises:
            OSError: it may be opened later.
        """
        try:
            file = TailReader.open(path)
        except FileNotFoundError:
            self._is_stale = True
        except PermissionError as error:
            unreadable = UnreadableFile(self._checkpoint_of(status), path, status.st_size, describe(error, str(path)))
            if recent and unreadable.has_unread:
                self._add_unreadable(unreadable)
        except OSError as error:
            if error.errno in _TRANSIENT:
                raise
        else:
            if file.identity == (status.st_dev, status.st_ino):
                return file
            file.close()
            self._is_stale = True
        return None

    def _is_new(self, status: os.stat_result) -> bool:
        return self._since is not None and status.st_mtime_ns >= self._since

    def _is_copy_of_missing(self, file: TailReader) -> bool:
        """Whether a file is the copy that was made before a truncation; it is brought to where reading had come."""
        for checkpoint in self._missing:
            if checkpoint.offset and file.resume(checkpoint):
                self._missing.remove(checkpoint)
                return True
        return False

    def _has_unread(self, file: TailReader, known: list[TailReader], *, recent: bool) -> bool:
        """Whether a file holds lines not read yet; it is brought to where they begin."""
        with suppress(OSError):  # a file beside the path that can't be read must not keep the others from being
            if self._is_copy_of_missing(file):
                return True
            if not recent:
                return False
            for checkpoint in reversed(self._retired):  # the latest: an empty file is the beginning of any
                if (checkpoint.offset or checkpoint.identity == file.identity) and file.resume(checkpoint):
                    return file.has_line()
            return not any(file.begins(other) for other in known)
        return False


def _status(path: Path) -> os.stat_result | None:
    """What stands at a path; None: nothing."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _status_beside(path: Path) -> os.stat_result | None:
    """What stands at a path beside; None: nothing, or what can't even be looked at."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in _TRANSIENT:
            raise
        return None


def _places(path: Path) -> list[Path]:
    """A path, and where it leads when it is a symbolic link itself."""
    real = Path(os.path.realpath(path))
    return [path] if real == Path(os.path.realpath(path.parent), path.name) else [path, real]


def _time(status: os.stat_result | None) -> int:
    return 0 if status is None else status.st_mtime_ns


def _written(file: TailReader) -> int:
    with suppress(OSError):
        return os.fstat(file.descriptor).st_mtime_ns
    return 0


def _is_rewritten(file: TailReader) -> bool:
    with suppress(OSError):  # what can't be read was not seen to be rewritten: reading it will record
        return not file.is_intact()
    return False
