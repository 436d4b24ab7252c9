"""A disk in memory, the same for the same seed: what stands on it, who may do what, and what a power cut takes.

The worker uses it through `system_calls.py`, as if by the module `os`. Everybody else in the simulated world (writers
of the queue file, logrotate, operators) uses the methods of `SimulatedFiles` that take paths. Faults, a full disk and
missing permissions don't concern them, and what they do is on the disk at once, unless `others_are_durable` is False.
So is then what the worker did before to the same file or, if it is a name, in the same directory: the disk keeps order.

What the worker does is on the disk after a sync, as POSIX has it: the bytes of a file after fdatasync(2) or fsync(2) of
it, a name after fsync(2) of its directory. On ext4 a sync of the file makes its new name durable, too; a program must
not rely on that, so it is not so here. Changes of one file, and those of the names in one directory, reach the disk in
their order, as with the journal of ext4. A power cut keeps some of them, from the first on; of a write perhaps only the
first bytes, and perhaps zeros after these, as after delayed allocation.
"""

import errno
import os

from tests.simulation.disk import AnyPath, OpenFile, SimulatedDisk, error
from tests.simulation.inodes import Directory, File, Inode


class Writer:
    """A program that keeps a file open, whatever happens to its name."""

    def __init__(self, files: "SimulatedFiles", file: File, path: str) -> None:
        self._files = files
        self._file = file
        self._descriptor: int | None = files.add_descriptor(OpenFile(file, path, os.O_RDWR, self))
        self.position = 0
        """Where `write` continues, in bytes."""

    def append(self, data: bytes) -> None:
        """Write at the end, as with O_APPEND."""
        self.position = self._file.size
        self.write(data)

    def write(self, data: bytes) -> None:
        """Write where the last write ended: after a truncation, that leaves a hole."""
        if self._descriptor not in self._files.descriptors:  # it was closed, or the power was cut
            raise error(errno.EBADF)
        if data:
            self._file.write(self.position, data, self._files.now())
            self.position += len(data)
            self._files.settle(self._file)

    def lock(self) -> None:
        """Take the lock of the file, as flock(2) does.

        Raises:
            BlockingIOError: another has it.
        """
        assert self._descriptor is not None
        self._files.lock(self._file, self._files.descriptors[self._descriptor], exclusive=True)

    def unlock(self) -> None:
        """Release the lock."""
        assert self._descriptor is not None
        self._file.locks.pop(self._files.descriptors[self._descriptor], None)

    def close(self) -> None:
        """Close the file. Closing twice is harmless, and so is closing after a power cut."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor in self._files.descriptors:
            self._files.close(descriptor)


class SimulatedFiles(SimulatedDisk):
    """The disk, and what everybody but the worker does on it. All paths are absolute and below `root`."""

    def _find(self, path: AnyPath) -> tuple[Directory, str, Inode | None]:
        return self.walk(self.above, os.fspath(path))

    def _existing(self, path: AnyPath) -> Inode:
        node = self._find(path)[2]
        if node is None:
            raise error(errno.ENOENT, os.fspath(path))
        return node

    def _file(self, path: AnyPath) -> File:
        node = self._existing(path)
        if not isinstance(node, File):
            raise error(errno.EISDIR, os.fspath(path))
        return node

    def _given(self, path: AnyPath) -> File:
        """Return the file with this name; it is created if it is missing."""
        directory, name, node = self._find(path)
        if node is None:
            node = self.make_node(directory, name, File, 0o666)
            self.settle(directory)
        if not isinstance(node, File):
            raise error(errno.EISDIR, os.fspath(path))
        return node

    def append(self, path: AnyPath, data: bytes) -> None:
        """Append to a file; it is created if it is missing."""
        file = self._given(path)
        if data:
            file.write(file.size, data, self.now())
        self.settle(file, self._find(path)[0])

    def write(self, path: AnyPath, data: bytes) -> None:
        """Write a file from its beginning, and truncate it first, as a shell's `>` does."""
        file = self._given(path)
        file.truncate(0, self.now())
        self.append(path, data)

    def truncate(self, path: AnyPath, size: int = 0) -> None:
        """Set the size of a file, in bytes, as logrotate's `copytruncate` does (ftruncate(2))."""
        file = self._file(path)
        file.truncate(size, self.now())
        self.settle(file)

    def read(self, path: AnyPath) -> bytes:
        """Return the content of a file."""
        return bytes(self._file(path).content)

    def status(self, path: AnyPath) -> os.stat_result:
        """Return the status of what is at a path."""
        return self._existing(path).status()

    def exists(self, path: AnyPath) -> bool:
        """Return whether something is at a path."""
        try:
            return self._find(path)[2] is not None
        except OSError:
            return False

    def listdir(self, path: AnyPath) -> list[str]:
        """Return the names in a directory, sorted."""
        node = self._existing(path)
        if not isinstance(node, Directory):
            raise error(errno.ENOTDIR, os.fspath(path))
        return sorted(node.names)

    def mkdir(self, path: AnyPath) -> None:
        """Create a directory, and those above it that are missing."""
        above = os.path.dirname(os.fspath(path))  # noqa: PTH120 - a path of the simulation is a text
        if not self.exists(above):
            self.mkdir(above)
        directory, name, node = self._find(path)
        if node is not None:
            raise error(errno.EEXIST, os.fspath(path))
        self.make_node(directory, name, Directory, 0o777)
        self.settle(directory)

    def rename(self, old: AnyPath, new: AnyPath) -> None:
        """Give a file or a directory another name; what had that name loses it.

        A rename to another directory is on the disk at once.
        """
        source, old_name, node = self._find(old)
        target, new_name, replaced = self._find(new)
        if node is None:
            raise error(errno.ENOENT, os.fspath(old))
        if node in self._above(target):
            raise error(errno.EINVAL, os.fspath(new))
        if replaced in self._above(source):
            raise error(errno.ENOTEMPTY, os.fspath(new))
        if replaced is not None and type(node) is not type(replaced):
            raise error(errno.EISDIR if isinstance(node, File) else errno.ENOTDIR, os.fspath(new))
        if isinstance(replaced, Directory) and replaced.names and node is not replaced:
            raise error(errno.ENOTEMPTY, os.fspath(new))
        if node is replaced:
            return
        if source is target:
            self.change_names(source, {old_name: None, new_name: node})
            self.settle(source)
        else:
            node.links += 1  # it is not free in between
            self.change_names(source, {old_name: None})
            self.change_names(target, {new_name: node})
            node.links -= 1
            self.sync(source)
            self.sync(target)

    @staticmethod
    def _above(directory: Directory) -> list[Inode]:
        """Return a directory and those above it."""
        found: list[Inode] = [directory]
        while directory.parent is not directory:
            directory = directory.parent
            found.append(directory)
        return found

    def link(self, old: AnyPath, new: AnyPath) -> None:
        """Give a file one more name."""
        file = self._existing(old)
        directory, name, node = self._find(new)
        if node is not None:
            raise error(errno.EEXIST, os.fspath(new))
        if not isinstance(file, File):
            raise error(errno.EPERM, os.fspath(old))
        self.change_names(directory, {name: file})
        self.settle(directory)

    def unlink(self, path: AnyPath) -> None:
        """Remove the name of a file."""
        self._file(path)
        directory, name, _ = self._find(path)
        self.change_names(directory, {name: None})
        self.settle(directory)

    def rmdir(self, path: AnyPath) -> None:
        """Remove an empty directory."""
        directory, name, node = self._find(path)
        if not isinstance(node, Directory):
            raise error(errno.ENOTDIR if node is not None else errno.ENOENT, os.fspath(path))
        if node.names:
            raise error(errno.ENOTEMPTY, os.fspath(path))
        self.change_names(directory, {name: None})
        self.settle(directory)

    def copy(self, old: AnyPath, new: AnyPath, *, keeps_time: bool = False) -> None:
        """Copy a file, as `cp` does, or `cp -p`, which keeps the modification time."""
        source = self._file(old)
        if self.exists(new) and self._existing(new) is source:
            raise error(errno.EINVAL, os.fspath(new))
        content, mtime = bytes(source.content), source.mtime
        self.write(new, content)
        if keeps_time:
            self.set_time(new, mtime)

    def set_time(self, path: AnyPath, mtime: int) -> None:
        """Set the modification time, in nanoseconds."""
        node = self._existing(path)
        node.mtime, node.ctime = mtime, self.now()

    def chmod(self, path: AnyPath, mode: int) -> None:
        """Set the permissions. Those of the owner count for the worker, even if its tests are run by root."""
        node = self._existing(path)
        node.mode, node.ctime = mode, self.now()

    def make_unreadable(self, path: AnyPath) -> None:
        """Take all permissions from a file or a directory."""
        self.chmod(path, 0)

    def make_readable(self, path: AnyPath) -> None:
        """Give the usual permissions to a file or a directory."""
        self.chmod(path, 0o755 if isinstance(self._existing(path), Directory) else 0o644)

    def open_writer(self, path: AnyPath) -> Writer:
        """Open a file, which is created if it is missing, to write to it whatever its name becomes."""
        return Writer(self, self._given(path), os.fspath(path))
