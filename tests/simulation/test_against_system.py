"""The simulated file system does what the real one does: any sequence of calls has the same results on both."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.disk import UMASK
from tests.simulation.file_system import SimulatedFiles
from tests.simulation.inodes import BLOCK
from tests.simulation.system_calls import SimulatedOs

NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/a", "a/b", "d/../b", "."])
DATA = st.sampled_from([b"x", b"line\n", b"y" * 50, b"\0" * 3, b"z" * (BLOCK + 5)])
FLAGS = st.builds(
    lambda access, others: access | sum(others),
    st.sampled_from([os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_APPEND | os.O_CREAT]),
    st.frozensets(
        st.sampled_from([os.O_CREAT, os.O_EXCL | os.O_CREAT, os.O_APPEND, os.O_DIRECTORY, os.O_PATH, os.O_TRUNC])
        | st.just(os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY),
        max_size=2,
    ),
).filter(lambda flags: flags & (os.O_CREAT | os.O_DIRECTORY) != os.O_CREAT | os.O_DIRECTORY)  # differs by kernel
WHICH = st.integers(0, 5)
SIZES = st.sampled_from([0, 1, 7, 60, BLOCK, 2 * BLOCK + 9])
CALLS = st.one_of(
    st.tuples(st.just("open"), NAMES, FLAGS),
    st.tuples(st.just("open in"), WHICH, st.sampled_from(["a", "e", "e/a", ".", "e/.."]), FLAGS),
    st.tuples(st.sampled_from(["close", "fstat", "fsync", "fdatasync", "lock", "unlock"]), WHICH),
    st.tuples(st.just("pread"), WHICH, SIZES, SIZES | st.just(-1)),
    st.tuples(st.just("write"), WHICH, DATA),
    st.tuples(st.just("pwrite"), WHICH, DATA, SIZES | st.just(-1)),
    st.tuples(st.just("set appending"), WHICH, st.booleans()),
    st.tuples(st.just("ftruncate"), WHICH, SIZES | st.just(-1)),
    st.tuples(
        st.just("lseek"),
        WHICH,
        SIZES | st.just(-1),
        st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE]),
    ),
    st.tuples(st.sampled_from(["stat", "lstat", "exists", "isdir", "isfile", "realpath", "scandir", "access"]), NAMES),
    st.tuples(st.just("samefile"), NAMES, NAMES),
    st.tuples(st.just("sameopenfile"), WHICH, WHICH),
)
PLAIN_NAMES = NAMES.filter(lambda name: "." not in name)
OTHERS = st.one_of(
    st.tuples(st.sampled_from(["append", "replace content"]), PLAIN_NAMES, DATA),
    st.tuples(st.sampled_from(["mkdir", "rmdir", "unlink"]), PLAIN_NAMES),
    st.tuples(st.sampled_from(["rename", "link", "copy"]), PLAIN_NAMES, PLAIN_NAMES),
    st.tuples(st.just("truncate"), PLAIN_NAMES, SIZES),
)
BEFORE = 1_000_000_000_000_000_000
"""The modification time of everything before each call, in nanoseconds."""
TICK = 4_000_000


class Both:
    """The two file systems."""

    def __init__(self, directory: str) -> None:
        self.time = BEFORE
        self.files = SimulatedFiles(Random(1), lambda: self.time)
        self.systems: list[tuple[Any, str]] = [(SimulatedOs(self.files), "/simulated"), (os, directory)]
        self.opened: list[list[int]] = [[], []]

    def path(self, which: int, name: str) -> str:
        return f"{self.systems[which][1]}/{name}"

    def descriptor(self, which: int, number: int) -> int:
        opened = self.opened[which]
        if not opened:
            return [999_999_999, 9_999][which]  # nothing is open there
        return opened[number % len(opened)]

    def done(self, which: int, call: tuple[Any, ...]) -> Any:
        """Return the result of a call, or the number of its error."""
        try:
            return self.call(which, *call)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def call(self, which: int, name: str, *args: Any) -> Any:
        system = self.systems[which][0]
        match name, args:
            case "open", (path, flags):
                self.opened[which].append(system.open(self.path(which, path), flags, 0o640))
            case "open in", (number, path, flags):
                descriptor = system.open(path, flags, 0o640, dir_fd=self.descriptor(which, number))
                self.opened[which].append(descriptor)
            case "lseek", (number, *_) if stat.S_ISDIR(system.fstat(self.descriptor(which, number)).st_mode):
                return None  # each file system's own affair
            case "close", (number,):
                descriptor = self.descriptor(which, number)
                system.close(descriptor)
                self.opened[which].remove(descriptor)
            case "lock" | "unlock", (number,):
                control = system.fcntl if which == 0 else fcntl
                operation = fcntl.LOCK_EX | fcntl.LOCK_NB if name == "lock" else fcntl.LOCK_UN
                control.flock(self.descriptor(which, number), operation)
            case "set appending", (number, appends):
                control, descriptor = system.fcntl if which == 0 else fcntl, self.descriptor(which, number)
                flags = control.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_APPEND
                control.fcntl(descriptor, fcntl.F_SETFL, flags | (os.O_APPEND if appends else 0))
            case "fstat", (number,):
                return visible(system.fstat(self.descriptor(which, number)))
            case "stat" | "lstat", (path,):
                return visible(getattr(system, name)(self.path(which, path)))
            case "access", (path,):
                return system.access(self.path(which, path), os.F_OK)
            case "realpath", (path,):
                return system.path.realpath(self.path(which, path)).removeprefix(self.systems[which][1])
            case "exists" | "isdir" | "isfile", (path,):
                return getattr(system.path, name)(self.path(which, path))
            case "samefile", (one, other):
                return system.path.samefile(self.path(which, one), self.path(which, other))
            case "sameopenfile", (one, other):
                return system.path.sameopenfile(self.descriptor(which, one), self.descriptor(which, other))
            case "scandir", (path,):
                with system.scandir(self.path(which, path)) as entries:
                    return sorted((each.name, each.is_file(), each.is_dir(), each.is_symlink()) for each in entries)
            case _, (number, *values):
                return getattr(system, name)(self.descriptor(which, number), *values)
        return None

    def other(self, which: int, call: tuple[Any, ...]) -> Any:
        """Let somebody else change the files; return None or the number of the error."""
        try:
            (others_in_simulation if which == 0 else others_in_reality)(self, *call)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return None

    def stamp(self) -> None:
        """Set all modification times to one in the past."""
        self.time = BEFORE
        for node in self.files.inodes():
            node.mtime = BEFORE
        for path in (*self.real_paths(), *(f"/proc/self/fd/{each}" for each in self.opened[1])):
            os.utime(path, ns=(BEFORE, BEFORE))
        self.time += 10 * TICK

    def real_paths(self) -> list[str]:
        top = self.systems[1][1]
        return [top, *(os.path.join(above, name) for above, *names in os.walk(top) for name in [*names[0], *names[1]])]

    def state(self, which: int) -> dict[str, Any]:
        """Return what can be seen of all names and descriptors."""
        system, top = self.systems[which]
        found: dict[str, Any] = {}
        directories = [top]
        while directories:
            directory = directories.pop()
            with system.scandir(directory) as entries:
                for entry in entries:
                    status = system.stat(entry.path)
                    assert entry.inode() == status.st_ino
                    found[entry.path.removeprefix(top)] = (*visible(status), status.st_mtime_ns == BEFORE)
                    directories += [entry.path] if entry.is_dir() else []
        for number, descriptor in enumerate(self.opened[which]):
            status = system.fstat(descriptor)
            found[f"#{number}"] = (*visible(status), status.st_mtime_ns == BEFORE)
        top_status = system.stat(top)
        return found | {"/": top_status.st_mtime_ns == BEFORE}

    def contents(self, which: int) -> list[bytes | str]:
        system = self.systems[which][0]
        contents: list[bytes | str] = []
        for descriptor in self.opened[which]:
            try:
                contents.append(system.pread(descriptor, 1 << 20, 0))
            except OSError as error:
                contents.append(errno.errorcode[error.errno or 0])
        return contents

    def close(self) -> None:
        for descriptor in self.opened[1]:
            os.close(descriptor)


def visible(status: os.stat_result) -> tuple[object, ...]:
    """Return what must be the same; the size and the links of a directory are each file system's own affair."""
    is_file = stat.S_ISREG(status.st_mode)
    return (status.st_mode, *((status.st_size, status.st_nlink) if is_file else ()), status.st_uid)


