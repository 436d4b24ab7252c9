"""The file sink: what it leaves on disk, through restarts, rotation, other writers and full disks."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops while a test looks at its files

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import patch

import pytest

from asset_worker.runtime import paths
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.file import opening, scan, writing
from asset_worker.sinks.file import sink as file_sink
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import SinkUnavailableError
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import (
    PATIENCE,
    Crash,
    FaultyOs,
    InstantSleep,
    MemoryOutbox,
    stored,
    until_readable,
)
from tests.doubles.threads import InlineThread


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def deliver(path: Path, outbox: MemoryOutbox, sleep: InstantSleep | None = None) -> None:
    """One life of a worker: send all that there is."""
    stop = Stop()
    stop.set("test")
    sink = FileSink(path, InlineThread(), lock_timeout=0)
    await Delivery(sink, outbox, ManualClock(), sleep=sleep or InstantSleep()).run(stop)


def lines(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines()]


def bodies(outbox: MemoryOutbox) -> list[bytes]:
    return [event.body for event in outbox.events]


def forget(outbox: MemoryOutbox, path: Path, position: int, checkpoint: bytes | None) -> None:
    """The process died before it could record more than this."""
    outbox.positions[f"file:{path}"] = position
    outbox.checkpoints[f"file:{path}"] = checkpoint


def recorded(outbox: MemoryOutbox, path: Path) -> tuple[int, bytes | None]:
    return outbox.positions[f"file:{path}"], outbox.checkpoints[f"file:{path}"]


async def test_a_new_file_is_private_to_its_owner_and_group(path: Path):
    """0640, and a relative path has an absolute name."""
    outbox = MemoryOutbox()
    outbox.add(2)
    umask = os.umask(0o022)
    try:
        await deliver(path, outbox)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o640
    assert lines(path) == bodies(outbox)
    assert FileSink(Path("events"), InlineThread()).name == f"file:{Path.cwd()}/events"


@pytest.mark.parametrize("linked", [False, True], ids=["plain", "through a symbolic link"])
async def test_a_new_files_name_is_durable_before_anything_is_written_to_it(path: Path, tmp_path: Path, linked: bool):
    """A power failure must not take away a file whose events are recorded as sent."""
    real = tmp_path / "elsewhere" / "real.jsonl" if linked else path
    if linked:
        real.parent.mkdir()
        path.symlink_to(real)
    done: list[Path | str] = []

    def before(call: str, *args: object) -> None:
        if call == "write":
            done.append("write")
        elif call == "fsync" and real.exists():
            assert isinstance(args[0], int)
            done.append(Path(f"/proc/self/fd/{args[0]}").readlink())

    outbox = MemoryOutbox()
    outbox.add(2)
    with patch.object(opening, "os", FaultyOs(before)), patch.object(file_sink, "os", FaultyOs(before)):
        await deliver(path, outbox)
        assert done == [real.parent, "write"]
        outbox.add(2)
        real.rename(real.with_suffix(".1"))
        await deliver(path, outbox)
    assert lines(real.with_suffix(".1"), real) == bodies(outbox)
    assert done[2:] == [real.parent, "write"], "and so is the next file's after a rotation"


async def test_a_name_that_cant_be_made_durable_is_an_outage(path: Path):
    outbox = MemoryOutbox()
    outbox.add(2)
    failing = True

    def before(call: str, *_: object) -> None:
        if call == "fsync" and failing:
            raise OSError(errno.EIO, "Input/output error")

    def on_sleep(count: int) -> None:
        nonlocal failing
        assert path.read_bytes() == b""
        failing = count < 2

    sleep = InstantSleep(on_sleep)
    with patch.object(opening, "os", FaultyOs(before)):
        await deliver(path, outbox, sleep)
    assert (len(sleep.taken), lines(path)) == (2, bodies(outbox))


async def test_an_existing_file_is_appended_to_and_never_looked_through(path: Path):
    """What stood there before this worker's first start is not ours."""
    path.write_bytes(b"old\n")
    outbox = MemoryOutbox()
    outbox.add(2)
    path.write_bytes(b"old\n" + stored(1).body + b"\n")
    await deliver(path, outbox)
    assert lines(path) == [b"old", stored(1).body, *bodies(outbox)]


