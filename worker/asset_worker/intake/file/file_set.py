"""The set of files that are read under one path.

These are the current file, at the path itself, and old files that were rotated away from it. An open file can't be lost
by a renaming. Other files are searched for when something was, or may have been, rotated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from asset_worker.intake.file.beside import SearchBeside
from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState
from asset_worker.intake.file.directories import Directories, Entry, modification_time
from asset_worker.intake.file.gaps import gap_of_unlinked, reason_to_reread
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.search import FileSearch
from asset_worker.intake.file.seen import SETTLE_SECONDS
from asset_worker.intake.file.tail_reader import TailReader
from asset_worker.runtime.paths import current_status

COARSE_TICK: Final = 2_000_000_000
"""The resolution of the coarsest file system's times, in nanoseconds (FAT)."""


class FileSet:
    """The open files, and which of them is at the path."""

    def __init__(
        self,
        queue_file: QueueFile,
        state: FollowerState | None,
        globs: tuple[str, ...],
        record: Callable[[str, str | None], None],
    ) -> None:
        """`globs` recognise rotated files; `record` takes the name and the detail of what happens, for the log."""
        self._path = queue_file.path
        self._record = record
        self._directories = Directories(queue_file, globs, record)
        self._search = FileSearch(queue_file, self._directories, state, record)
        self._beside = SearchBeside(self._search, self._search.seen, record)
        self._current: TailReader | None = None
        self.old: list[TailReader] = []
        """Files that are no longer at the path. Reading them goes on: their writers may still have them open."""
        self._directory_times: dict[Path, int] | None = None
        self._current_time: int | None = None
        self._is_listed = False
        """Whether the directories were listed after their last change."""
        self._next_listing_at = 0.0
        self._settles_at = 0.0
        self._size_before = state.files[-1].size if state is not None and state.files and state.is_settled else None
        """The size at which an earlier run left the file at the path, after it had looked for rotated ones."""
        self._is_settled = False
        """Whether nothing was rotated since the last look at what is beside the path."""
        self._unlinked: tuple[int, int] | None = None
        """The identity of the file at the path, if it was reported to have no name."""

    @property
    def files(self) -> list[TailReader]:
        """All open files, from the oldest to the current one."""
        return self.old if self._current is None else [*self.old, self._current]

    @property
    def current(self) -> TailReader | None:
        """The file at the path; None: it is not open."""
        return self._current

    @property
    def latest_old(self) -> TailReader | None:
        """The latest file that was rotated away and still has a name; its writer may keep it open for long."""
        return next((file for file in reversed(self.old) if file.has_name()), None)

    @property
    def is_complete(self) -> bool:
        """Whether all files to be read have been searched for, and none of them is unreadable."""
        return self._search.is_complete and self._directories.are_listable_or_closed

    def state(self) -> FollowerState:
        """Return the checkpoints of all files, to be stored."""
        state = self._search.state([file.checkpoint() for file in self.files])
        return msgspec.structs.replace(state, is_settled=self._is_settled)

    def close(self) -> None:
        """Close all files. Closing twice is harmless."""
        for file in self.files:
            file.close()
        self.old, self._current = [], None

    def retire(self, file: TailReader) -> None:
        """Close an old file that has been read to its end; its checkpoint is kept."""
        self._record("retired", f"{file.offset} bytes read")
        for dropped in self._search.retire(file):
            is_gone = self._is_listed and dropped.inode not in self._beside.inodes
            if not is_gone:  # a file that comes to its inode may begin with the same lines
                self._search.seen.add(dropped)
        self.old.remove(file)
        file.close()

    def release(self, file: TailReader) -> None:
        """Close a file whose descriptor has become useless. The next look searches for it."""
        self._search.missing.append(file.checkpoint())
        self.old = [each for each in self.old if each is not file]
        if file is self._current:
            self._current = None
        file.close()

    def look(self, now: float) -> None:
        """Open and close files according to what is at the path and beside it. `now` is in monotonic seconds.

        Raises:
            OSError: something at the path can't be read. The set is then unchanged.
        """
        search = self._search
        search.begin()
        self._directories.follow_links()
        here = current_status(self._path)
        times = self._directories.modification_times()
        is_first = self._directory_times is None
        touched = times != self._directory_times
        self._is_listed &= not touched
        rewritten = self._restart_rewritten()
        is_urgent = is_first or bool(rewritten) or not self._is_current(here)
        entries = self._listed(now, is_urgent=is_urgent, is_wanted=self._may_be_truncated(here))
        self._reopen(now, entries or [], here)
        current = self._current
        stays = current is not None and _is_at(current, here)
        moved = not stays and not (current is None and here is None)
        current_time, directory_time = modification_time(here), [*times.values()][-1]
        changed = moved or bool(rewritten) or self._may_be_truncated(here)
        before = self._size_before if is_first and stays else None
        if before is not None and current is not None and current.is_distinguished and current.size >= before:
            changed, self._is_settled = False, True  # nothing was rotated while the worker was down
        unread = current is None or not current.end  # then only the time shows that it was not rotated
        changed |= touched and unread and current_time + COARSE_TICK >= directory_time
        changed |= bool(search.missing) or (here is None and touched)
        may_be_rotated = changed or not self._is_settled
        self._notice_step_back(directory_time)
        with ExitStack() as opened:
            newest = current if stays else self._open_current(opened)
            begun = None if newest is current or newest in self.old else newest
            held = self._missing_in(begun) if begun is not None and is_first else None
            beside: list[TailReader] = []
            if entries is not None:
                beside = self._find_beside(entries, newest, rewritten, opened, may_be_rotated=may_be_rotated)
            opened.pop_all()
        for file in rewritten:
            self._record("truncated", file.name)
        if begun is not None:
            self._begin(begun, held)
        self._move_on(
            newest, beside, rewritten, now, is_listed=entries is not None, directory_exists=directory_time > 0
        )
        self._directory_times, self._current_time = times, current_time
        if changed:
            self._settles_at = now + SETTLE_SECONDS
        is_certain = self._directories.are_listable and not (search.missing or search.is_stale or changed)
        if not is_certain:
            self._is_settled = False
        elif entries is not None and now >= self._settles_at:
            self._is_settled, search.seen.has_stepped_back = True, False
            self._beside.is_starting = False
        inodes = self._beside.inodes if entries is not None and is_certain else None
        search.seen.end_look(
            directory_time, now, may_be_rotated=may_be_rotated, is_listed=self._is_listed, inodes=inodes
        )
        self._notice_unlinked(here)

    def _is_current(self, here: os.stat_result | None) -> bool:
        return here is None if self._current is None else _is_at(self._current, here)

    def _may_be_truncated(self, here: os.stat_result | None) -> bool:
        """Return whether the current file may have been truncated since the last look.

        The bytes that were read show it. If nothing was read, or nothing follows, only the time does.
        """
        grown = self._current is not None and here is not None and here.st_size > self._current.end > 0
        return modification_time(here) != self._current_time and not grown

    def _listed(self, now: float, *, is_urgent: bool, is_wanted: bool) -> list[Entry] | None:
        """List the files beside the path if that is due; None: it is not. `is_wanted`: as soon as it may be.

        A large directory is listed at intervals, unless the file at the path was just rotated: what is found a little
        later is not lost.
        """
        is_wanted |= not (self._is_settled and self._is_listed) or bool(self._search.missing)
        if not is_urgent and not (is_wanted and now >= self._next_listing_at):
            return None
        entries = self._directories.list(self._search.inodes())
        self._is_listed = self._directories.are_listable
        self._next_listing_at = now + self._directories.pause
        return entries

    def _notice_step_back(self, directory_time: int) -> None:
        """Notice that the clock of the file system was set back: what has changed since then shows an earlier time."""
        seen = self._search.seen
        if self._directory_times is None:
            before = {checkpoint.inode: checkpoint.mtime for checkpoint in self._search.stored}
            seen.has_stepped_back = any(file.mtime < before.get(file.identity[1], 0) for file in self.files)
        if seen.since is not None and 0 < directory_time < seen.since:
            seen.has_stepped_back = True

    def _notice_unlinked(self, here: os.stat_result | None) -> None:
        """Report a file at the path that has no name, as where a single file is mounted and replaced outside."""
        identity = (here.st_dev, here.st_ino) if here is not None and not here.st_nlink else None
        if identity is not None and identity != self._unlinked:
            self._record("gap", gap_of_unlinked(self._path))
        self._unlinked = identity

    def _reopen(self, now: float, entries: Sequence[Entry], here: os.stat_result | None) -> None:
        """Reopen files that were being read when the state was stored, and unreadable files that may be opened now."""
        for file in self._search.reopen_unreadable():
            file.quiet_since = now
            self.old.insert(0, file)
        missing = tuple(self._search.missing)
        self._reopen_by_inode([each for each in missing if each.offset], now, entries)
        if self._current is None and here is not None and self._search.may_be_restored:
            self._current = self._restored()
        # Nothing shows that these are not other files on the same inodes, so they come last.
        self._reopen_by_inode([each for each in missing if not each.offset], now, entries)

    def _reopen_by_inode(self, checkpoints: list[Checkpoint], now: float, entries: Sequence[Entry]) -> None:
        for checkpoint in checkpoints:
            if checkpoint not in self._search.missing:  # it was found in another file
                continue
            if checkpoint.identity in {file.identity for file in self.files}:  # the file was rewritten
                continue
            reopened = self._search.reopen(checkpoint, entries)
            if reopened is None:
                continue
            if reopened.identity in {file.identity for file in self.files}:  # the same, under another device number
                reopened.close()
                continue
            reopened.quiet_since = now
            if self._current is None and _is_at(reopened, current_status(self._path)):
                self._current = reopened
            else:
                self.old.append(reopened)

    def _restored(self) -> TailReader | None:
        """Open the file at the path if it was being read in an earlier run, and is on another inode now."""
        with ExitStack() as opened:
            file = self._open_current(opened)
            if file is not None and file not in self.old and self._search.resume_restored(file):
                opened.pop_all()
                return file
        return None

    def _restart_rewritten(self) -> list[TailReader]:
        """Read truncated files from the start, and return them. Their former content is searched for in copies."""
        rewritten = [file for file in self.files if _is_rewritten(file)]
        for file in rewritten:
            self._search.missing.append(file.checkpoint())
            file.restart()
        return rewritten

    def _open_current(self, opened: ExitStack) -> TailReader | None:
        try:
            file = self._search.open(self._path)
        except FileNotFoundError:
            return None
        for old in self.old:
            if old.identity == file.identity:  # the file was moved back to the path
                file.close()
                return old
        opened.callback(file.close)
        return file

    def _missing_in(self, file: TailReader) -> list[Checkpoint]:
        """Return the missing checkpoints whose bytes are in a file."""
        return [each for each in self._search.missing if each.offset and file.holds(each)]

    def _begin(self, file: TailReader, held: Sequence[Checkpoint] | None) -> None:
        """Prepare a file that came to the path to be read from its start; say so if that may repeat what was read.

        `held` are the checkpoints that were missing whose bytes are in it; None: this is not the first look.
        """
        search = self._search
        file.id = search.unused_id(file, self.files)
        if held is None or not search.missing:
            return
        copied = next((each for each in held if each in search.missing), None)
        before = copied or search.missing[-1]
        if before.offset and before in (copied, search.stored[-1]):
            why = reason_to_reread(before, inode=file.identity[1], is_same_content=copied is not None)
            self._record("reread", f"{self._path}: {why}")
        if copied is not None:  # nothing of it is missing
            search.missing.remove(copied)

    def _find_beside(
        self,
        entries: list[Entry],
        newest: TailReader | None,
        rewritten: list[TailReader],
        opened: ExitStack,
        *,
        may_be_rotated: bool,
    ) -> list[TailReader]:
        rewritten = [file for file in rewritten if file is not newest]
        known = [file for file in self.files if file not in rewritten]
        if newest is not None and newest not in known:
            known.append(newest)
        for file in self.old:
            if not file.end and file not in rewritten:  # a copy may have been written into it
                with suppress(OSError):
                    self._search.resume_missing(file)
        return self._beside.find(entries, known, rewritten, opened, may_be_rotated=may_be_rotated)

    def _move_on(
        self,
        newest: TailReader | None,
        beside: list[TailReader],
        rewritten: list[TailReader],
        now: float,
        *,
        is_listed: bool,
        directory_exists: bool,
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
        if is_listed and directory_exists:  # a volume that is not mounted yet may have them
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