def others_in_simulation(both: Both, what: str, *args: Any) -> None:
    files = both.files
    match what, args:
        case "append", (name, data):
            files.append(both.path(0, name), data)
        case "replace content", (name, data):
            files.write(both.path(0, name), data)
        case (("rename" | "link" | "copy"), (one, other)):
            getattr(files, what)(both.path(0, one), both.path(0, other))
        case _, (name, *values):
            getattr(files, what)(both.path(0, name), *values)


def others_in_reality(both: Both, what: str, *args: Any) -> None:
    match what, args:
        case "append" | "replace content", (name, data):
            with Path(both.path(1, name)).open("ab" if what == "append" else "wb") as file:
                file.write(data)
        case "copy", (one, other):
            if (
                os.path.isfile(both.path(1, one))
                and os.path.exists(both.path(1, other))
                and os.path.samefile(both.path(1, one), both.path(1, other))
            ):
                raise OSError(errno.EINVAL, "the same file")
            with Path(both.path(1, one)).open("rb") as source, Path(both.path(1, other)).open("wb") as target:
                target.write(source.read())
        case (("rename" | "link"), (one, other)):
            getattr(os, what)(both.path(1, one), both.path(1, other))
        case "truncate", (name, size):
            with Path(both.path(1, name)).open("r+b") as file:
                file.truncate(size)
        case "mkdir", (name,):
            os.makedirs(both.path(1, name))
        case _, (name, *values):
            getattr(os, what)(both.path(1, name), *values)


