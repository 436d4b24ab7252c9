"""Stands in for the modules `os` and `fcntl` where the worker follows the queue file and writes the events file.

Paths below the simulated root, and the descriptors of what was opened there, are those of the simulation. All others
are real: a walk from `/` name by name ends here or there.
"""

import errno
import fcntl
import os
import zlib
from typing import Any

from tests.simulation.disk import AnyPath, OpenFile, error
from tests.simulation.file_system import SimulatedFiles
from tests.simulation.inodes import Directory, File, Inode
from tests.simulation.names import Entry, Listing, SimulatedPath

FIRST_DESCRIPTOR = 1_000_000
_SETTABLE = os.O_APPEND | os.O_NONBLOCK


class ProcessDiedError(BaseException):
    """The process that makes this call is dead."""


class SimulatedOs:
    """The module `os` of one process. What is not defined here is that of the real module."""

    def __init__(self, files: SimulatedFiles) -> None:
        self.files = files
        self.path = SimulatedPath(self)
        self.fcntl = SimulatedFcntl(self)
        """Stands in for the module `fcntl`."""
        self.dead = False
        """Whether the process is dead: then each call raises `death`, and does nothing."""
        self.death: BaseException | type[BaseException] = ProcessDiedError
        self.dies_in: int | None = None
        """After how many more calls on simulated files the process dies, in the next one: before it has any effect or,
        if it is a write, when a part was written. None: it lives on."""
        self._root = files.root[1:]

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real) or isinstance(real, type):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._live()
            if any(self._is_simulated(each) for each in (*args, *kwargs.values())):
                raise NotImplementedError(f"the simulated file system has no os.{name}")
            return real(*args, **kwargs)

        return real if name in {"fspath", "strerror", "fsencode", "fsdecode"} else call

    def close_all(self) -> None:
        """Close all that the process had open, as the kernel does when it dies."""
        self.files.close_all(self)

    # Which file is meant

    def _live(self) -> None:
        if self.dead:
            raise self.death

    def _enter(self, call: str, path: str) -> bool:
        """Begin a call on a simulated file. Return whether the process dies in it, if it is a write."""
        self._live()
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.dead, self.dies_in = True, None
                if call in {"write", "pwrite"}:
                    return True
                raise self.death
        if self.files.faults:
            self.files.check(call, path)
        return False

    def _is_simulated(self, argument: object) -> bool:
        if isinstance(argument, int):
            return argument >= FIRST_DESCRIPTOR
        if isinstance(argument, (str, os.PathLike)):
            return self.is_simulated_path(argument)
        return False

    def is_simulated_path(self, path: AnyPath, dir_fd: int | None = None) -> bool:
        """Return whether a path is in the simulation. `/` itself is not."""
        text = os.fspath(path)
        if text.startswith("/"):
            above: Inode = self.files.above
        elif dir_fd is None or dir_fd < FIRST_DESCRIPTOR:
            return False
        else:
            above = self._opened(dir_fd).inode
        return above is not self.files.above or text.lstrip("/").partition("/")[0] == self._root

    def _opened(self, descriptor: int) -> OpenFile:
        opened = self.files.descriptors.get(descriptor)
        if opened is None or opened.owner is not self:
            raise error(errno.EBADF)
        return opened

    def _data(self, call: str, descriptor: int, rights: int) -> tuple[OpenFile, File, bool]:
        """Return a file that is open for this (`os.R_OK`, `os.W_OK`), and whether the process dies in the call."""
        opened = self._opened(descriptor)
        dies = self._enter(call, opened.path)
        allowed = {os.O_RDONLY: os.R_OK, os.O_WRONLY: os.W_OK}.get(opened.flags & os.O_ACCMODE, os.R_OK | os.W_OK)
        if opened.flags & os.O_PATH or not allowed & rights:
            raise error(errno.EBADF)
        if not isinstance(opened.inode, File):
            raise error(errno.EISDIR)
        return opened, opened.inode, dies

    def _walk(self, call: str, path: AnyPath, dir_fd: int | None) -> tuple[Directory, str, Inode | None, str]:
        """Return the directory of a path, the last name, what has it, and the path from the root on."""
        text = os.fspath(path)
        start, full = self.files.above, text
        if not text.startswith("/"):
            assert dir_fd is not None
            opened = self._opened(dir_fd)
            if not isinstance(opened.inode, Directory):
                raise error(errno.ENOTDIR, text)
            start, full = opened.inode, f"{opened.path.rstrip('/')}/{text}"
        self._enter(call, full)
        return (*self.files.walk(start, text), full)

    def _real(self, path: AnyPath, dir_fd: int | None) -> dict[str, Any]:
        """Return the arguments that mean the same in the real world; a directory of the simulation can only be `/`."""
        if dir_fd is None or dir_fd < FIRST_DESCRIPTOR:
            return {"path": path, "dir_fd": dir_fd}
        return {"path": f"/{os.fspath(path)}"}

    # Paths

    def open(self, path: AnyPath, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Do as `os.open`. A descriptor of `/` is one of the simulation."""
        self._live()
        if os.fspath(path) == "/":
            return self.files.add_descriptor(OpenFile(self.files.above, "/", flags, self))
        if not self.is_simulated_path(path, dir_fd):
            return os.open(flags=flags, mode=mode, **self._real(path, dir_fd))
        directory, name, node, full = self._walk("open", path, dir_fd)
        if flags & os.O_PATH:
            flags &= os.O_PATH | os.O_DIRECTORY
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC) != 0
        if node is None:
            if not flags & os.O_CREAT or directory.links == 1:  # in a directory that was removed
                raise error(errno.ENOENT, full)
            if not directory.permits(os.W_OK | os.X_OK):
                raise error(errno.EACCES, full)
            node = self.files.make_node(directory, name, File, mode)
        else:
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise error(errno.EEXIST, full)
            if isinstance(node, Directory) and (writes or flags & os.O_CREAT):
                raise error(errno.EISDIR, full)
            if flags & os.O_DIRECTORY and not isinstance(node, Directory):
                raise error(errno.ENOTDIR, full)
            reads = flags & os.O_ACCMODE != os.O_WRONLY
            if not flags & os.O_PATH and not node.permits(os.R_OK * reads | os.W_OK * writes):
                raise error(errno.EACCES, full)
        if flags & os.O_TRUNC and isinstance(node, File):
            self.files.take_room(full, -node.size)
            node.truncate(0, self.files.now())
        return self.files.add_descriptor(OpenFile(node, full, flags, self))

    def stat(self, path: AnyPath | int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        """Do as `os.stat`."""
        self._live()
        if isinstance(path, int):
            return self.fstat(path)
        if not self.is_simulated_path(path, dir_fd):
            return os.stat(follow_symlinks=follow_symlinks, **self._real(path, dir_fd))
        *_, node, full = self._walk("stat", path, dir_fd)
        if node is None:
            raise error(errno.ENOENT, full)
        return node.status()

    def lstat(self, path: AnyPath, *, dir_fd: int | None = None) -> os.stat_result:
        """Do as `os.lstat`."""
        return self.stat(path, dir_fd=dir_fd, follow_symlinks=False)

    def readlink(self, path: AnyPath, *, dir_fd: int | None = None) -> str:
        """Do as `os.readlink`: nothing in the simulation is a link."""
        self._live()
        if not self.is_simulated_path(path, dir_fd):
            return str(os.readlink(**self._real(path, dir_fd)))
        raise error(errno.EINVAL, os.fspath(path))

    def access(self, path: AnyPath, mode: int) -> bool:
        """Do as `os.access`, as if the owner of the files asked."""
        self._live()
        if not self.is_simulated_path(path):
            return os.access(path, mode)
        try:
            node = self._walk("access", path, None)[2]
        except OSError:
            return False
        return node is not None and node.permits(mode)

    def scandir(self, path: AnyPath) -> Any:
        """Do as `os.scandir`. The order of the names is random, and always the same for the same names."""
        self._live()
        if not self.is_simulated_path(path):
            return os.scandir(path)
        *_, node, full = self._walk("scandir", path, None)
        if node is None:
            raise error(errno.ENOENT, full)
        if not isinstance(node, Directory):
            raise error(errno.ENOTDIR, full)
        if not node.permits(os.R_OK):
            raise error(errno.EACCES, full)
        salt = self.files.salt
        names = sorted(node.names, key=lambda name: zlib.crc32(name.encode(), salt))
        return Listing([Entry(name, f"{full}/{name}", node.names[name]) for name in names])

    # Descriptors

    def close(self, fd: int) -> None:
        """Do as `os.close`."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            os.close(fd)
            return
        self._opened(fd)
        self.files.close(fd)

    def fstat(self, fd: int) -> os.stat_result:
        """Do as `os.fstat`."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            return os.fstat(fd)
        opened = self._opened(fd)
        self._enter("fstat", opened.path)
        return opened.inode.status()

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Do as `os.pread`."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            return os.pread(fd, length, offset)
        if offset < 0:
            raise error(errno.EINVAL)
        file = self._data("pread", fd, os.R_OK)[1]
        return bytes(file.content[offset : offset + length])

    def write(self, fd: int, data: Any) -> int:
        """Do as `os.write`. On a disk with too little room, a part is written."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            return os.write(fd, data)
        opened = self._opened(fd)
        opened.position, written = self._write("write", fd, data, opened.position)
        return written

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        """Do as `os.pwrite`. With O_APPEND it appends, as Linux does."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            return os.pwrite(fd, data, offset)
        if offset < 0:
            raise error(errno.EINVAL)
        return self._write("pwrite", fd, data, offset)[1]

    def _write(self, call: str, fd: int, data: Any, position: int) -> tuple[int, int]:
        """Return where the written bytes end, and how many they are."""
        opened, file, dies = self._data(call, fd, os.W_OK)
        data = bytes(data)
        offset = file.size if opened.flags & os.O_APPEND else position
        if dies:
            data = data[: self.files.share_of(len(data))]
        room = self.files.room_at(opened.path) + max(0, file.size - offset)
        if data and room <= 0 and not dies:
            raise error(errno.ENOSPC)
        data = data if room >= len(data) else data[: max(0, int(room))]
        if data:
            size = file.size
            file.write(offset, data, self.files.now())
            self.files.take_room(opened.path, file.size - size)
            position = offset + len(data)
        if dies:
            raise self.death
        return position, len(data)

    def ftruncate(self, fd: int, length: int) -> None:
        """Do as `os.ftruncate`."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            os.ftruncate(fd, length)
            return
        if length < 0 or not self._opened(fd).flags & (os.O_WRONLY | os.O_RDWR | os.O_PATH):
            raise error(errno.EINVAL)
        opened, file, _ = self._data("ftruncate", fd, os.W_OK)
        self.files.take_room(opened.path, min(0, length - file.size))
        file.truncate(length, self.files.now())

    def fsync(self, fd: int) -> None:
        """Do as `os.fsync`: of a directory, its names are then on the disk."""
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        """Do as `os.fdatasync`."""
        self._sync("fdatasync", fd)

    def _sync(self, call: str, fd: int) -> None:
        self._live()
        if fd < FIRST_DESCRIPTOR:
            getattr(os, call)(fd)
            return
        opened = self._opened(fd)
        if opened.flags & os.O_PATH:
            raise error(errno.EBADF)
        try:
            self._enter(call, opened.path)
        except OSError:
            if self.files.forgets_failed_syncs and isinstance(opened.inode, File):
                opened.inode.give_up_unsynced()
            raise
        self.files.sync(opened.inode)

    def lseek(self, fd: int, position: int, whence: int) -> int:
        """Do as `os.lseek`."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            return os.lseek(fd, position, whence)
        opened, file, _ = self._data("lseek", fd, os.R_OK | os.W_OK)
        if whence in {os.SEEK_DATA, os.SEEK_HOLE}:
            found = file.find(position, data=whence == os.SEEK_DATA) if position >= 0 else None
            if found is None:
                raise error(errno.ENXIO)
        else:
            found = position + {os.SEEK_SET: 0, os.SEEK_CUR: opened.position, os.SEEK_END: file.size}[whence]
            if found < 0:
                raise error(errno.EINVAL)
        opened.position = found
        return found

    def flock(self, fd: int, operation: int) -> None:
        """Do as `fcntl.flock`."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            fcntl.flock(fd, operation)
            return
        opened = self._opened(fd)
        self._enter("flock", opened.path)
        if opened.flags & os.O_PATH:
            raise error(errno.EBADF)
        if operation & fcntl.LOCK_UN:
            opened.inode.locks.pop(opened, None)
            return
        try:
            self.files.lock(opened.inode, opened, exclusive=bool(operation & fcntl.LOCK_EX))
        except BlockingIOError:
            if not operation & fcntl.LOCK_NB:
                raise AssertionError("this waits for ever: nothing else runs meanwhile") from None
            raise

    def set_flags(self, fd: int, command: int, argument: int) -> int:
        """Do as `fcntl.fcntl` with F_GETFL or F_SETFL."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            return fcntl.fcntl(fd, command, argument)
        opened = self._opened(fd)
        if command == fcntl.F_GETFL:
            return opened.flags
        assert command == fcntl.F_SETFL, command
        if opened.flags & os.O_PATH:
            raise error(errno.EBADF)
        opened.flags = (opened.flags & ~_SETTABLE) | (argument & _SETTABLE)
        return 0

    def set_blocking(self, fd: int, blocking: bool) -> None:
        """Do as `os.set_blocking`: files never block."""
        self._live()
        if fd < FIRST_DESCRIPTOR:
            os.set_blocking(fd, blocking)
        else:
            self._opened(fd)


class SimulatedFcntl:
    """The module `fcntl`. What is not defined here is that of the real module."""

    def __init__(self, system: SimulatedOs) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(fcntl, name)

    def flock(self, fd: int, operation: int) -> None:
        """Do as `fcntl.flock`. Nothing waits for a lock: that would be for ever."""
        self._system.flock(fd, operation)

    def fcntl(self, fd: int, command: int, argument: int = 0) -> int:
        """Do as `fcntl.fcntl`: get or set a file's flags."""
        return self._system.set_flags(fd, command, argument)