async def test_a_foreign_partial_line_is_ended_before_ours(path: Path):
    """Two lines are never joined."""
    path.write_bytes(b"partial")
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    assert path.read_bytes() == b"partial\n" + stored(1).body + b"\n"


@pytest.mark.parametrize("cut", range(0, 3 * len(stored(1).body) + 4, 3))
async def test_a_crash_after_any_byte_is_repaired_and_nothing_repeated(path: Path, cut: int):
    """Killed between the write and its record, with any part of the batch on the disk."""
    outbox = MemoryOutbox()
    outbox.add(2)
    await deliver(path, outbox)
    before, size = recorded(outbox, path), path.stat().st_size
    outbox.add(3)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    os.truncate(path, size + cut)
    outbox.add(2)
    await deliver(path, outbox)
    assert lines(path) == bodies(outbox)


async def test_a_batch_that_was_longer_before_the_crash_is_recognised(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another version may read smaller batches."""
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(7)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    os.truncate(path, path.stat().st_size - 5)
    monkeypatch.setattr("asset_worker.sinks.delivery.BATCH_EVENTS", 2)
    await deliver(path, outbox)
    assert lines(path) == bodies(outbox)


async def test_a_crash_on_the_very_first_batch_is_recognised(path: Path):
    """The file is marked before it is written to for the first time."""
    outbox = MemoryOutbox()
    outbox.add(3)
    with (
        patch.object(file_sink, "os", FaultyOs(lambda call, *_: Crash() if call == "write" else None)),
        pytest.raises(Crash),
    ):
        await deliver(path, outbox)
    assert len(lines(path)) == 3
    await deliver(path, outbox)
    assert lines(path) == bodies(outbox)


async def test_a_rotation_between_two_batches_is_followed(path: Path):
    """The renamed file is left alone; the next batch is in a new one."""
    outbox, rotated = MemoryOutbox(), path.with_suffix(".1")
    sink = FileSink(path, InlineThread())
    first, second = outbox.add(2), outbox.add(2)
    await sink.send(first)
    await sink.send(first)
    path.rename(rotated)
    assert (await sink.send(second)).count == 0
    await sink.send(second)
    await sink.close()
    assert (lines(rotated), lines(path)) == ([event.body for event in first], [event.body for event in second])


@pytest.mark.parametrize("cut", [0, 5, len(stored(1).body) + 1, len(stored(1).body) + 9])
async def test_a_rotation_after_a_crash_is_seen_through(path: Path, cut: int):
    """What the batch left in the renamed file counts; its partial line is taken away there."""
    outbox, rotated = MemoryOutbox(), path.with_suffix(".1")
    outbox.add(1)
    await deliver(path, outbox)
    before, size = recorded(outbox, path), path.stat().st_size
    outbox.add(3)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    os.truncate(path, size + cut)
    path.rename(rotated)
    await deliver(path, outbox)
    assert lines(rotated, path) == bodies(outbox)


async def test_a_truncated_file_starts_anew(path: Path):
    """`copytruncate`, while the worker is up and while it is down."""
    outbox = MemoryOutbox()
    sink = FileSink(path, InlineThread())
    first, second = outbox.add(2), outbox.add(1)
    await sink.send(first)
    checkpoint = (await sink.send(first)).checkpoint
    os.truncate(path, 0)
    assert (await sink.send(second)).count == 0
    await sink.send(second)
    await sink.close()
    assert lines(path) == [second[0].body]
    forget(outbox, path, 2, checkpoint)
    outbox.add(2)
    await deliver(path, outbox)
    assert lines(path) == bodies(outbox)[2:]


async def test_a_truncated_file_that_grew_past_the_checkpoint_is_recognised_by_what_it_holds(path: Path):
    """Else the first events after the truncation would be sent again."""
    outbox = MemoryOutbox()
    outbox.add(2)
    await deliver(path, outbox)
    checkpoint = outbox.checkpoints[f"file:{path}"]
    os.truncate(path, 0)
    outbox.add(6)
    await deliver(path, outbox)
    forget(outbox, path, 2, checkpoint)
    await deliver(path, outbox)
    assert lines(path) == bodies(outbox)[2:]


async def test_a_deleted_file_is_made_again(path: Path):
    """While the worker is up."""
    outbox = MemoryOutbox()
    sink = FileSink(path, InlineThread())
    first, second = outbox.add(1), outbox.add(1)
    await sink.send(first)
    await sink.send(first)
    path.unlink()
    await sink.send(second)
    await sink.send(second)
    await sink.close()
    assert lines(path) == [second[0].body]


async def test_a_file_that_takes_the_place_of_a_rotated_one_is_marked_before_it_is_written_to(path: Path):
    """As with logrotate's `create`, though another writer has already made it longer than the one before."""
    outbox, rotated = MemoryOutbox(), path.with_suffix(".1")
    sink = FileSink(path, InlineThread())
    first, second = outbox.add(1), outbox.add(1)
    await sink.send(first)
    await sink.send(first)
    path.rename(rotated)
    path.write_bytes(b"other\n" * 100)
    assert (await sink.send(second)).count == 0
    assert (await sink.send(second)).count == 1
    await sink.close()
    assert lines(rotated) == [first[0].body]
    assert lines(path) == [*[b"other"] * 100, second[0].body]


@pytest.mark.parametrize("others", [0, 1], ids=["the disk fails", "another writer has gone on"])
async def test_a_failed_write_that_can_not_be_taken_back_is_found_at_the_next_try(path: Path, others: int):
    """What it has written counts, and nothing is repeated."""
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    outbox.add(2)
    calls: list[str] = []

    def before(call: str, *_: object) -> None:
        calls.append(call)
        if call == "ftruncate" or (call == "fdatasync" and calls[-2:] == ["write", call]):
            with path.open("ab") as other:
                other.write(b"other\n" * others)
            raise OSError(errno.EIO, "Input/output error")

    with patch.object(file_sink, "os", FaultyOs(before)):
        await deliver(path, outbox)
    assert calls.count("write") == 1
    assert lines(path) == [*bodies(outbox), *[b"other"] * others]


async def test_after_a_restart_lines_go_to_a_pipe_that_has_taken_the_place_of_the_file(path: Path):
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    outbox.add(1)
    sink = FileSink(path, InlineThread())
    sink.resume(await outbox.checkpoint(sink.name))
    assert (await sink.send(outbox.events[1:])).count == 1
    assert os.read(reader, 4096) == stored(2).body + b"\n"
    await sink.close()
    os.close(reader)


async def test_symbolic_links_are_followed_and_rotation_is_seen_where_they_lead(path: Path, tmp_path: Path):
    """The siblings are those of the file, not of the link."""
    real = tmp_path / "elsewhere" / "real.jsonl"
    real.parent.mkdir()
    path.symlink_to(real)
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    real.rename(real.with_suffix(".1"))
    outbox.add(1)
    await deliver(path, outbox)
    assert path.is_symlink()
    assert lines(real.with_suffix(".1"), real) == bodies(outbox)


async def test_an_unrelated_file_with_the_inode_of_the_checkpoint_is_left_alone(path: Path):
    """A recycled inode is no proof."""
    outbox, unrelated = MemoryOutbox(), path.with_suffix(".db")
    outbox.add(1)
    await deliver(path, outbox)
    path.rename(unrelated)
    unrelated.write_bytes(b"other content " * 20 + b"\n" + stored(2).body[:10])
    before = unrelated.read_bytes()
    outbox.add(1)
    await deliver(path, outbox)
    assert unrelated.read_bytes() == before
    assert lines(path) == [stored(2).body]


async def test_a_missing_directory_is_named_and_waited_for(tmp_path: Path):
    """A mount that is late."""
    directory = tmp_path / "late"
    outbox = MemoryOutbox()
    outbox.add(1)
    sleep = InstantSleep(lambda count: directory.mkdir() if count == 3 else None)
    await deliver(directory / "events", outbox, sleep)
    assert (len(sleep.taken), lines(directory / "events")) == (3, bodies(outbox))


async def test_a_directory_that_is_missing_after_a_crash_may_come_back_with_its_file(tmp_path: Path):
    """The file is not given up, so nothing is repeated; the error says what is missing."""
    path, away = tmp_path / "mount" / "events", tmp_path / "away"
    path.parent.mkdir()
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    path.parent.rename(away)
    with pytest.raises(SinkUnavailableError, match=f"the directory {path.parent} does not exist"):
        await sent_after_restart(path, outbox)
    sleep = InstantSleep(lambda count: away.rename(path.parent) if count == 3 else None)
    await deliver(path, outbox, sleep)
    assert lines(path) == bodies(outbox)


async def sent_after_restart(path: Path, outbox: MemoryOutbox) -> None:
    sink = FileSink(path, InlineThread())
    sink.resume(await outbox.checkpoint(sink.name))
    await sink.send(await outbox.read(sink.name, 100))


@pytest.mark.parametrize(("make", "text"), [(Path.mkdir, "neither a file nor a pipe"), (os.mkfifo, "nobody reads")])
async def test_what_cant_be_written_to_is_an_outage(path: Path, make, text: str):
    """Each with a text that says why."""
    make(path)
    sink = FileSink(path, InlineThread())
    with pytest.raises(SinkUnavailableError, match=text):
        await sink.send([stored(1)])
    await sink.close()


async def test_a_named_pipe_gets_lines(path: Path):
    """Opened when it has a reader; an outage when that goes."""
    os.mkfifo(path)
    sink = FileSink(path, InlineThread())
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert (await sink.send([stored(1), stored(2)])).count == 2
    assert os.read(reader, 4096) == stored(1).body + b"\n" + stored(2).body + b"\n"
    os.close(reader)
    with pytest.raises(SinkUnavailableError, match="Broken pipe"):
        await sink.send([stored(3)])
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await sink.send([stored(3)])
    assert os.read(reader, 4096) == stored(3).body + b"\n"
    os.close(reader)
    await sink.close()


@pytest.mark.parametrize("is_pipe_before", [False, True], ids=["file, then pipe", "pipe, then file"])
async def test_what_replaces_the_target_between_a_look_and_the_open_is_looked_at_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_pipe_before: bool
):
    """Otherwise a pipe would be locked and searched as a file for ever, or the beginning of a file be overwritten."""
    before = path.with_name("before")
    if is_pipe_before:
        os.mkfifo(before)
        path.write_bytes(b"kept\n")
    else:
        before.touch()
        os.mkfifo(path)
    reader = None if is_pipe_before else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    sink = FileSink(path, InlineThread())
    with monkeypatch.context() as swapped:
        swapped.setattr(file_sink, "current_status", lambda _: before.stat())
        with pytest.raises(SinkUnavailableError, match="was replaced at this moment"):
            await sink.send([stored(1)])
    assert len(os.listdir("/proc/self/fd")) == open_files  # noqa: PTH208
    if reader is None:
        assert (await sink.send([stored(1)])).count == 0  # the checkpoint of a file that is new to the sink
        assert (await sink.send([stored(1)])).count == 1
        assert path.read_bytes() == b"kept\n" + stored(1).body + b"\n"
    else:
        assert (await sink.send([stored(1)])).count == 1
        assert os.read(reader, 4096) == stored(1).body + b"\n"
        os.close(reader)
    await sink.close()


