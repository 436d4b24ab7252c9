"""The set of files that are read under one path.

These are the current file, at the path itself, and old files that were rotated away from it. An open file can't be lost
by a renaming. Other files are searched for whenever a directory or a file has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from asset_worker.intake.file.checkpoint import FollowerState
from asset_worker.intake.file.directories import Directories, current_status, modification_time
from asset_worker.intake.file.search import SETTLE_SECONDS, FileSearch, last_written
from asset_worker.intake.file.tail_reader import TailReader


class FileSet:
    """The open files, and which of them is at the path."""

    def __init__(self, path: Path, state: FollowerState | None, record: Callable[[str, str | None], None]) -> None:
        """`record` takes the name and the detail of what happens, for the log."""
        self._path = path
        self._record = record
        self._directories = Directories(path, record)
        self._search = FileSearch(path, self._directories, state, record)
        self._current: TailReader | None = None
        self.old: list[TailReader] = []
        """Files that are no longer at the path. Reading them goes on: their writers may still have them open."""
        self._directory_times: dict[Path, int] | None = None
        self._current_time: int | None = None
        self._settles_at = 0.0
        self._is_settled = False
        """Whether no search is needed before the next change."""

    @property
    def files(self) -> list[TailReader]:
        """All open files, from the oldest to the current one."""
        return self.old if self._current is None else [*self.old, self._current]

    @property
    def latest_old(self) -> TailReader | None:
        """The latest file that was rotated away and still has a name; its writer may keep it open for long."""
        return next((file for file in reversed(self.old) if file.has_name()), None)

    @property
    def is_complete(self) -> bool:
        """Whether all files to be read have been searched for, and none of them is unreadable."""
        return self._search.is_complete

    def state(self) -> FollowerState:
        """Return the checkpoints of all files, to be stored."""
        return self._search.state([file.checkpoint() for file in self.files])

    def close(self) -> None:
        """Close all files. Closing twice is harmless."""
        for file in self.files:
            file.close()
        self.old, self._current = [], None

    def retire(self, file: TailReader) -> None:
        """Close an old file that has been read to its end; its checkpoint is kept."""
        self._record("retired", f"{file.offset} bytes read")
        self._search.retire(file.checkpoint())
        self.old.remove(file)
        file.close()

    def look(self, now: float) -> None:
        """Open and close files according to what is at the path and beside it. `now` is in monotonic seconds.

        Raises:
            OSError: something there can't be read. The set is then unchanged.
        """
        search = self._search
        search.begin()
        self._directories.follow_links()
        self._reopen(now)
        here = current_status(self._path)
        directory_times, current_time = self._directories.modification_times(), modification_time(here)
        # These times are read first: whatever is created later is not older. The directory of a link is left out, as it
        # may be on another file system, with another clock.
        latest = max([*directory_times.values()][-1], current_time, *map(last_written, self.files))
        current = self._current
        stays = current is not None and _is_at(current, here)
        moved = not stays and not (current is None and here is None)
        rewritten = self._restart_rewritten()
        # The bytes that were read show a truncation. If nothing was read, or nothing follows, only the time shows it.
        grown = current is not None and here is not None and here.st_size > current.end > 0
        touched = directory_times != self._directory_times or (current_time != self._current_time and not grown)
        changed = moved or touched or bool(search.missing)
        with ExitStack() as opened:
            newest = current if stays else self._open_current(opened)
            beside: list[TailReader] = []
            if changed or not self._is_settled:
                beside = self._find_beside([file for file in rewritten if file is not newest], newest, opened)
            opened.pop_all()
        for file in rewritten:
            self._record("truncated", file.name)
        self._move_on(newest, beside, rewritten, now)
        self._directory_times, self._current_time = directory_times, current_time
        if changed:
            self._settles_at = now + SETTLE_SECONDS
        is_certain = self._directories.are_listable and not (changed or search.is_stale)
        self._is_settled = is_certain and now >= self._settles_at
        search.end(latest, now)

    def _reopen(self, now: float) -> None:
        """Reopen files that were being read when the state was stored, and unreadable files that may be opened now."""
        for file in self._search.reopen_unreadable():
            file.quiet_since = now
            self.old.insert(0, file)
        for checkpoint in tuple(self._search.missing):
            if checkpoint.identity in {file.identity for file in self.files}:  # the file was rewritten
                continue
            reopened = self._search.reopen(checkpoint)
            if reopened is None:
                continue
            reopened.quiet_since = now
            if _is_at(reopened, current_status(self._path)):
                self._current = reopened
            else:
                self.old.append(reopened)

    def _restart_rewritten(self) -> list[TailReader]:
        """Read truncated files from the start, and return them. Their former content is searched for in copies."""
        rewritten = [file for file in self.files if _is_rewritten(file)]
        for file in rewritten:
            self._search.missing.append(file.checkpoint())
            file.restart()
        return rewritten

    def _open_current(self, opened: ExitStack) -> TailReader | None:
        try:
            file = TailReader.open(self._path)
        except FileNotFoundError:
            return None
        for old in self.old:
            if old.identity == file.identity:  # the file was moved back to the path
                file.close()
                return old
        opened.callback(file.close)
        return file

    def _find_beside(
        self, rewritten: list[TailReader], newest: TailReader | None, opened: ExitStack
    ) -> list[TailReader]:
        known = [file for file in self.files if file not in rewritten]
        if newest is not None:
            known.append(newest)
        for file in self.old:
            if not file.end and file not in rewritten:  # a copy may have been written into it
                self._search.resume_missing(file)
        return self._search.find(known, rewritten, opened)

    def _move_on(
        self, newest: TailReader | None, beside: list[TailReader], rewritten: list[TailReader], now: float
    ) -> None:
        """Make `newest` the current file and the files `beside` old ones; close rewritten files that are neither."""
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
        self._search.give_up_missing()
        dropped = [file for file in rewritten if file is not newest and file not in beside]
        self.old = [file for file in old if file is not newest and file not in rewritten] + beside
        self._current = newest
        for file in dropped:
            file.close()


def _is_at(file: TailReader, status: os.stat_result | None) -> bool:
    """Return whether `status` is the status of this file."""
    return status is not None and file.identity == (status.st_dev, status.st_ino)


def _is_rewritten(file: TailReader) -> bool:
    with suppress(OSError):  # it is not known whether it was rewritten; a later read reports the error
        return not file.is_intact()
    return False