def knows_holes(directory: Path) -> bool:
    """Return whether the file system tells holes of the size of a block from data, as those of disks do."""
    with (directory / "probe").open("w+b") as file:
        file.truncate(3 * BLOCK)
        os.pwrite(file.fileno(), b"x", BLOCK)
        try:
            where = os.lseek(file.fileno(), 0, os.SEEK_DATA), os.lseek(file.fileno(), BLOCK, os.SEEK_HOLE)
        except OSError:
            return False
        return where == (BLOCK, 2 * BLOCK)


@given(st.lists(CALLS | OTHERS, min_size=15, max_size=40))
def test_any_sequence_of_calls_has_the_same_results_as_on_the_real_file_system(calls: list[tuple[Any, ...]]):
    """The same results and errors; then the same names, contents, sizes, links and holes, and the same times change."""
    umask = os.umask(UMASK)
    directory = tempfile.mkdtemp(prefix="files")
    both = Both(os.path.realpath(directory))
    try:
        os.chmod(directory, 0o755)
        if not knows_holes(Path(directory)):
            calls = [call for call in calls if call[0] != "lseek" or call[-1] not in {os.SEEK_DATA, os.SEEK_HOLE}]
        os.unlink(f"{directory}/probe")
        for call in calls:
            both.stamp()
            do = both.done if is_call(call) else both.other
            simulated, real = do(0, call), do(1, call)
            assert simulated == real, call
            assert both.state(0) == both.state(1), call
            assert both.contents(0) == both.contents(1), call
    finally:
        both.close()
        shutil.rmtree(directory)
        os.umask(umask)


def is_call(call: tuple[Any, ...]) -> bool:
    """Return whether the worker makes it."""
    return call[0] not in {
        *("append", "replace content", "mkdir", "rmdir", "unlink", "rename", "link", "copy", "truncate")
    }