async def test_a_device_takes_everything_or_is_full():
    """/dev/null and /dev/full."""
    null, full = FileSink(Path("/dev/null"), InlineThread()), FileSink(Path("/dev/full"), InlineThread())
    assert (await null.send([stored(1)])).count == 1
    with pytest.raises(SinkUnavailableError, match="/dev/full: No space left on device"):
        await full.send([stored(1)])
    await null.close()
    await full.close()


@pytest.mark.parametrize("fault", ["short", "sync", "sync and truncate", "short, then another writer"])
async def test_a_failed_write_is_taken_back(path: Path, fault: str):
    """No partial line stays for readers to meet; what can't be taken back is looked at before the next try."""
    outbox = MemoryOutbox()
    outbox.add(2)
    await deliver(path, outbox)
    kept = path.read_bytes()
    outbox.add(3)
    ill, wrote = True, list[str]()

    def before(call: str, *_: object) -> int | BaseException | None:
        if not ill:
            return None
        if call == "write" and fault.startswith("short"):
            wrote.append(call)
            return 20
        if call == "fstat" and wrote and "writer" in fault:
            wrote.clear()
            with path.open("ab") as other:
                other.write(b"other\n")
        if (call == "fdatasync" and "sync" in fault) or (call == "ftruncate" and "truncate" in fault):
            raise OSError(errno.EIO, "Input/output error")
        return None

    def on_sleep(count: int) -> None:
        nonlocal ill
        if fault in {"short", "sync"}:
            assert path.read_bytes() == kept
        ill = count < 2

    sleep = InstantSleep(on_sleep)
    with patch.object(file_sink, "os", FaultyOs(before)):
        await deliver(path, outbox, sleep)
    assert len(sleep.taken) == 2
    found = lines(path)
    assert [line for line in found if not line.endswith(b"other")] == bodies(outbox)
    assert sum(line.endswith(b"other") for line in found) == ("writer" in fault) * 2


