"""A spool directory as its writers see it: real files, and a model of the lines that can still be read in them.

A line is *owed* from the moment its newline is written until it is delivered, or until it can't be read in principle.
It can't be read when

- no file that holds it has a name or is held open by the follower: it was truncated away without a copy, overwritten,
  or deleted before the follower opened it, or between a crash and a restart;
- it was written into a file that the follower had rightly closed after its drain: another file had been rotated since,
  or this one was deleted;
- it is in a file older than the follower's last look (written elsewhere and moved to the path) that was rotated away,
  or is written into that file later on: no change of the directory shows it before the next rotation does.

Such a line is *excused*: it may be delivered, or not.
"""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from asset_worker.domain.submissions import Batch
from tests.doubles.intake import Disk

PATH = "queue"
CHAIN = ("queue.1", "queue.2", "queue.3")
"""Names through which rotated files are passed on; the last file is deleted."""
NAMES_OF_ROTATION = (
    "queue-2026%04d",
    "queue-2026%04dT180316Z",
    "queue.2026-11-26T18:%04d",
    "queue.~%d~",
    "queue.%010d.done",
    "queue.1%04d",
)
"""Names that rotation gives, each with a number of its own: one for each form that `queue.rotated` has."""
FOREIGN = "queue.9.foreign"
"""The queue file of another worker, whose name looks like that of a rotated file."""

LONGEST_TICK = 1.0
"""The coarsest clock that a file system may have, in seconds."""


class File:
    """The content of a file, whatever its name is."""

    def __init__(self, inode: int, content: bytes, *, older: bool = False) -> None:
        self.inode = inode
        self.older = older
        self.is_copy = False
        self.was_passed_by = False
        """It was created and rotated away between two looks, and could not be distinguished from history."""
        self.looked_like_a_copy = False
        """At the end of a step it was not held, and another file began with all of its content."""
        self.writer: int | None = None
        """The descriptor of a writer that has the file open and goes on writing."""
        self.hold(content)

    def hold(self, content: bytes) -> None:
        self.content = content
        pieces = content.split(b"\n")
        texts = [piece.rpartition(b"\0")[2] for piece in pieces]  # what stands before zeros is cut
        self.lines = [(number, text) for number, text in enumerate(texts[:-1], start=1) if _is_owed(text)]
        self.tail = texts[-1]
        self.cut = {text for piece in pieces for text in piece.split(b"\0")[:-1]}


def _is_owed(text: bytes) -> bool:
    return bool(text) and not text.startswith(b"#")


class Inodes(Disk):
    """A disk that gives out an inode again as soon as nobody holds it, or never: the same on every file system.

    A file without a name is kept under a name elsewhere until then. `names_elsewhere` says so to who counts its names.
    """

    def __init__(self, directory: Path, elsewhere: Path, *, reused: bool) -> None:
        super().__init__(directory)
        self._elsewhere = elsewhere
        self._reused = reused
        self._free: list[int] = []

    def append(self, data: bytes, name: str = PATH) -> None:
        self._make(name)
        super().append(data, name)

    def copy(self, old: str, new: str) -> None:
        self._make(new)
        super().copy(old, new)

    def rename(self, old: str, new: str) -> None:
        self._keep(new)
        super().rename(old, new)

    def delete(self, name: str = PATH) -> None:
        self._keep(name)
        super().delete(name)

    def free(self, inode: int) -> None:
        """Nobody holds this file any more."""
        if self._reused:
            self._free.append(inode)

    def names_elsewhere(self, inode: int) -> int:
        """Return how many names a file has that are only there to keep its inode."""
        return int((self._elsewhere / str(inode)).exists())

    def _make(self, name: str) -> None:
        path = self.path(name)
        if path.exists() or not self._free:
            return
        free = self._elsewhere / str(self._free.pop())
        os.truncate(free, 0)
        free.rename(path)
        self._stamp(self.directory)

    def _keep(self, name: str) -> None:
        path = self.path(name)
        if path.exists():
            os.link(path, self._elsewhere / str(path.stat().st_ino))


