"""Searches the files beside the path for unread lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from asset_worker.intake.file.checkpoint import Checkpoint, digest
from asset_worker.intake.file.compressed import compressed_checkpoint
from asset_worker.intake.file.directories import Entry
from asset_worker.intake.file.gaps import gap_of_compressed, gap_of_doubtful
from asset_worker.intake.file.names import is_compressed
from asset_worker.intake.file.search import FileSearch, UnreadableFile
from asset_worker.intake.file.seen import SeenFiles, unread_file
from asset_worker.intake.file.siblings import SEEN_HEAD_BYTES, Kind, judge
from asset_worker.intake.file.tail_reader import NotAFileError, TailReader, describe


class SearchBeside:
    """Opens the files beside the path that may hold unread lines, and finds out whether they do."""

    def __init__(self, search: FileSearch, seen: SeenFiles, record: Callable[[str, str | None], None]) -> None:
        """`record` takes the name and the detail of what happens, for the log."""
        self._search = search
        self._seen = seen
        self._record = record
        self._doubtful: list[Path] = []
        self.is_starting = True
        """Whether this is the search after a start, which may find what happened while the worker was down."""
        self.inodes: set[int] = set()
        """The inodes of the files beside the path, when they were last listed."""

    def find(
        self,
        entries: Sequence[Entry],
        known: list[TailReader],
        rewritten: list[TailReader],
        opened: ExitStack,
        *,
        may_be_rotated: bool,
    ) -> list[TailReader]:
        """Return the files beside the path that have unread lines, the oldest first.

        Args:
            entries: the files beside the path.
            known: open files, which are not returned.
            rewritten: open files that are returned if they have such lines.
            opened: closes the files that are opened here.
            may_be_rotated: see `judge`.
        """
        known = list(known)
        found: list[tuple[int, TailReader]] = []
        for file in rewritten:
            with suppress(OSError):  # it stays open, and what can't be read is reported
                if self._search.resume_missing(file) or self._has_new_content(file, known):
                    found.append((file.mtime, file))
                    known.append(file)
        is_open = {file.identity for file in (*known, *rewritten)}
        is_open |= {file.checkpoint.identity for file in self._search.unreadable}
        for entry, status in self._candidates(entries, may_be_rotated=may_be_rotated):
            if (status.st_dev, status.st_ino) in is_open or not self._is_of_interest(entry, status):
                continue
            is_open.add((status.st_dev, status.st_ino))
            opening = self._opened(entry, status, may_be_rotated=may_be_rotated)
            if opening is None:
                continue
            opened.callback(opening.close)
            try:
                has_unread = self._has_unread(opening, entry, status, known, may_be_rotated=may_be_rotated)
            except OSError as error:
                self._set_aside(entry, status, error, may_be_rotated=may_be_rotated)
                has_unread = False
            if has_unread:
                found.append((status.st_mtime_ns, opening))
                known.append(opening)
            else:
                opening.close()
        if self._doubtful:
            self._record("gap", gap_of_doubtful(self._doubtful))
            self._doubtful = []
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def _candidates(self, entries: Sequence[Entry], *, may_be_rotated: bool) -> list[tuple[Entry, os.stat_result]]:
        """Return the files beside the path with their status; new and long files come first."""
        candidates: list[tuple[Entry, os.stat_result]] = []
        self.inodes = {entry.inode for entry in entries}
        for entry in entries:
            try:
                candidates.append((entry, os.stat(entry.path)))
            except FileNotFoundError:
                pass
            except OSError as error:
                if not self._seen.is_known_inode(entry.inode):
                    self._set_aside(entry, None, error, may_be_rotated=may_be_rotated)
        self.inodes |= {status.st_ino for _, status in candidates}
        if self._seen.files is None:
            self._seen.forget_before([status for entry, status in candidates if entry.is_rotated])
        since = self._seen.since or 0
        return sorted(candidates, key=lambda each: (each[1].st_mtime_ns >= since, each[1].st_size), reverse=True)

    def _is_of_interest(self, entry: Entry, status: os.stat_result) -> bool:
        """Return whether a file must be opened to know what it is."""
        if self._search.missing:
            return True
        retired = self._search.retired_on(status.st_ino)
        if retired is not None:
            return (retired.size, retired.mtime) != (status.st_size, status.st_mtime_ns)
        return entry.is_rotated and not self._seen.is_unchanged(status)

    def _opened(self, entry: Entry, status: os.stat_result, *, may_be_rotated: bool) -> TailReader | None:
        """Open a file that was found beside the path; None: it is no longer there, or can't be opened now."""
        try:
            file = self._search.open(entry.path)
        except FileNotFoundError:
            self._search.is_stale = True
        except NotAFileError:
            pass
        except OSError as error:
            self._set_aside(entry, status, error, may_be_rotated=may_be_rotated)
        else:
            if file.identity == (status.st_dev, status.st_ino):
                return file
            file.close()
            self._search.is_stale = True
        return None

    def _set_aside(self, entry: Entry, status: os.stat_result | None, error: OSError, *, may_be_rotated: bool) -> None:
        """Keep a file that can't be read now, to be read later, unless it is known not to be a rotated one."""
        device, inode, size = (
            (0, entry.inode, None) if status is None else (status.st_dev, status.st_ino, status.st_size)
        )
        if status is not None and self._seen.is_known(status, None):
            return
        retired = self._search.retired_on(inode)
        retired = retired if retired is not None and retired.offset else None
        nothing = digest(b"")
        checkpoint = retired or Checkpoint(device, inode, 0, 0, 0, nothing, 0, nothing)
        if retired is None:
            if not entry.is_rotated:
                return
            kind = self._kind(entry, status, None, may_be_rotated=may_be_rotated)
            if kind in {Kind.HISTORY, Kind.FOREIGN}:
                self._seen.note(unread_file(inode, status), is_certain=kind is Kind.HISTORY)
            if kind is not Kind.ROTATED:
                return
        is_rotated = entry.is_rotated and may_be_rotated
        unreadable = UnreadableFile(checkpoint, entry.path, size, describe(error, str(entry.path)), is_rotated)
        if unreadable.has_unread:
            self._search.set_aside(unreadable)

    def _kind(self, entry: Entry, status: os.stat_result | None, head: bytes | None, *, may_be_rotated: bool) -> Kind:
        return judge(
            is_known=status is not None and self._seen.is_known(status, head),
            is_compressed=is_compressed(entry.path.name),
            may_be_rotated=may_be_rotated,
            is_later=self._seen.is_later(status),
            is_first_look=self._seen.files is None,
        )

    def _has_unread(
        self,
        file: TailReader,
        entry: Entry,
        status: os.stat_result,
        known: list[TailReader],
        *,
        may_be_rotated: bool,
    ) -> bool:
        """Return whether a file has lines that were not read. If so, move it to where they begin.

        Raises:
            OSError: it can't be read.
        """
        retired = self._search.retired_on(status.st_ino)
        is_retired = retired is not None and retired.offset > 0 and file.resume(retired)  # 0 would fit any file
        if self._search.resume_missing(file, beyond=file.offset if is_retired else 0):
            return True
        if is_retired:
            return file.has_line()
        if not entry.is_rotated:
            return False
        examined = file.examine(SEEN_HEAD_BYTES)
        if examined is None:
            self._search.is_stale = True
            return False
        status, head = examined
        kind = self._kind(entry, status, head, may_be_rotated=may_be_rotated)
        if kind is Kind.ROTATED:
            return self._has_new_content(file, known)
        if is_compressed(entry.path.name) and kind in {Kind.COMPRESSED, Kind.HISTORY}:
            self._account_for_compressed(entry.path, file, may_be_history=kind is Kind.HISTORY)
        elif kind is Kind.DOUBTFUL and status.st_size and self.is_starting:
            self._doubtful.append(entry.path)
        self._seen.note(unread_file(status.st_ino, status, head), is_certain=kind is not Kind.FOREIGN)
        return False

    def _has_new_content(self, file: TailReader, known: list[TailReader]) -> bool:
        """Return whether a file that was rotated away holds unread lines; if so, move it to where they begin."""
        for checkpoint in reversed(self._search.retired):  # the latest first
            if (checkpoint.offset or checkpoint.identity == file.identity) and file.resume(checkpoint):
                return file.has_line()
        if any(file.begins(other) for other in known):
            return False
        file.id = self._search.unused_id(file, known)
        return True

    def _account_for_compressed(self, path: Path, file: TailReader, *, may_be_history: bool) -> None:
        """Find out which file was compressed, and say what may be missing of it."""
        checkpoint, size = compressed_checkpoint(
            path.name, file.descriptor, [*self._search.missing, *self._search.retired]
        )
        gap = gap_of_compressed(path, checkpoint, size)
        if gap is not None and (checkpoint in self._search.missing or not may_be_history):
            self._record("gap", gap)
        if checkpoint in self._search.missing:
            self._search.missing.remove(checkpoint)