async def test_events_of_a_process_that_died_are_written_again_before_each_sync(path: Path):
    """After a sync that failed, a second one of the same bytes reports success and writes nothing."""
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    calls: list[str] = []

    def note(call: str, *_: object) -> None:
        if call in {"pwrite", "fdatasync"}:
            calls.append(call)
        if calls.count("fdatasync") == 1 and call == "fdatasync":
            raise OSError(errno.EIO, "Input/output error")

    faulty = FaultyOs(note)
    with patch.object(file_sink, "os", faulty), patch.object(writing, "os", faulty):
        await deliver(path, outbox)
    assert calls == ["pwrite", "pwrite", "fdatasync"] * 2
    assert lines(path) == bodies(outbox)


async def test_a_file_that_is_truncated_after_its_events_were_found_gets_none_of_them_again(path: Path):
    """They are in the copy that was made before. Written where they were, they would be there twice."""
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, *before)

    def truncated(fd: int, start: int, wanted: list[bytes]) -> scan.ScanResult:
        result = scan.scan(fd, start, wanted)
        os.truncate(path, 0)
        return result

    with patch.object(file_sink, "scan", truncated):
        await deliver(path, outbox)
    assert path.read_bytes() == b""


async def test_a_partial_line_that_another_writer_went_on_after_is_left(path: Path):
    """Between our look and our cut: its line must not go with ours."""
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    outbox.add(1)
    path.write_bytes(path.read_bytes() + stored(2).body[:9])
    size = path.stat().st_size
    looked = False

    def looking(call: str, *args: object) -> None:
        nonlocal looked
        looked = call == "pread" and args[2] == size

    def cutting(call: str, *_: object) -> None:
        if looked and path.stat().st_size == size:
            path.write_bytes(path.read_bytes() + b"other\n")

    with patch.object(scan, "os", FaultyOs(looking)), patch.object(file_sink, "os", FaultyOs(cutting)):
        await deliver(path, outbox)
    assert lines(path) == [stored(1).body, stored(2).body[:9] + b"other", stored(2).body]


