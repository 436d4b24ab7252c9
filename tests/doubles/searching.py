"""A search for files that are not open, beside one path, step by step."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec

from asset_worker.intake.file.beside import SearchBeside
from asset_worker.intake.file.checkpoint import Checkpoint, FollowerState
from asset_worker.intake.file.directories import Directories, Entry
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.intake.file.search import FileSearch
from asset_worker.intake.file.siblings import SeenFile
from asset_worker.intake.file.tail_reader import TailReader
from tests.doubles.intake import Disk


def reader(path: Path) -> TailReader:
    return TailReader(os.open(path, os.O_RDONLY), path.name, lambda _: False)


@contextmanager
def opened(path: Path) -> Iterator[TailReader]:
    """An open file, from its start."""
    with closing(reader(path)) as file:
        yield file


def read_to(path: Path, lines: int, *, rejected: int = 0) -> Checkpoint:
    """The checkpoint of a file of which so many lines have been read."""
    with opened(path) as file:
        if lines:
            file.read(lines)
        file.rejected = rejected
        return file.checkpoint()


def open_descriptors() -> int:
    """How many this process has."""
    return len([*Path("/proc/self/fd").iterdir()])


class Searching:
    """What is searched for beside the queue file of a disk. Without `since`, there was no look before."""

    def __init__(
        self,
        disk: Disk,
        *missing: Checkpoint,
        retired: Iterable[Checkpoint] = (),
        since: int | None = None,
        seen: tuple[SeenFile, ...] = (),
    ) -> None:
        self.said: list[tuple[str, str | None]] = []
        queue_file = QueueFile(disk.path())
        self.directories = Directories(queue_file, ROTATED, self._record)
        self.directories.follow_links()
        state = None if since is None else FollowerState(missing, tuple(retired), since, seen=seen)
        self.search = FileSearch(queue_file, self.directories, state, self._record)
        self.beside = SearchBeside(self.search, self.search.seen, self._record)
        self._open = self.search.open
        self._errors: dict[str, OSError] = {}

    def _record(self, what: str, detail: str | None) -> None:
        self.said.append((what, detail))

    def fail(self, *names: str, code: int = errno.EACCES) -> None:
        """From now on, let the opening of these files fail, and of no others."""
        self._errors = {name: OSError(code, os.strerror(code)) for name in names}
        self.search.open = self._open_or_fail

    def _open_or_fail(self, path: Path) -> TailReader:
        if path.name in self._errors:
            raise self._errors[path.name]
        return self._open(path)

    def entries(self) -> list[Entry]:
        return self.directories.list(self.search.inodes())

    def find(
        self,
        *,
        may_be_rotated: bool = True,
        known: Iterable[TailReader] = (),
        rewritten: Iterable[TailReader] = (),
        inodes: dict[str, int] | None = None,
    ) -> list[tuple[str, int, str]]:
        """The name, position and id of each file that is found. `inodes`: what the directory says, if it is wrong."""
        entries = [
            msgspec.structs.replace(each, inode=(inodes or {}).get(each.path.name, each.inode))
            for each in self.entries()
        ]
        with ExitStack() as stack:
            found = self.beside.find(entries, [*known], [*rewritten], stack, may_be_rotated=may_be_rotated)
            return [(file.name, file.offset, file.id) for file in found]

    def names(self, *, may_be_rotated: bool = True) -> list[tuple[str, int]]:
        """The name and position of each file that is found."""
        return [(name, offset) for name, offset, _ in self.find(may_be_rotated=may_be_rotated)]

    def end_look(self, now: float = 0.0) -> None:
        self.search.seen.end_look(0, now, may_be_rotated=False, is_listed=True, inodes=None)
