"""A disk in memory: names, descriptors, faults, what a sync or a power cut does. `file_system.py` adds its users."""

import errno
import math
import os
import re
from collections.abc import Callable, Iterator
from random import Random

from tests.simulation.inodes import Directory, File, Inode

FALLIBLE = frozenset(
    {
        "open",
        "stat",
        "fstat",
        "pread",
        "pwrite",
        "write",
        "ftruncate",
        "fdatasync",
        "fsync",
        "lseek",
        "scandir",
        "access",
        "flock",
    }
)
"""The calls that `SimulatedFiles.fail` may let fail."""
UMASK = 0o022
ZEROS = 0.25
"""How probable it is that a power cut leaves zeros at the end of a file that was being written."""

AnyPath = str | os.PathLike[str]


def error(number: int, path: str | None = None) -> OSError:
    """Return the error that the system reports."""
    return OSError(number, os.strerror(number), path) if path is not None else OSError(number, os.strerror(number))


class Fault:
    """Lets calls on paths that begin with `prefix` fail."""

    def __init__(self, prefix: str, number: int, calls: frozenset[str], times: float) -> None:
        self.prefix = prefix
        self.number = number
        self.calls = calls
        self.left = times
        """How many calls fail from now on."""


class OpenFile:
    """What a descriptor stands for: an open file description."""

    def __init__(self, inode: Inode, path: str, flags: int, owner: object) -> None:
        self.inode = inode
        self.path = path
        """The path under which it was opened."""
        self.flags = flags
        self.owner = owner
        """The process."""
        self.position = 0