@pytest.mark.parametrize("before_ours", [b"", b"other\n"])
async def test_a_rotated_file_that_may_not_be_opened_is_given_up(path: Path, before_ours: bytes):
    """It would stop the sink for good."""
    outbox, rotated = MemoryOutbox(), path.with_suffix(".1")
    outbox.add(1)
    await deliver(path, outbox)
    path.rename(rotated)
    path.write_bytes(before_ours)
    outbox.add(1)

    def before(call: str, *args: object) -> None:
        if call == "open" and args[0] == rotated:
            raise PermissionError(errno.EACCES, "Permission denied")

    with patch.object(opening, "os", FaultyOs(before)):
        await deliver(path, outbox)
    assert lines(rotated) == [stored(1).body]
    assert path.read_bytes() == before_ours + stored(2).body + b"\n"


@pytest.mark.parametrize("call", ["stat", "open"])
async def test_a_rotated_file_that_is_renamed_once_more_while_it_is_looked_for_is_found(path: Path, call: str):
    """A second rotation comes between the list of the directory and the next step."""
    outbox, rotated, rotated_twice = MemoryOutbox(), path.with_suffix(".1"), path.with_suffix(".2")
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    path.rename(rotated)

    def rotate_again(name: str, *args: object) -> None:
        if name == call and args[0] == rotated and rotated.exists():
            rotated.rename(rotated_twice)

    with patch.object(opening, "os", FaultyOs(rotate_again)), patch.object(paths, "os", FaultyOs(rotate_again)):
        await deliver(path, outbox)
    assert lines(rotated_twice) == bodies(outbox)
    assert not path.exists() or not path.read_bytes()


