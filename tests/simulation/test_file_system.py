"""What a sync and a power cut do to the simulated files, and which faults they can have."""

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from tests.simulation.file_system import SimulatedFiles
from tests.simulation.system_calls import ProcessDiedError, SimulatedOs

PATH = "/simulated/d/file"
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT


def disk(seed: int = 1) -> tuple[SimulatedFiles, SimulatedOs]:
    files = SimulatedFiles(Random(seed), lambda: 10**18)
    files.mkdir("/simulated/d")
    return files, SimulatedOs(files)


def after_power_cuts(do: Callable[[SimulatedFiles, SimulatedOs], object]) -> Counter[bytes | None]:
    """Return what stands in the file after a power cut, with 300 seeds; None: it is gone."""
    found: Counter[bytes | None] = Counter()
    for seed in range(300):
        files, system = disk(seed)
        do(files, system)
        files.power_cut()
        found[files.read(PATH) if files.exists(PATH) else None] += 1
    return found


def create(files: SimulatedFiles, system: SimulatedOs) -> int:
    """Create an empty file, and make its name durable."""
    descriptor = system.open(PATH, APPEND)
    directory = system.open("/simulated/d", os.O_RDONLY | os.O_DIRECTORY)
    system.fsync(directory)
    return descriptor


# What a power cut takes


def test_a_name_is_durable_after_a_sync_of_the_directory():
    assert after_power_cuts(create) == {b"": 300}


def test_a_name_may_be_gone_although_the_file_was_synced():
    """POSIX promises no more; ext4 does."""

    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        descriptor = system.open(PATH, APPEND)
        system.write(descriptor, b"ab")
        system.fdatasync(descriptor)

    assert after_power_cuts(do).keys() == {None, b"ab"}


def test_bytes_are_durable_after_a_sync_of_the_file():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        descriptor = create(files, system)
        system.write(descriptor, b"abc")
        system.fdatasync(descriptor)

    assert after_power_cuts(do) == {b"abc": 300}


def test_of_what_was_written_since_the_first_bytes_may_be_left_and_zeros_after_them():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        descriptor = create(files, system)
        system.write(descriptor, b"a")
        system.fdatasync(descriptor)
        system.write(descriptor, b"bc")
        system.write(descriptor, b"d")

    assert after_power_cuts(do).keys() == {b"a", b"ab", b"abc", b"abcd", b"a\0", b"a\0\0", b"ab\0", b"abc\0"}


def test_a_truncation_that_was_not_synced_may_not_have_happened_but_happened_before_what_followed():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        descriptor = create(files, system)
        system.write(descriptor, b"abc")
        system.fdatasync(descriptor)
        system.ftruncate(descriptor, 1)
        system.write(descriptor, b"X")

    assert after_power_cuts(do).keys() == {b"abc", b"a", b"aX", b"a\0"}


def test_what_others_do_is_durable_at_once_and_so_is_what_was_done_to_the_same_file_before():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        system.write(system.open(PATH, APPEND), b"a")
        files.append(PATH, b"b")

    assert after_power_cuts(do) == {b"ab": 300}


def test_what_others_do_is_not_durable_if_the_simulation_says_so():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        files.append(PATH, b"a")
        files.others_are_durable = False
        files.append(PATH, b"b")
        files.rename(PATH, f"{PATH}.1")
        files.append(PATH, b"c")

    assert {None, b"a", b"ab", b"", b"c"} <= after_power_cuts(do).keys()


def test_a_sync_that_failed_leaves_what_it_was_to_write_to_the_next_one():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        descriptor = create(files, system)
        system.write(descriptor, b"ab")
        files.fail(PATH, errno.EIO, calls={"fdatasync"}, times=1)
        with pytest.raises(OSError, match="Input/output"):
            system.fdatasync(descriptor)
        system.fdatasync(descriptor)

    assert after_power_cuts(do) == {b"ab": 300}


def test_like_linux_it_may_forget_that_and_the_next_sync_succeeds():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        files.forgets_failed_syncs = True
        descriptor = create(files, system)
        system.write(descriptor, b"abc")
        files.fail(PATH, errno.EIO, calls={"fdatasync"}, times=1)
        with pytest.raises(OSError, match="Input/output"):
            system.fdatasync(descriptor)
        system.write(descriptor, b"d")
        system.fdatasync(descriptor)
        assert system.pread(descriptor, 9, 0) == b"abcd"

    assert after_power_cuts(do) == {b"\0\0\0d": 300}


def test_what_is_written_again_is_not_forgotten():
    def do(files: SimulatedFiles, system: SimulatedOs) -> None:
        files.forgets_failed_syncs = True
        descriptor = create(files, system)
        system.write(descriptor, b"abc")
        files.fail(PATH, errno.EIO, calls={"fdatasync"}, times=1)
        with pytest.raises(OSError, match="Input/output"):
            system.fdatasync(descriptor)
        system.ftruncate(descriptor, 2)
        system.write(descriptor, b"C")
        system.write(system.open(PATH, os.O_RDWR), b"A")
        system.fdatasync(descriptor)

    assert after_power_cuts(do) == {b"A\0C": 300}