class SimulatedDisk:
    """The disk. All paths are absolute and below `root`, a name in `/`."""

    def __init__(
        self,
        random: Random,
        now_ns: Callable[[], int],
        *,
        root: str = "/simulated",
        tick: int = 4_000_000,
        inode_reuse: float = 0.5,
    ) -> None:
        """Make an empty disk.

        Args:
            random: all that happens by chance is drawn from it.
            now_ns: the wall clock, in nanoseconds.
            root: the disk's directory; there is no such directory outside of the simulation.
            tick: the resolution of the file system's times, in nanoseconds.
            inode_reuse: how probable it is that a new file gets the number of the one that was gone last.
        """
        assert re.fullmatch("/[^/]+", root), root
        self.root = root
        self._random = random
        self._now_ns = now_ns
        self._tick = tick
        self._inode_reuse = inode_reuse
        self._free: list[int] = []
        self._last_number = 2
        self._files: dict[int, Inode] = {}
        self.others_are_durable = True
        """Whether what all but the worker do is on the disk at once."""
        self.forgets_failed_syncs = False
        """Whether a sync that failed is like Linux's: what it was to write can still be read, the next sync reports no
        error, and yet it is not on the disk."""
        self.faults: list[Fault] = []
        self.room: dict[str, int] = {}
        """How many bytes the worker may still write to paths with these prefixes; none is listed: any number."""
        self.salt = random.getrandbits(32)
        """Decides in which order directories list names."""
        self.descriptors: dict[int, OpenFile] = {}
        self._last_descriptor = 999_999
        self.above = Directory(2, 0o755, self.now(), None)
        """`/`, in which there is nothing but the root."""
        self.make_node(self.above, root[1:], Directory, 0o755)
        self.sync(self.above)

    def now(self) -> int:
        """Return the present time as the file system has it."""
        now = self._now_ns()
        return now - now % self._tick

    # Paths

    def walk(self, start: Directory, path: str, *, shown: str | None = None) -> tuple[Directory, str, Inode | None]:
        """Return the directory of a path, the last name of the path, and what has that name.

        Raises:
            OSError: ENOENT, ENOTDIR or EACCES about a directory on the way.
        """
        node: Inode | None = start
        directory, name = start, "."
        for part in path.split("/"):
            if not part or part == ".":
                continue
            if node is None:
                raise error(errno.ENOENT, shown or path)
            if not isinstance(node, Directory):
                raise error(errno.ENOTDIR, shown or path)
            if not node.mode & 0o100:
                raise error(errno.EACCES, shown or path)
            directory, name = node, part
            node = directory.parent if part == ".." else directory.names.get(part)
        return directory, name, node

    # Names

    def make_node(self, directory: Directory, name: str, kind: type[Inode], mode: int) -> Inode:
        """Create a file or a directory with this name."""
        if self._free and self._random.random() < self._inode_reuse:
            number = self._free.pop()
        else:
            self._last_number = number = self._last_number + 1
        now = self.now()
        node: Inode
        if kind is Directory:
            node = Directory(number, mode & ~UMASK, now, directory)
            node.links = 1
        else:
            node = File(number, mode & ~UMASK, now)
        self._files[number] = node
        self.change_names(directory, {name: node})
        return node

    def change_names(self, directory: Directory, changes: dict[str, Inode | None]) -> None:
        """Give names in a directory to other inodes; None: to nothing."""
        before = {name: directory.names.get(name) for name in changes}
        directory.unsynced.append((before, directory.mtime))
        self._set_names(directory, changes)
        directory.mtime = directory.ctime = self.now()

    def _set_names(self, directory: Directory, changes: dict[str, Inode | None]) -> None:
        now = self.now()
        touched: list[Inode] = []
        for name, node in changes.items():
            before = directory.names.pop(name, None)
            if before is not None:
                before.links -= 1
                directory.links -= isinstance(before, Directory)
                touched.append(before)
            if node is not None:
                directory.names[name] = node
                node.links += 1
                directory.links += isinstance(node, Directory)
                touched.append(node)
                if isinstance(node, Directory):
                    node.parent = directory
        for node in touched:
            node.ctime = now
            self.free(node)

    def free(self, node: Inode) -> None:
        """Let the number of an inode be used again, if nothing refers to it any more."""
        own_links = 1 if isinstance(node, Directory) else 0
        if node.links > own_links or node.opened or self._files.get(node.number) is not node:
            return
        if any(node in before.values() for each in self._directories() for before, _ in each.unsynced):
            return
        del self._files[node.number]
        self._free.append(node.number)

    def inodes(self) -> Iterator[Inode]:
        """Return all files and directories that have a name or are open."""
        return iter([*self._files.values()])

    def _directories(self) -> Iterator[Directory]:
        yield self.above
        yield from (node for node in self._files.values() if isinstance(node, Directory))

    # Durability

    def sync(self, node: Inode) -> None:
        """Write to the disk what is unsynced: the content of a file, the names in a directory."""
        if isinstance(node, Directory):
            gone = [each for before, _ in node.unsynced for each in before.values() if each is not None]
            node.unsynced.clear()
            for each in gone:
                self.free(each)
        elif isinstance(node, File):
            node.unsynced.clear()

    def settle(self, *nodes: Inode) -> None:
        """Write to the disk what others than the worker have done, if that is so."""
        if self.others_are_durable:
            for node in nodes:
                self.sync(node)

    def power_cut(self) -> None:
        """Let the machine die: no process is left, and of what was not synced, only a part is there."""
        self.close_all()
        for directory in [*self._directories()]:
            kept = self._random.randint(0, len(directory.unsynced))
            for before, mtime in reversed(directory.unsynced[kept:]):
                self._set_names(directory, before)
                directory.mtime = mtime
            self.sync(directory)
        for file in [node for node in self._files.values() if isinstance(node, File)]:
            if file.unsynced or file.unwritten:
                kept = self._random.randint(0, len(file.unsynced))
                zeros = self._random.random() if self._random.random() < ZEROS else 0.0
                file.undo(kept, self._random.random(), zeros)

    # Descriptors

    def add_descriptor(self, opened: OpenFile) -> int:
        """Return a number for an open file that was never used before."""
        self._last_descriptor += 1
        opened.inode.opened += 1
        self.descriptors[self._last_descriptor] = opened
        return self._last_descriptor

    def close(self, descriptor: int) -> None:
        """Close a descriptor; its lock is gone."""
        opened = self.descriptors.pop(descriptor)
        node = opened.inode
        node.opened -= 1
        node.locks.pop(opened, None)
        self.free(node)

    def lock(self, node: Inode, holder: OpenFile, *, exclusive: bool) -> None:
        """Lock a file for an open file description, or change the kind of its lock (flock(2)).

        Raises:
            BlockingIOError: another has a lock that excludes it.
        """
        others = [kind for each, kind in node.locks.items() if each is not holder]
        if any(exclusive or is_exclusive for is_exclusive in others):
            raise error(errno.EWOULDBLOCK)
        node.locks[holder] = exclusive

    def close_all(self, owner: object = None) -> None:
        """Let a process die: all that it had open is closed. None: all processes die."""
        for descriptor, opened in [*self.descriptors.items()]:
            if owner is None or opened.owner is owner:
                self.close(descriptor)

    def share_of(self, size: int) -> int:
        """Return how many of so many bytes a process writes in which it dies."""
        return self._random.randint(0, size)

    # Faults

    def fail(
        self, prefix: AnyPath, number: int, *, calls: frozenset[str] | set[str] = FALLIBLE, times: float = math.inf
    ) -> Fault:
        """Let the worker's calls on paths that begin with `prefix` fail with this error number.

        A descriptor has the path under which it was opened. `times` is how many calls fail; then the fault is over.
        """
        assert calls <= FALLIBLE, calls - FALLIBLE
        fault = Fault(os.fspath(prefix), number, frozenset(calls), times)
        self.faults.append(fault)
        return fault

    def mend(self, fault: Fault | None = None) -> None:
        """End a fault; None: all of them, and the shortage of room."""
        if fault is None:
            self.faults.clear()
            self.room.clear()
        elif fault in self.faults:
            self.faults.remove(fault)

    def check(self, call: str, path: str) -> None:
        """Fail if a fault says so.

        Raises:
            OSError: that of the fault.
        """
        for fault in self.faults:
            if call in fault.calls and path.startswith(fault.prefix):
                fault.left -= 1
                if fault.left <= 0:
                    self.faults.remove(fault)
                raise error(fault.number, path)

    def room_at(self, path: str) -> float:
        """Return how many bytes the worker may write to a path."""
        return min((left for prefix, left in self.room.items() if path.startswith(prefix)), default=math.inf)

    def take_room(self, path: str, size: int) -> None:
        """Note that a file of the worker has grown by this many bytes, or shrunk."""
        for prefix in self.room:
            if path.startswith(prefix):
                self.room[prefix] -= size