async def test_workers_that_share_a_file_take_turns(path: Path):
    """One that holds the lock too long is an outage, with a text that says so."""
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    outbox = MemoryOutbox()
    outbox.add(1)
    sink = FileSink(path, InlineThread(), lock_timeout=0.05)
    with pytest.raises(SinkUnavailableError, match="another process holds the lock"):
        await sink.send(outbox.events)
    os.close(other)
    await deliver(path, outbox)
    await sink.send(outbox.events)
    await sink.close()
    assert lines(path) == bodies(outbox)


@pytest.mark.parametrize("before", [0, 1], ids=["nothing was recorded", "an event was recorded"])
async def test_after_a_crash_and_a_rotation_the_file_of_the_last_batch_is_found_although_another_is_at_the_path(
    path: Path, before: int
):
    """What another program has begun at the path since then is no sign that the batch was lost."""
    outbox, rotated = MemoryOutbox(), path.with_suffix(".1")
    outbox.add(before)
    path.touch()
    await deliver(path, outbox)
    checkpoint = opening.checkpoint_at_end(path)
    assert checkpoint is not None
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, before, checkpoint.encode())
    path.rename(rotated)
    path.write_bytes(b"{}\n" * 1_000)
    await deliver(path, outbox)
    assert [line for line in lines(rotated, path) if line != b"{}"] == bodies(outbox)


async def test_after_a_crash_a_copy_in_place_of_the_file_of_the_last_batch_is_recognised(path: Path):
    """As a restored backup is: what it holds is not written again."""
    outbox = MemoryOutbox()
    outbox.add(1)
    await deliver(path, outbox)
    before = recorded(outbox, path)
    outbox.add(2)
    await deliver(path, outbox)
    forget(outbox, path, *before)
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    await deliver(path, outbox)
    assert lines(path) == bodies(outbox)


async def test_a_sink_opens_nothing_but_its_file(path: Path):
    """The directory is closed once the file's name is durable."""
    sink, outbox = FileSink(path, InlineThread()), MemoryOutbox()
    before = set(Path("/dev/fd").iterdir())
    while not (await sink.send(outbox.add(1))).count:
        pass
    assert len(set(Path("/dev/fd").iterdir()) - before) == 1
    await sink.close()
    assert set(Path("/dev/fd").iterdir()) == before