class Spool:
    """Writers, rotation, and the record of what was written and delivered."""

    def __init__(self, disk: Inodes) -> None:
        self.disk = disk
        self.names: dict[str, File] = {}
        self.nameless: list[File] = []
        """Deleted files that a writer or the follower holds open, or that were deleted just now."""
        self.held: set[File] = set()
        """Files that the follower has open."""
        self.retired: set[File] = set()
        """Files that the follower had open and rightly closed."""
        self.count = 0
        self.stamps = 0
        self.in_doubt = False
        """A line may rightly come twice: two things happened that the follower can't distinguish."""
        self.same_tick = False
        self.waited = 0.0
        """Seconds since the last tick."""
        self.unnamed: set[File] = set()
        """Files deleted during the follower's step; it may have seen them before that."""
        self.looking = False
        """The follower is within a step."""
        self.written: dict[bytes, set[int]] = {}
        """Every whole line that was ever in a file, and its line numbers there."""
        self.tails: set[bytes] = set()
        self.taken_tails: set[bytes] = set()
        """Ends of files without a newline that were taken for whole lines; their newline brings nothing new."""
        self.owed: set[bytes] = set()
        self.delivered: Counter[bytes] = Counter()
        self.lately: list[tuple[File, set[bytes]]] = []
        """The lines written during the follower's step, by file."""

    # Writers

    def data(self, pieces: Sequence[str]) -> bytes:
        """The bytes of these pieces. No two lines are the same, so that each can be recognised."""
        data = b""
        for piece in pieces:
            self.count += 1
            data += {
                "line": b"L%d\n",
                "partial": b"t%d-",
                "cut": b"a%d",
                "rest": b"r%d\n",
                "bad": b"!%d\n",
                "comment": b"# %d\n",
                "end": b"\n",
                "zeros": bytes(5),
            }[piece].replace(b"%d", b"%d" % self.count)
        return data

    def append(self, pieces: Sequence[str], name: str = PATH) -> None:
        self._tick()
        data = self.data(pieces)
        self.disk.append(data, name)
        file = self.names.get(name)
        if file is None:
            file = self.names[name] = File(self._inode(name), b"")
        self._wrote(file, file.content + data)

    def append_late(self, pieces: Sequence[str], which: int) -> None:
        """Append to a file that is no longer at the path, by its name or by a descriptor kept open.

        Not to a copy: nobody had that one open. And not to a file of which a copy is left, or was when the follower
        looked: once both are rotated, one is taken for the other.
        """
        candidates: list[File | str] = [
            name
            for name, file in self.names.items()
            if name != PATH and not file.is_copy and not file.looked_like_a_copy and not self._looks_like_a_copy(file)
        ]
        candidates += [file for file in self.nameless if file.writer is not None and not file.is_copy]
        if not candidates:
            return
        target = candidates[which % len(candidates)]
        if isinstance(target, str):
            self.append(pieces, target)
            return
        self._tick()
        data = self.data(pieces)
        assert target.writer is not None
        os.write(target.writer, data)
        os.utime(target.writer, ns=(self.disk.now, self.disk.now))
        self._wrote(target, target.content + data)

    def _looks_like_a_copy(self, file: File) -> bool:
        """Whether the follower takes a file that it does not hold for a copy that is still being made."""
        others = [other for other in self.names.values() if other is not file]
        return file not in self.held and any(other.content.startswith(file.content) for other in others)

    def replace(self, pieces: Sequence[str], *, older: bool) -> None:
        """Replace the file atomically, by one that was written just now or (`older`) long ago."""
        self._tick()
        data = self.data(pieces)
        now = self.disk.now
        if older:
            self.disk.now -= 10**12
        self.disk.append(data, "new")
        self.disk.now = now
        self.disk.rename("new", PATH)
        self._forget_name(PATH)
        file = self.names[PATH] = File(self._inode(PATH), b"", older=older)
        self._wrote(file, data)

    # Others

    def write_foreign(self) -> None:
        """Another worker's uploader writes to its own queue file. These lines are nobody's business here."""
        self._tick()
        self.count += 1
        self.disk.append(b"foreign%d\n" % self.count, FOREIGN)

    @property
    def is_at_rest(self) -> bool:
        """Whether the file at the path holds nothing but lines that were delivered."""
        file = self.names.get(PATH)
        if file is None or not file.content.endswith(b"\n"):
            return False
        return all(self.delivered[text] for _, text in file.lines)

    def restore(self, *, stored_time: int | None) -> None:
        """Replace the file by a copy with its modification time, on another inode, as a backup is put back.

        `stored_time`: the time that the follower has stored. If it is another, the copy is read anew.
        """
        if PATH not in self.names:
            return
        self._tick()
        path = self.disk.path()
        content, status = self.names[PATH].content, path.stat()
        self.in_doubt |= status.st_mtime_ns != stored_time
        self.disk.append(content, "restored")
        os.utime(self.disk.path("restored"), ns=(status.st_mtime_ns, status.st_mtime_ns))
        self.disk.rename("restored", PATH)
        self._forget_name(PATH)
        old = self.nameless[-1]
        file = self.names[PATH] = File(self._inode(PATH), content, older=old.older)
        file.is_copy = old.is_copy
        self.tails.add(file.tail)

    # Rotation

    def rotate(self, *, chain: bool) -> None:
        """Rename the file away: along the chain, or to a name of its own."""
        if PATH not in self.names:
            return
        self._tick()
        if chain:
            for old, new in reversed(list(pairwise(CHAIN))):
                if old in self.names:
                    self._rename(old, new)
            self._rename(PATH, CHAIN[0])
        else:
            self._rename(PATH, self._stamped())
        self.excuse_unreadable_lines()

    def copy_and_truncate(self, *, chain: bool) -> None:
        """Copy to the chain's first name, over the file there, or to a name of its own; then truncate."""
        if self.copy(chain=chain, doubtful=False):
            self.truncate()

    def copy(self, *, chain: bool, doubtful: bool = True) -> bool:
        """Copy the file, and leave it: the copy can't always be distinguished from another file."""
        if PATH not in self.names:
            return False
        self._tick()
        self.in_doubt |= doubtful
        name = CHAIN[0] if chain else self._stamped()
        self.disk.copy(PATH, name)
        content = self.names[PATH].content
        if name in self.names:
            self.in_doubt |= self.looking  # half of the look knew the file as it was before
            file = self.names[name]
            self.retired.discard(file)
            file.hold(content)
        else:
            self.names[name] = File(self._inode(name), content)
        self.names[name].is_copy = True
        self.names[PATH].is_copy |= doubtful
        self.excuse_unreadable_lines()
        return True

    def truncate(self) -> None:
        if PATH not in self.names:
            return
        self._tick()
        self.disk.truncate()
        self.names[PATH].hold(b"")
        self.excuse_unreadable_lines()

    def delete(self, *, writer_stays: bool) -> None:
        if PATH not in self.names:
            return
        self._tick()
        if writer_stays:
            self.names[PATH].writer = os.open(self.disk.path(), os.O_WRONLY | os.O_APPEND)
        self.disk.delete()
        self._forget_name(PATH)
        self.excuse_unreadable_lines()

    def _rename(self, old: str, new: str) -> None:
        self.disk.rename(old, new)
        self._forget_name(new)
        file = self.names[new] = self.names.pop(old)
        if old == PATH and file.older:
            self.owed -= {text for _, text in file.lines}
            file.was_passed_by = file not in self.held

    def _forget_name(self, name: str) -> None:
        if name in self.names:
            file = self.names.pop(name)
            self.nameless.append(file)
            self.unnamed.add(file)

    def _stamped(self) -> str:
        self.stamps += 1
        return NAMES_OF_ROTATION[self.stamps % len(NAMES_OF_ROTATION)] % self.stamps

    def _inode(self, name: str) -> int:
        return self.disk.path(name).stat().st_ino

    def _tick(self) -> None:
        if self.same_tick and self.waited < LONGEST_TICK:
            self.in_doubt = True
        else:
            self.disk.tick()
            self.waited = 0.0
        self.same_tick = False

    # The record

    def _wrote(self, file: File, content: bytes) -> None:
        before = {text for _, text in file.lines}
        file.hold(content)
        self.tails |= {file.tail, *file.cut}
        new = set()
        for number, text in file.lines:
            self.written.setdefault(text, set()).add(number)
            if text not in before:
                new.add(text)
        if file not in self.retired and not file.was_passed_by:
            self.owed |= new - self.taken_tails
        self.lately.append((file, new))
        self.excuse_unreadable_lines()

    def excuse_unreadable_lines(self) -> None:
        """Excuse the lines that can't be read any more."""
        reachable = {*self.names.values(), *(file for file in self.nameless if file in self.held)}
        self.owed &= {text for file in reachable for _, text in file.lines}

    def with_inode(self, inode: int) -> File:
        files = (*self.names.values(), *reversed(self.nameless))
        file = next((file for file in files if file.inode == inode), None)
        is_foreign = self.disk.path(FOREIGN).exists() and self._inode(FOREIGN) == inode
        assert file is not None, "another worker's file is open" if is_foreign else "an unknown file is open"
        return file

    def holds(self, inodes: Sequence[int], retired: Sequence[int]) -> None:
        """After a step the follower has these files open, and has retired those. Both are given by inode."""
        self.held = {self.with_inode(inode) for inode in inodes}
        dropped = [self.with_inode(inode) for inode in retired]
        for file in dropped:
            if not self._may_be_retired(file, {*self.held, *dropped}):
                continue
            self.retired.add(file)
            for written_into, texts in self.lately:
                if written_into is file:
                    self.owed -= texts
        self.retired -= self.held
        for file in self.names.values():
            looks_like_a_copy = bool(file.content) and self._looks_like_a_copy(file)
            file.looked_like_a_copy = file not in self.held and (file.looked_like_a_copy or looks_like_a_copy)
        freed = [file for file in self.nameless if file not in self.held and file.writer is None]
        self.nameless = [file for file in self.nameless if file not in freed]
        for file in freed:
            self.disk.free(file.inode)
        self.lately = []
        self.excuse_unreadable_lines()

    def _may_be_retired(self, file: File, seen: set[File]) -> bool:
        """Whether the file is deleted, or another file that the follower has seen was rotated since."""
        named = {*self.names.values(), *self.unnamed}
        others = (seen & named) - {file, self.names.get(PATH)}
        return file not in self.names.values() or bool(others)

    def deliver(self, batch: Batch) -> None:
        """A batch is accepted: each of its lines must have been written as it is, and at its number."""
        for submission in batch.submissions:
            text = submission.asset_id.encode()
            if text in self.tails:
                self.taken_tails.add(text)
                self.owed.discard(text)
            else:
                self._deliver(text, submission.line)
        for found in batch.rejections:
            if "incomplete" in found.reason:
                assert found.raw in self.tails, f"{found.raw!r} was never the end of a file"
            else:
                self._deliver(found.raw, found.line)

    def _deliver(self, text: bytes, number: int) -> None:
        assert text in self.written, f"{text!r} was never written"
        assert number in self.written[text], f"{text!r} never was line {number}"
        self.delivered[text] += 1
        self.owed.discard(text)
        assert self.in_doubt or self.delivered[text] == 1, f"{text!r} is repeated without need"

    def close(self) -> None:
        for file in (*self.names.values(), *self.nameless):
            if file.writer is not None:
                os.close(file.writer)
