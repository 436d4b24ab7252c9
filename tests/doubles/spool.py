"""A spool directory as its writers see it: real files, and a model of what may still be read in them.

A line is *owed* from the moment its newline is written until it is delivered, or until it can't be read in principle.
It can't be read when

- no file that holds it has a name or is held open by the follower: it was truncated away without a copy, overwritten,
  or deleted before the follower opened it, or between a crash and a restart;
- it was written into a file that the follower had let go of after its drain, and rightly: another file had been
  rotated away since, or it was deleted;
- it is in a file older than the follower's last look (written elsewhere and moved to the path) that was rotated away,
  or is written into that file later on: no change of the directory tells of it before the next rotation does.

Such a line is *excused*: it may come, and need not.
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
"""Names through which files are passed on; the last one is deleted."""


LONGEST_TICK = 1.0
"""In seconds: the clock of a file system is allowed to be as coarse as that."""


class File:
    """What a file holds, whatever its name is."""

    def __init__(self, inode: int, content: bytes, *, older: bool = False) -> None:
        self.inode = inode
        self.older = older
        self.is_copy = False
        self.was_passed_by = False
        """It came and was rotated away between two looks, and looked like history."""
        self.writer: int | None = None
        """Someone has it open, and writes on."""
        self.hold(content)

    def hold(self, content: bytes) -> None:
        self.content = content
        pieces = content.split(b"\n")
        self.lines = [(number, text) for number, text in enumerate(pieces[:-1], start=1) if _is_owed(text)]
        self.tail = pieces[-1]


def _is_owed(text: bytes) -> bool:
    return bool(text) and not text.startswith(b"#")


class Spool:
    """Writers, rotation, and the books."""

    def __init__(self, directory: Path) -> None:
        self.disk = Disk(directory)
        self.names: dict[str, File] = {}
        self.nameless: list[File] = []
        """Deleted, but held open by a writer or the follower, or deleted just now."""
        self.held: set[File] = set()
        """Those the follower has open."""
        self.let_go: set[File] = set()
        """Those it had open, and rightly has no longer."""
        self.count = 0
        self.stamps = 0
        self.in_doubt = False
        """A repeat may be right: something happened that can't be told from something else."""
        self.same_tick = False
        self.waited = 0.0
        """In seconds, since the last tick."""
        self.unnamed: set[File] = set()
        """What was deleted during the follower's step, who may have seen it before that."""
        self.looking = False
        """The follower is at work; what happens, happens within its step."""
        self.written: dict[bytes, set[int]] = {}
        """Every line that ever stood in a file, whole, and its numbers there."""
        self.tails: set[bytes] = set()
        self.owed: set[bytes] = set()
        self.delivered: Counter[bytes] = Counter()
        self.lately: list[tuple[File, set[bytes]]] = []
        """What was written during the follower's step."""

    # Writers

    def data(self, pieces: Sequence[str]) -> bytes:
        """No two lines are alike: what is alike can't be told apart."""
        data = b""
        for piece in pieces:
            self.count += 1
            data += {
                "line": b"L%d\n",
                "partial": b"t%d-",
                "rest": b"r%d\n",
                "bad": b"!%d\n",
                "comment": b"# %d\n",
                "end": b"\n",
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
        """Into a file that no longer stands under the path, by its name or by a descriptor kept open.

        Not into a copy: nobody had that one open. And not into a file that a copy is left of: of the two, once both
        are rotated, one is taken for the other.
        """
        candidates: list[File | str] = [name for name, file in self.names.items() if name != PATH and not file.is_copy]
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

    def replace(self, pieces: Sequence[str], *, older: bool) -> None:
        """Atomically, by a file that was written just now, or long ago."""
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
        self.settle_books()

    def copy_and_truncate(self, *, chain: bool) -> None:
        """Into the chain's first name, over what stands there; or to a name of its own."""
        if self.copy(chain=chain, doubtful=False):
            self.truncate()

    def copy(self, *, chain: bool, doubtful: bool = True) -> bool:
        """A copy that is left beside the file can't always be told from another file."""
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
            self.let_go.discard(file)
            file.hold(content)
        else:
            self.names[name] = File(self._inode(name), content)
        self.names[name].is_copy = True
        self.names[PATH].is_copy |= doubtful
        self.settle_books()
        return True

    def truncate(self) -> None:
        if PATH not in self.names:
            return
        self._tick()
        self.disk.truncate()
        self.names[PATH].hold(b"")
        self.settle_books()

    def delete(self, *, writer_stays: bool) -> None:
        if PATH not in self.names:
            return
        self._tick()
        if writer_stays:
            self.names[PATH].writer = os.open(self.disk.path(), os.O_WRONLY | os.O_APPEND)
        self.disk.delete()
        self._forget_name(PATH)
        self.settle_books()

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
        return f"{PATH}-{self.stamps}"

    def _inode(self, name: str) -> int:
        return self.disk.path(name).stat().st_ino

    def _tick(self) -> None:
        if self.same_tick and self.waited < LONGEST_TICK:
            self.in_doubt = True
        else:
            self.disk.tick()
            self.waited = 0.0
        self.same_tick = False

    # The books

    def _wrote(self, file: File, content: bytes) -> None:
        before = {text for _, text in file.lines}
        file.hold(content)
        self.tails.add(file.tail)
        new = set()
        for number, text in file.lines:
            self.written.setdefault(text, set()).add(number)
            if text not in before:
                new.add(text)
        if file not in self.let_go and not file.was_passed_by:
            self.owed |= new
        self.lately.append((file, new))
        self.settle_books()

    def settle_books(self) -> None:
        """Excuse what can't be read any more."""
        reachable = {*self.names.values(), *(file for file in self.nameless if file in self.held)}
        self.owed &= {text for file in reachable for _, text in file.lines}

    def with_inode(self, inode: int) -> File:
        return next(file for file in (*self.names.values(), *reversed(self.nameless)) if file.inode == inode)

    def holds(self, inodes: Sequence[int], let_go: Sequence[int]) -> None:
        """After a step the follower has these files open, and has let go of those."""
        self.held = {self.with_inode(inode) for inode in inodes}
        dropped = [self.with_inode(inode) for inode in let_go]
        for file in dropped:
            if not self._may_be_let_go(file, {*self.held, *dropped}):
                continue
            self.let_go.add(file)
            for written_into, texts in self.lately:
                if written_into is file:
                    self.owed -= texts
        self.let_go -= self.held
        self.nameless = [file for file in self.nameless if file in self.held or file.writer is not None]
        self.lately = []
        self.settle_books()

    def _may_be_let_go(self, file: File, seen: set[File]) -> bool:
        """Whether it is deleted, or another file has been rotated away that the follower has seen."""
        named = {*self.names.values(), *self.unnamed}
        others = (seen & named) - {file, self.names.get(PATH)}
        return file not in self.names.values() or bool(others)

    def deliver(self, batch: Batch) -> None:
        """A batch is accepted: what is in it was written, as it is and where it says."""
        for submission in batch.submissions:
            self._deliver(submission.asset_id.encode(), submission.line)
        for found in batch.rejections:
            if "no newline" in found.reason:
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