async def test_a_lock_that_is_given_back_in_time_is_waited_for(path: Path):
    """Each worker holds it for one write."""
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    sink = FileSink(path, InlineThread(), lock_timeout=5.0)
    with patch("asset_worker.sinks.file.opening.time.sleep", side_effect=lambda _: os.close(other)) as sleep:
        await sink.send(MemoryOutbox().add(1))
    sleep.assert_called_once_with(opening.LOCK_RETRY_SECONDS)
    await sink.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL])
async def test_a_file_system_without_locks_is_written_to_without_them(path: Path, number: int):
    """No other worker can take turns there."""
    outbox = MemoryOutbox()
    outbox.add(2)
    with patch("asset_worker.sinks.file.opening.fcntl.flock", side_effect=OSError(number, "no locks")) as flock:
        await deliver(path, outbox)
    assert lines(path) == bodies(outbox)
    assert all(call.args[1] != fcntl.LOCK_UN for call in flock.call_args_list), "there was nothing to give back"


async def test_a_lock_that_fails_for_another_reason_is_an_outage(path: Path):
    """It may be held."""
    sink = FileSink(path, InlineThread())
    with (
        patch("asset_worker.sinks.file.opening.fcntl.flock", side_effect=OSError(errno.EIO, "failed")),
        pytest.raises(SinkUnavailableError, match="failed"),
    ):
        await sink.send(MemoryOutbox().add(1))
    await sink.close()


async def test_two_workers_on_one_file_keep_each_others_lines(path: Path):
    """Both in threads of their own, in small batches."""
    mine = [stored(position) for position in range(1, 200)]
    theirs = [stored(position) for position in range(1001, 1200)]
    sinks = [FileSink(path, DaemonThread("one")), FileSink(path, DaemonThread("two"))]
    for index in range(0, 200, 10):
        for sink, events in zip(sinks, (mine, theirs), strict=True):
            batch = events[index : index + 10]
            while not (await sink.send(batch)).count:
                pass
    for sink in sinks:
        await sink.close()
    found = lines(path)
    assert [line for line in found if line in {event.body for event in mine}] == [event.body for event in mine]
    assert [line for line in found if line in {event.body for event in theirs}] == [event.body for event in theirs]
    assert len(found) == len(mine) + len(theirs)


async def test_a_close_waits_for_no_write_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A pipe whose reader is stuck."""
    monkeypatch.setattr(file_sink, "CLOSE_SECONDS", 0.05)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    outbox, stop = MemoryOutbox(), Stop()
    outbox.add(4, size=100_000)
    stop.set("test")
    thread = DaemonThread("test")
    task = asyncio.create_task(Delivery(FileSink(path, thread), outbox, ManualClock(), sleep=InstantSleep()).run(stop))
    await until_readable(reader)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()
    assert outbox.depth(f"file:{path}") == 4
    os.close(reader)
    thread._thread.join(PATIENCE)  # its write fails now; what it does then is not to fall into another test


def test_a_file_that_may_not_grow_is_an_outage_and_no_line_is_partial(path: Path):
    """A real limit, in a process of its own: EFBIG comes by way of a short write, as a full disk does."""
    script = textwrap.dedent(
        f"""
        import asyncio, resource
        from pathlib import Path
        from tests.doubles.outbox import MemoryOutbox, InstantSleep
        from tests.unit.sinks.test_file import deliver, lines, bodies
        path = Path({str(path)!r})
        def limit(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        def on_sleep(count):
            size = path.stat().st_size
            assert size in (0, 2100), size
            limit({{1: 2000, 2: 2130, 3: 50, 4: 10000}}[count])
        async def main():
            outbox = MemoryOutbox()
            limit(10000)
            outbox.add(21, size=99)
            await deliver(path, outbox)
            outbox.add(3, size=99)
            limit(2200)
            sleep = InstantSleep(on_sleep)
            await deliver(path, outbox, sleep)
            assert len(sleep.taken) == 4, sleep.taken
            assert lines(path) == bodies(outbox)
        asyncio.run(main())
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100, cwd=Path(__file__).parents[3])