def test_a_process_that_dies_loses_its_descriptors_and_locks_and_nothing_else():
    files, system = disk()
    descriptor = system.open(PATH, APPEND)
    system.write(descriptor, b"a")
    system.fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other = SimulatedOs(files)
    others = other.open(PATH, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        other.fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
    system.dead = True
    system.close_all()
    other.fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert files.read(PATH) == b"a"
    assert [*files.descriptors] == [others]


# Faults


def test_a_call_fails_as_often_as_it_is_told_and_others_do_not():
    files, system = disk()
    files.append(PATH, b"a")
    files.fail("/simulated/d", errno.EACCES, calls={"open"}, times=2)
    for _ in range(2):
        with pytest.raises(PermissionError):
            system.open(PATH, os.O_RDONLY)
    assert system.stat(PATH).st_size == 1
    system.close(system.open(PATH, os.O_RDONLY))


def test_a_descriptor_fails_by_the_path_under_which_it_was_opened_until_that_is_mended():
    files, system = disk()
    descriptor = system.open(PATH, APPEND)
    files.rename(PATH, "/simulated/elsewhere")
    fault = files.fail("/simulated/d/", errno.ESTALE)
    for _ in range(3):
        with pytest.raises(OSError, match="Stale"):
            system.pread(descriptor, 1, 0)
    files.mend(fault)
    assert system.pread(descriptor, 1, 0) == b""


def test_on_a_full_disk_a_part_is_written_and_then_nothing_until_there_is_room():
    files, system = disk()
    descriptor = system.open(PATH, APPEND)
    files.room["/simulated/d"] = 3
    assert system.write(descriptor, b"abcde") == 3
    with pytest.raises(OSError, match="No space"):
        system.write(descriptor, b"de")
    system.ftruncate(descriptor, 2)
    assert system.write(descriptor, b"XYZ") == 1
    files.mend()
    assert system.write(descriptor, b"YZ") == 2
    assert files.read(PATH) == b"abXYZ"


def test_permissions_count_even_for_root():
    files, system = disk()
    files.append(PATH, b"a")
    files.make_unreadable(PATH)
    assert not system.access(PATH, os.R_OK)
    with pytest.raises(PermissionError):
        system.open(PATH, os.O_RDONLY)
    files.make_readable(PATH)
    system.close(system.open(PATH, os.O_RDONLY))
    files.chmod("/simulated/d", 0o555)
    with pytest.raises(PermissionError):
        system.open(f"{PATH}.new", APPEND)
    files.make_unreadable("/simulated/d")
    for call in (system.stat, system.scandir):
        with pytest.raises(PermissionError):
            call(PATH if call == system.stat else "/simulated/d")


def test_a_process_dies_before_a_call_and_nothing_that_it_does_then_has_an_effect():
    files, system = disk()
    descriptor = system.open(PATH, APPEND)
    system.dies_in = 1
    system.fstat(descriptor)
    for _ in range(2):
        with pytest.raises(ProcessDiedError):
            system.ftruncate(descriptor, 9)
    for call in (lambda: system.path.exists(PATH), lambda: system.stat("/"), lambda: system.close(descriptor)):
        with pytest.raises(ProcessDiedError):
            call()
    assert files.read(PATH) == b""


def test_a_process_that_dies_in_a_write_has_written_a_part_of_it():
    written = set()
    for seed in range(30):
        files, system = disk(seed)
        descriptor = system.open(PATH, APPEND)
        system.dies_in = 0
        with pytest.raises(ProcessDiedError):
            system.write(descriptor, b"abc")
        written.add(files.read(PATH))
    assert written == {b"", b"a", b"ab", b"abc"}


# Inodes, times and writers


def test_the_number_of_a_file_that_is_gone_is_used_again_now_and_then_but_not_while_it_is_open():
    files, system = disk()
    again = Counter[bool]()
    for _ in range(100):
        files.append(PATH, b"a")
        descriptor = system.open(PATH, os.O_RDONLY)
        number = files.status(PATH).st_ino
        files.unlink(PATH)
        files.append(PATH, b"b")
        assert files.status(PATH).st_ino != number
        system.close(descriptor)
        files.append(f"{PATH}.1", b"c")
        again[files.status(f"{PATH}.1").st_ino == number] += 1
        files.unlink(PATH)
        files.unlink(f"{PATH}.1")
    assert min(again.values()) > 10


def test_times_have_the_resolution_of_the_file_system():
    now = 10**18 + 5_000_001
    files = SimulatedFiles(Random(1), lambda: now)
    files.append("/simulated/file", b"a")
    assert files.status("/simulated/file").st_mtime_ns == 10**18 + 4_000_000
    coarse = SimulatedFiles(Random(1), lambda: now, tick=2 * 10**9)
    coarse.append("/simulated/file", b"a")
    assert coarse.status("/simulated/file").st_mtime_ns == 10**18


def test_a_writer_keeps_its_file_and_its_place_through_a_rotation():
    files, system = disk()
    writer = files.open_writer(PATH)
    writer.write(b"x" * 5000)
    files.rename(PATH, f"{PATH}.1")
    writer.append(b"y")
    assert files.read(f"{PATH}.1") == b"x" * 5000 + b"y"
    files.truncate(f"{PATH}.1")
    writer.write(b"z")
    assert files.read(f"{PATH}.1") == bytes(5001) + b"z"
    descriptor = system.open(f"{PATH}.1", os.O_RDONLY)
    assert system.lseek(descriptor, 0, os.SEEK_DATA) == 4096
    writer.lock()
    with pytest.raises(BlockingIOError):
        system.fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    writer.close()
    system.fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(OSError, match="Bad file"):
        writer.write(b"more")


def test_a_call_that_is_not_simulated_is_refused_rather_than_done_to_real_files():
    _, system = disk()
    with pytest.raises(NotImplementedError, match=r"os\.rename"):
        system.rename(PATH, f"{PATH}.1")
    with pytest.raises(AttributeError, match=r"os\.path\.getmtime"):
        system.path.getmtime(PATH)
