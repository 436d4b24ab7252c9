"""The queue file's intake: when it looks, how much it takes, and when it ends."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops while a test writes its files

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.intake import BATCH_LINES, CLOSE_SECONDS, INTERVAL_SECONDS, PROGRESS_SECONDS, FileIntake
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import HANG_SECONDS, DaemonThread
from tests.doubles.clocks import LoopClock
from tests.doubles.intake import PARTIAL_WAIT, BatchReceiver
from tests.doubles.threads import ClosingThread, CountingThread, HangingThread, InlineThread

pytestmark = pytest.mark.virtual_time

PROMISED_SECONDS = 0.5
"""An appended line is accepted within this time."""


GRACE = 30.0
"""Real seconds. Only a test that fails waits this long."""


def intake(
    path: Path, receiver: BatchReceiver, positions: Mapping[str, bytes] | None = None, **options: Any
) -> FileIntake:
    return FileIntake(path, receiver, InlineThread(), SystemClock(), positions or {}, **options)


@asynccontextmanager
async def running(following: FileIntake) -> AsyncIterator[Stop]:
    stop = Stop()
    task = asyncio.create_task(following.run(stop))
    yield stop
    stop.set("test")
    await task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_a_line_is_accepted_soon_after_it_is_appended(path: Path):
    receiver = BatchReceiver()
    async with running(intake(path, receiver)):
        for number in range(20):
            append(path, b"a%d\n" % number)
            await asyncio.sleep(PROMISED_SECONDS)
            assert len(receiver.ids) == number + 1


async def test_a_file_that_appears_later_is_read(path: Path):
    receiver = BatchReceiver()
    async with running(intake(path, receiver)):
        await asyncio.sleep(60)
        append(path, b"a1\n")
        await asyncio.sleep(PROMISED_SECONDS)
        assert receiver.ids == ["a1"]


async def test_a_rotated_file_is_read_on_and_logged(path: Path):
    receiver = BatchReceiver()
    append(path, b"a1\n")
    with capture_logs() as logs:
        async with running(intake(path, receiver)):
            await asyncio.sleep(1)
            append(path, b"a2\n")
            rotated = path.rename(path.with_name("queue.1"))
            append(path, b"b1\n")
            await asyncio.sleep(60)
            append(rotated, b"a3\n")
            await asyncio.sleep(1)
            path.rename(path.with_name("queue.2"))
            append(path, b"c1\n")
            await asyncio.sleep(60)
    assert receiver.ids == ["a1", "a2", "b1", "a3", "c1"]
    logged = [(log["event"], log["log_level"], log["what"]) for log in logs]
    assert logged == [(f"intake.{what}", "info", what) for what in ("appeared", "rotated", "rotated", "retired")]


async def test_what_cannot_be_read_is_a_warning_once(path: Path):
    path.mkdir()
    with capture_logs() as logs:
        async with running(intake(path, BatchReceiver())):
            await asyncio.sleep(60)
    assert [(log["log_level"], log["what"]) for log in logs] == [("warning", "unreadable")]


async def test_reading_goes_on_where_the_last_accepted_batch_ended(path: Path):
    append(path, b"a1\na2\n")
    first, second = BatchReceiver(), BatchReceiver()
    await intake(path, first, once=True).run(Stop())
    append(path, b"a3\n")
    await intake(path, second, first.positions, once=True).run(Stop())
    assert (first.ids, second.ids) == (["a1", "a2"], ["a3"])


async def test_a_relative_path_is_kept_under_its_absolute_name(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(path.parent)
    append(path, b"a1\n")
    receiver = BatchReceiver()
    await intake(Path("queue"), receiver, once=True).run(Stop())
    assert set(receiver.positions) == {f"file:{path}"}
    assert receiver.batches[0].submissions[0].source == f"file:{path}:1"


# Back pressure


async def test_no_more_is_taken_than_there_is_room_for(path: Path):
    append(path, b"a1\na2\n!\na3\na4\n")
    receiver = BatchReceiver(room=2)
    async with running(intake(path, receiver)):
        await asyncio.sleep(60)
        assert (receiver.ids, receiver.rejections) == (["a1", "a2"], [])
        receiver.make_room(1)
        await asyncio.sleep(60)
        assert (receiver.ids, receiver.rejections) == (["a1", "a2"], [(3, b"!")])
        receiver.make_room(1)
        await asyncio.sleep(60)
        assert receiver.ids == ["a1", "a2", "a3"]
        receiver.make_room(5)
        await asyncio.sleep(60)
        assert receiver.ids == ["a1", "a2", "a3", "a4"]
    assert receiver.rejections == [(3, b"!")]


async def test_it_says_how_much_is_left_to_read_also_while_there_is_no_room(path: Path):
    append(path, b"a1\na2\na3\n")
    receiver = BatchReceiver(room=1)
    following = intake(path, receiver)
    assert following.progress == InputReport()
    async with running(following):
        await asyncio.sleep(60)
        assert following.progress == InputReport(position=3, behind=6)
        append(path, b"a4\n")
        path.rename(path.with_name("queue.1"))
        append(path, b"b1\n")
        await asyncio.sleep(60)
        assert following.progress == InputReport(position=3, behind=9), "the new file is not open yet"
        receiver.make_room(9)
        await asyncio.sleep(60)
        assert following.progress == InputReport(position=3, behind=0)


async def test_what_there_was_no_room_for_is_read_after_a_restart(path: Path):
    append(path, b"a1\na2\na3\n")
    first, second = BatchReceiver(room=1), BatchReceiver()
    async with running(intake(path, first)):
        await asyncio.sleep(60)
    await intake(path, second, first.positions, once=True).run(Stop())
    assert (first.ids, second.ids) == (["a1"], ["a2", "a3"])


async def test_a_stop_while_there_is_no_room_ends_the_reading(path: Path):
    append(path, b"a1\n")
    receiver = BatchReceiver(room=0)
    async with running(intake(path, receiver)) as stop:
        await asyncio.sleep(60)
        stop.set("test")
    assert receiver.batches == []


async def test_a_backlog_is_accepted_in_batches_without_waiting_between(path: Path):
    append(path, b"".join(b"a%d\n" % number for number in range(3 * BATCH_LINES)))
    receiver = BatchReceiver()
    started = asyncio.get_running_loop().time()
    await intake(path, receiver, once=True).run(Stop())
    assert asyncio.get_running_loop().time() - started <= INTERVAL_SECONDS
    assert len(receiver.ids) == len(set(receiver.ids)) == 3 * BATCH_LINES
    assert max(len(batch.submissions) for batch in receiver.batches) <= BATCH_LINES


# Once


@pytest.mark.parametrize(
    ("make", "ids"),
    [
        pytest.param(lambda path: None, [], id="no file"),
        pytest.param(lambda path: path.touch(), [], id="an empty file"),
        pytest.param(lambda path: append(path, b"a1\na2\n"), ["a1", "a2"], id="lines"),
        pytest.param(lambda path: append(path, b"a1\nx2"), ["a1", "x2"], id="a last line without newline"),
        pytest.param(lambda path: append(path, b"\n# nothing"), [], id="a comment without newline"),
    ],
)
async def test_once_ends_when_the_file_is_read_to_its_end(path: Path, make: Callable[[Path], None], ids: list[str]):
    make(path)
    receiver = BatchReceiver()
    async with asyncio.timeout(PARTIAL_WAIT + 2 * INTERVAL_SECONDS):
        await intake(path, receiver, once=True, partial_wait=PARTIAL_WAIT).run(Stop())
    assert receiver.ids == ids


async def test_once_waits_for_the_rest_of_a_line_that_is_being_written(path: Path):
    receiver = BatchReceiver()
    append(path, b"a1\na")
    task = asyncio.create_task(intake(path, receiver, once=True, partial_wait=PARTIAL_WAIT).run(Stop()))
    for piece in (b"b", b"c", b"d"):
        await asyncio.sleep(PARTIAL_WAIT * 0.7)
        append(path, piece)
    await asyncio.sleep(PARTIAL_WAIT * 0.7)
    append(path, b"\n")
    await task
    assert receiver.ids == ["a1", "abcd"]


async def test_once_waits_for_a_file_that_cannot_be_read_and_says_why(path: Path):
    """It must not end as if all were done; somebody may repair it."""
    path.mkdir()
    receiver, ended = BatchReceiver(), asyncio.Event()

    async def run() -> None:
        await intake(path, receiver, once=True).run(Stop())
        ended.set()

    with capture_logs() as logs:
        task = asyncio.create_task(run())
        await asyncio.sleep(600)
        assert not ended.is_set()
        path.rmdir()
        append(path, b"a1\n")
        await asyncio.sleep(PROMISED_SECONDS)
        assert ended.is_set()
        await task
    assert receiver.ids == ["a1"]
    assert [log["event"] for log in logs] == ["intake.unreadable", "intake.appeared", "intake.readable"]
    assert logs[0]["detail"] == f"{path}: is not a regular file"


async def test_once_ends_though_a_rotated_file_is_kept_open(path: Path):
    append(path, b"a1\n")
    first, second = BatchReceiver(), BatchReceiver()
    async with running(intake(path, first)):
        await asyncio.sleep(1)
        path.rename(path.with_name("queue.1"))
        append(path, b"b1\n")
        await asyncio.sleep(60)
    append(path.with_name("queue.1"), b"a2\n")
    async with asyncio.timeout(PROMISED_SECONDS):
        await intake(path, second, first.positions, once=True).run(Stop())
    assert (first.ids, second.ids) == (["a1", "b1"], ["a2"])


async def test_a_line_of_gigabytes_is_read_without_a_pause_and_holds_up_no_stop(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tail_reader, "READ_BYTES", 2**16)
    append(path, b"a1\n" + b"x" * (100 * 2**16))
    receiver, thread = BatchReceiver(), CountingThread()
    async with running(FileIntake(path, receiver, thread, SystemClock(), {})) as stop:
        await thread.has_run(10)
        stop.set("test")
    assert receiver.ids == ["a1"]
    assert asyncio.get_running_loop().time() < INTERVAL_SECONDS


# When it follows


async def test_a_file_that_is_not_there_yet_is_followed(path: Path):
    following = intake(path, BatchReceiver())
    assert not following.is_following
    async with running(following):
        await asyncio.sleep(0.1)
        assert following.is_following


async def test_a_file_that_is_not_read_for_want_of_room_is_followed(path: Path):
    append(path, b"a1\n")
    receiver = BatchReceiver(room=0)
    following = intake(path, receiver)
    async with running(following):
        await asyncio.sleep(PROGRESS_SECONDS + 0.1)
        assert (following.is_following, receiver.ids) == (True, [])
        receiver.make_room(1)


async def test_a_file_system_that_hangs_is_a_problem_until_it_answers(path: Path):
    class SlowOnce(InlineThread):
        seconds = HANG_SECONDS + 20

        async def run(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
            waits, self.seconds = self.seconds, 0.0
            await asyncio.sleep(waits)
            return call(*args, **kwargs)

    append(path, b"a1\n")
    receiver, clock = BatchReceiver(), LoopClock(asyncio.get_running_loop())
    following = FileIntake(path, receiver, SlowOnce(), clock, {})
    began = clock.now()
    with capture_logs() as logs:
        async with running(following):
            seen = []
            for seconds in (HANG_SECONDS - 1, 2.0, 30.0):
                await asyncio.sleep(seconds)
                seen.append((following.is_following, following.unreadable, following.unreadable_since))
    hangs = f"{path}: the disk has not answered for 10 s"
    # It counts as followed: another start would not help.
    assert seen == [(False, None, None), (True, hangs, began + HANG_SECONDS), (True, None, None)]
    assert receiver.ids == ["a1"]
    assert [log["event"] for log in logs] == ["intake.unreadable", "intake.readable", "intake.appeared"]


# The end


async def test_the_thread_and_the_files_are_closed_at_the_end(path: Path):
    append(path, b"a1\n")
    thread = ClosingThread()
    following = FileIntake(path, BatchReceiver(), thread, SystemClock(), {})
    async with running(following):
        await asyncio.sleep(1)
        assert following._follower._files.files
    assert thread.closed
    assert following._follower._files.files == []


async def test_the_thread_and_the_files_are_closed_when_the_run_is_cancelled(path: Path):
    append(path, b"a1\n")
    thread = ClosingThread()
    following = FileIntake(path, BatchReceiver(), thread, SystemClock(), {})
    task = asyncio.create_task(following.run(Stop()))
    await asyncio.sleep(1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert thread.closed
    assert following._follower._files.files == []


async def test_a_file_system_that_hangs_holds_up_the_stop_for_a_moment_only(path: Path):
    append(path, b"a1\n")
    thread = HangingThread()
    loop = asyncio.get_running_loop()
    async with running(FileIntake(path, BatchReceiver(), thread, SystemClock(), {})) as stop:
        await asyncio.sleep(60)
        stop.set("test")
        stopped = loop.time()
    assert loop.time() - stopped <= CLOSE_SECONDS
    assert thread.closed


async def test_what_a_step_reads_after_the_stop_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its thread is left behind. When the file system responds again, the thread closes the files and ends."""
    append(path, b"a1\n")
    answers, receiver, thread = threading.Event(), BatchReceiver(), DaemonThread("queue-file")
    following = FileIntake(path, receiver, thread, SystemClock(), {})
    step = following._follower.step

    def hang(*args: Any) -> Any:
        answers.wait(GRACE)
        return step(*args)

    monkeypatch.setattr(following._follower, "step", hang)
    async with running(following) as stop:
        await asyncio.sleep(60)
        stop.set("test")
    answers.set()
    thread._thread.join()
    assert following._follower._files.files == []
    assert receiver.batches == []
    await intake(path, receiver, receiver.positions, once=True).run(Stop())
    assert receiver.ids == ["a1"]


async def test_a_batch_that_is_refused_ends_the_reading_and_is_read_again(path: Path):
    """If the queue fails, nothing has been accepted."""
    append(path, b"a1\n")

    class Broken(BatchReceiver):
        async def accept(self, batch: Any) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await intake(path, Broken(), once=True).run(Stop())
    receiver = BatchReceiver()
    await intake(path, receiver, once=True).run(Stop())
    assert receiver.ids == ["a1"]


async def test_it_reads_in_a_thread_of_its_own(path: Path):
    append(path, b"a1\n")
    receiver = BatchReceiver()
    await FileIntake(path, receiver, DaemonThread("queue-file"), SystemClock(), {}, once=True).run(Stop())
    assert receiver.ids == ["a1"]
